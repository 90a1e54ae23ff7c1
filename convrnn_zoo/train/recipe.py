"""Recipes: everything that made a set of weights, in one TOML file."""

import dataclasses
import re
import tomllib
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import pretrained
from ..data import read_frame_dataset, read_labelled_dataset, schema
from ..data.schema import field
from ..layers import _checks as checks
from ..models import ZooModel, create_model
from ..pretrained.errors import WeightsError
from ..pretrained.meta import build_on_meta, check_arguments, limit, size_limit
from ._values import toml
from .augment import Augment
from .sampling import read_sampling

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


RESERVED = {"name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
            "features_only", "out_indices", "scriptable", "exportable", "no_jit"}  # fmt: skip
"""Arguments of ``create_model`` and timm that a recipe cannot set; weights are named by `start`."""
BYTES_PER_PARAMETER_BYTE = 4
"""Training holds the weights, their gradient and two moments of the optimizer."""


@contextmanager
def arguments_of_the_recipe() -> Iterator[None]:
    """Raises errors about the arguments of a model as errors of the recipe; a TypeError that is a bug stays one."""
    try:
        yield
    except (TypeError, ValueError, OSError, ImportError) as e:
        cause = e.__cause__ if isinstance(e, WeightsError) and isinstance(e.__cause__, TypeError) else e
        if isinstance(cause, TypeError):
            raised_in = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(cause.__traceback__)][-1]
            if raised_in != checks.__name__ and not raised_in.startswith(pretrained.__name__):
                raise cause from None
        elif not isinstance(e, ValueError):
            raise
        raise ValueError(f"the recipe's model: {cause}") from e


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

    weights: str = field(nonempty=True)
    data: Mapping[str, Any] = field()
    description: str = field(nonempty=True)
    license: str = field(nonempty=True)
    batch_size: int = field(ge=1)
    lr: float = field(gt=0)
    clip: float = field(1.0, gt=0)
    citation: str = field("")
    remarks: str = field("")
    start: str = field("")
    layer_decay: float = field(1.0, gt=0, le=1)
    freeze: int = field(0, ge=0)
    model: Mapping[str, Any] = field(factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.data, str):
            object.__setattr__(self, "data", {"kind": self.data})
        elif isinstance(self.data, Mapping):
            data = {k: tuple(v) if isinstance(v, list) else v for k, v in self.data.items()}
            object.__setattr__(self, "data", data)
        schema.check(self)
        object.__setattr__(self, "data", self._resolve_data())
        if reserved := ", ".join(sorted(RESERVED & self.model.keys())):
            raise ValueError(f"the recipe's model: {reserved} is not an argument of a recipe; leave it out")
        check_arguments({k: v for k, v in self.model.items() if k != "encoder_pretrained"}, "the recipe's model")
        if not re.fullmatch(r"\w+\.\w[\w.-]*", self.weights):  # which also names files
            raise ValueError(
                f"the recipe's weights must be architecture.tag, of letters, digits, _, - and ., got {self.weights!r}"
            )

    def _resolve_data(self) -> Mapping[str, Any]:
        """Returns the table `data` with the defaults of its kind filled in; an invalid table is returned as it is."""
        try:
            source = (read_labelled_dataset if isinstance(self, ClassifierRecipe) else read_frame_dataset)(self.data)
        except ValueError:  # raised again, with the whole message, when the data are read
            return self.data
        resolved = {f.name: getattr(source, f.name) for f in dataclasses.fields(source)}  # type: ignore[arg-type]
        return {"kind": self.data["kind"], **{k: v for k, v in resolved.items() if v is not None}}

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
        with arguments_of_the_recipe():
            if kwargs.get("device") != "meta":  # before memory is allocated
                with size_limit(limit() // BYTES_PER_PARAMETER_BYTE):
                    build_on_meta(partial(create_model, self.architecture), {**self.model, **kwargs}, "the model")
            return create_model(self.architecture, **self.model, **kwargs)

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
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        return schema.read(KINDS[kind], entries)

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
        """Returns the recipe as TOML, with the value of every field, from which :meth:`read` restores it.

        Defaults are written out, so that a saved recipe keeps its meaning if a later version changes a default. A field
        that is None, which TOML cannot express, is left out.

        Example:
            >>> recipe = Recipe.read("rain")
            >>> Recipe.parse(recipe.to_toml()) == recipe
            True
            >>> "layer_decay = 1.0" in recipe.to_toml()
            True
        """
        kind = next(k for k, cls in KINDS.items() if cls is type(self))
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        tables = {k: v for k, v in fields.items() if isinstance(v, Mapping)}
        lines = [f"{k} = {toml(v)}" for k, v in {"kind": kind, **fields}.items() if k not in tables]
        for table, values in tables.items():
            if values:
                lines += ["", f"[{table}]", *(f"{k} = {toml(v)}" for k, v in values.items() if v is not None)]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """How a classifier of sequences was trained.

    The weights of the first of `seeds` are kept, whatever the others reach. `noise` is the standard deviation of the
    noise added to the standardised input. `freeze` counts epochs; of a video model without `start` the encoder alone
    waits, the rest being new. `augment` has the entries of
    :class:`~convrnn_zoo.train.augment.Augment`. So many batches as `bucket` says are drawn at once and divided by
    length, so that less is padded; 0 draws each by itself.
    """

    seeds: tuple[int, ...] = field((0,), ge=0)
    epochs: int = field(ge=1)
    weight_decay: float = field(0.0, ge=0)
    label_smoothing: float = field(0.0, ge=0, le=1)
    noise: float = field(0.0, ge=0)
    augment: Mapping[str, Any] = field(factory=dict)
    bucket: int = field(0, ge=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds:
            raise ValueError("the recipe's seeds must be one or more, got none")
        if self.model.get("global_pool") == "":
            raise ValueError(
                "the recipe's model.global_pool must name a pool, since a classifier gives one answer each; got ''"
            )
        if augment := self.augmentation():
            object.__setattr__(self, "augment", dataclasses.asdict(augment))

    def augmentation(self) -> Augment | None:
        """What the table `augment` says, if it says anything."""
        return schema.read(Augment, self.augment, "augment.") if self.augment else None


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

    inputs: int = field(ge=1, le=10_000)
    horizon: int = field(ge=1, le=10_000)
    updates: int = field(ge=1)
    loss: str = field()
    seed: int = field(0, ge=0)
    optimizer: str = field("adam")
    schedule: str = field("one_cycle")
    warmup: float = field(0.3, ge=0, le=1)
    cycles: tuple[int, ...] = field((), ge=1)
    sampling: Mapping[str, Any] = field(factory=dict)
    decoupling: float = field(0.0, ge=0)
    moments: float = field(0.0, ge=0)
    members: int = field(0, ge=0)
    bf16: bool = field(False)
    checkpoint_every: int = field(100, ge=1)
    test_sequences: int = field(1000, ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        sampling = read_sampling(self.sampling)
        if self.sampling:
            resolved = {"name": self.sampling.get("name", "own"), **dataclasses.asdict(sampling)}
            object.__setattr__(self, "sampling", resolved)


@dataclass(frozen=True, kw_only=True)
class NowcastRecipe(ForecasterRecipe):
    """How a nowcast of rain by probabilities was trained: by the cross-entropy of exceeding thresholds.

    The crops have `size` pixels a side, `from_mrms` of the batches are of MRMS, and at each update `lead_times` of the
    frames to forecast count. Entries that have no part in it, such as `loss` and `start`, are refused.
    """

    loss: str = field("exceedance")
    size: int = field(128, ge=1)
    from_mrms: float = field(0.7, ge=0, le=1)
    lead_times: int = field(3, ge=1)

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
