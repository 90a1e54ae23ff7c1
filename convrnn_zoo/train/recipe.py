"""Recipes: everything that made a set of weights, in one TOML file."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import _entries
from ..data._entries import entry
from ..models import ZooModel, create_model
from ._values import toml
from .augment import Augment

RECIPES: dict[str, Path] = {p.stem: p for p in sorted(Path(__file__).parent.glob("recipes/*.toml"))}
"""The recipes of the package by name."""


def choose(entry: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry of a table that a recipe names, or an error that lists the names.

    Example:
        >>> choose("loss", "msa", {"mse": 1, "mae": 2})
        Traceback (most recent call last):
        ValueError: the recipe's loss must be one of mse, mae, got 'msa'
    """
    if name not in table:
        raise ValueError(f"the recipe's {entry} must be one of {', '.join(table)}, got {name!r}")
    return table[name]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every recipe holds; a subclass adds how its kind of model is trained.

    `weights` is the ``architecture.tag`` that the run makes, `model` the arguments of the architecture, and `data` the
    table of the data: its `kind`, and what that takes (:mod:`convrnn_zoo.data`); a name alone is a kind that takes
    nothing. `lr` is the highest learning rate; gradients are clipped to the norm `clip`. With `layer_decay` the rate
    falls by that factor a layer towards the input. `start` are the weights that the run begins with: a name of the zoo,
    a directory, a record or an address of the Hub. `freeze` keeps everything but the last layer as it is for so many
    epochs or updates. `description`, `remarks`, `license` and `citation` are what the record says.

    Raises:
        ValueError: a line for each entry that is of another type or out of its range.
    """

    weights: str = entry(filled=True)
    data: Mapping[str, Any] = entry()
    description: str = entry(filled=True)
    license: str = entry(filled=True)
    batch_size: int = entry(least=1)
    lr: float = entry(above=0)
    clip: float = entry(1.0, above=0)
    citation: str = entry("")
    remarks: str = entry("")
    start: str = entry("")
    layer_decay: float = entry(1.0, above=0, most=1)
    freeze: int = entry(0, least=0)
    model: Mapping[str, Any] = entry(factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.data, str):
            object.__setattr__(self, "data", {"kind": self.data})
        elif isinstance(self.data, Mapping):
            data = {k: tuple(v) if isinstance(v, list) else v for k, v in self.data.items()}
            object.__setattr__(self, "data", data)
        _entries.check(self)
        if not re.fullmatch(r"\w+\.\w[\w.-]*", self.weights):  # which also names files
            raise ValueError(
                f"the recipe's weights must be architecture.tag, of letters, digits, _, - and ., got {self.weights!r}"
            )

    @property
    def architecture(self) -> str:
        """The registered name of the network."""
        return self.weights.partition(".")[0]

    @property
    def name(self) -> str:
        """What it is called in the package, or else the name of its weights."""
        return next((k for k in RECIPES if Recipe.read(k) == self), self.weights)

    def create_model(self, **kwargs: Any) -> ZooModel:
        """The network, without weights, from the recipe's `model` and what the data give.

        Raises:
            ValueError: there is no such network, or `model` has an entry that it does not take.
        """
        if twice := ", ".join(sorted(self.model.keys() & kwargs)):
            raise ValueError(f"the recipe's model: {twice} must be left out, since the data and the recipe decide it")
        try:
            return create_model(self.architecture, **self.model, **kwargs)
        except TypeError as e:
            raise ValueError(f"the recipe's model: {e}") from e

    @staticmethod
    def read(source: str | Path) -> "Recipe":
        """A recipe by its name in the package, or from a TOML file.

        Raises:
            FileNotFoundError: neither a file nor a recipe of the package.
            ValueError: the file is no TOML, is of no known kind, or lacks an entry, or has one too many.
        """
        path = RECIPES.get(str(source), Path(source))
        if not path.is_file():
            raise FileNotFoundError(f"no recipe {str(source)!r}; pass a .toml file or one of: {', '.join(RECIPES)}")
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as e:
            raise ValueError(f"{path} is not valid TOML: {e}") from e
        try:
            return Recipe.of(raw)
        except ValueError as e:
            raise ValueError("\n".join(f"{path}: {line}" for line in str(e).splitlines())) from e

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "Recipe":
        """A recipe from its entries, as TOML gives them.

        Raises:
            ValueError: it is of no known kind, lacks an entry, has one too many, or one that will not do.
        """
        entries = dict(raw)
        kind = entries.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        return _entries.read(KINDS[kind], entries)

    @staticmethod
    def parse(text: str) -> "Recipe":
        """A recipe by its name in the package, or from the text of a TOML file, as a record has it.

        Raises:
            ValueError: it is neither.
        """
        if text in RECIPES:
            return Recipe.read(text)
        try:
            return Recipe.of(tomllib.loads(text))
        except tomllib.TOMLDecodeError as e:
            raise ValueError(f"no recipe of the package, and not valid TOML ({e}): {text[:60]!r}") from e

    def to_toml(self) -> str:
        """The recipe as a TOML file, from which :meth:`read` makes it again; entries at their defaults are left out.

        Example:
            >>> recipe = Recipe.read("rain")
            >>> Recipe.parse(recipe.to_toml()) == recipe
            True
        """
        kind = next(k for k, cls in KINDS.items() if cls is type(self))
        entries = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) != f.default}
        tables = {k: v for k, v in entries.items() if isinstance(v, Mapping)}
        lines = [f"{k} = {toml(v)}" for k, v in {"kind": kind, **entries}.items() if k not in tables]
        for table, values in tables.items():
            if values:
                lines += ["", f"[{table}]", *(f"{k} = {toml(v)}" for k, v in values.items())]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """How a classifier of sequences was trained.

    The weights of the first of `seeds` are kept, whatever the others reach. `noise` is the standard deviation of the
    noise added to the standardised input. `freeze` counts epochs; of a video model without `start` the encoder alone
    waits, the rest being new. With `compare_padding` as many other models are
    trained without the lengths, reading the padding as data, to tell what that costs. `augment` has the entries of
    :class:`~convrnn_zoo.train.augment.Augment`. So many batches as `bucket` says are drawn at once and divided by
    length, so that less is padded; 0 draws each by itself. With `leave_one_out` a further model is trained without
    each group of the data, such as a speaker, to tell what those are worth that were never heard.
    """

    seeds: tuple[int, ...] = entry((0,), least=0)
    epochs: int = entry(least=1)
    weight_decay: float = entry(0.0, least=0)
    label_smoothing: float = entry(0.0, least=0, most=1)
    noise: float = entry(0.0, least=0)
    compare_padding: bool = entry(False)
    augment: Mapping[str, Any] = entry(factory=dict)
    bucket: int = entry(0, least=0)
    leave_one_out: bool = entry(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds:
            raise ValueError("the recipe's seeds must be one or more, got none")
        self.augmentation()

    def augmentation(self) -> Augment | None:
        """What the table `augment` says, if it says anything."""
        return _entries.read(Augment, self.augment, "augment.") if self.augment else None


@dataclass(frozen=True, kw_only=True)
class ForecasterRecipe(Recipe):
    """How a forecaster of frames was trained.

    It reads `inputs` frames and forecasts `horizon`, for `updates` batches, with a checkpoint and a picture every
    `checkpoint_every`. `loss`, `optimizer`, `schedule` and the `name` in `sampling` are names of
    :data:`~convrnn_zoo.train.losses.LOSSES`, :data:`~convrnn_zoo.train.optimizers.OPTIMIZERS`,
    :data:`~convrnn_zoo.train.optimizers.SCHEDULES` and :data:`~convrnn_zoo.train.sampling.SAMPLINGS`; the other entries
    of `sampling` are the arguments of the one named. With the loss ``crps`` a model that reads noise makes `members`
    forecasts of each sequence. `warmup` is the part of a cycle in which one-cycle's rate rises, and `cycles` are the
    lengths of several, which add up to `updates`. `decoupling` weighs PredRNN v2's loss of that name, and `moments`
    PhyDNet's on its filters. `bf16` trains under autocast to bfloat16. `test_sequences` are evaluated at the end.
    `freeze` counts updates. Without `start` the initial weights come from `seed`.
    """

    inputs: int = entry(least=1)
    horizon: int = entry(least=1)
    updates: int = entry(least=1)
    loss: str = entry()
    seed: int = entry(0, least=0)
    optimizer: str = entry("adam")
    schedule: str = entry("one_cycle")
    warmup: float = entry(0.3, least=0, most=1)
    cycles: tuple[int, ...] = entry((), least=1)
    sampling: Mapping[str, Any] = entry(factory=dict)
    decoupling: float = entry(0.0, least=0)
    moments: float = entry(0.0, least=0)
    members: int = entry(0, least=0)
    bf16: bool = entry(False)
    checkpoint_every: int = entry(100, least=1)
    test_sequences: int = entry(1000, least=1)


@dataclass(frozen=True, kw_only=True)
class NowcastRecipe(ForecasterRecipe):
    """How a nowcast of rain by probabilities was trained: by the cross-entropy of exceeding thresholds.

    The crops have `size` pixels a side, `from_mrms` of the batches are of MRMS, and at each update `lead_times` of the
    frames to forecast count. Entries that have no part in it, such as `loss` and `start`, are refused.
    """

    loss: str = entry("exceedance")
    size: int = entry(128, least=1)
    from_mrms: float = entry(0.7, least=0, most=1)
    lead_times: int = entry(3, least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        told = [k for k in ("start", "freeze", "sampling", "decoupling", "moments", "members") if getattr(self, k)]
        if told := told + ["loss"] * (self.loss != "exceedance"):
            raise ValueError(f"the recipe of a nowcast takes no {', '.join(told)}; leave that out")


KINDS: dict[str, type[Recipe]] = {
    "classifier": ClassifierRecipe,
    "forecaster": ForecasterRecipe,
    "nowcast": NowcastRecipe,
}
"""The recipes by what stands as `kind` in the file."""
