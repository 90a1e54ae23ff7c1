"""Recipes: everything that made a set of weights, in one TOML file."""

import dataclasses
import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ..models import create_model
from ..models._registry import entry_points

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

    `weights` is the ``architecture.tag`` that the run makes, `data` the name of the data set. `description`,
    `remarks`, `license` and `citation` are what the record says.
    """

    weights: str
    data: str
    description: str
    license: str
    batch_size: int
    lr: float
    clip: float = 1.0
    citation: str = ""
    remarks: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The registered name of the network."""
        return self.weights.partition(".")[0]

    @property
    def name(self) -> str:
        """What it is called in the package, or else the name of its weights."""
        return next((k for k in RECIPES if Recipe.read(k) == self), self.weights)

    def create_model(self, **kwargs: Any) -> nn.Module:
        """The network, without weights, from the recipe's `model` and what the data give.

        Raises:
            ValueError: there is no such network, or `model` has an entry that it does not take.
        """
        try:
            return create_model(self.architecture, **self.model, **kwargs)
        except TypeError as e:
            doc = inspect.getdoc(entry_points()[self.architecture]) or ""
            _, _, takes = doc.partition("Args:")[2].partition("\n\n")[0].rpartition("its default.")
            raise ValueError(
                f"the recipe's model: {e}; {self.architecture} takes {' '.join(takes.split()).rstrip('.')}"
            ) from e

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
        kind = raw.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"{path}: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        cls: Any = KINDS[kind]
        fields = {f.name: f for f in dataclasses.fields(cls)}
        required = {
            n for n, f in fields.items() if f.default is dataclasses.MISSING and not callable(f.default_factory)
        }
        missing, extra = sorted(required - raw.keys()), sorted(raw.keys() - fields.keys())
        if missing or extra:
            raise ValueError(f"{path}: missing entries {missing}, unknown entries {extra}; known: {', '.join(fields)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """How a classifier of sequences was trained.

    The weights of the first of `seeds` are kept, whatever the others reach. `noise` is the standard deviation of the
    noise added to the standardised input.
    """

    seeds: tuple[int, ...]
    epochs: int
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ForecasterRecipe(Recipe):
    """How a forecaster of frames was trained.

    It reads `inputs` frames and forecasts `horizon`, for `updates` batches, with a checkpoint and a picture every
    `checkpoint_every`. `loss`, `optimizer`, `schedule` and the `name` in `sampling` are names of
    :data:`~convrnn_zoo.train.losses.LOSSES`, :data:`~convrnn_zoo.train.optimizers.OPTIMIZERS`,
    :data:`~convrnn_zoo.train.optimizers.SCHEDULES` and :data:`~convrnn_zoo.train.sampling.SAMPLINGS`; the other entries
    of `sampling` are the arguments of that. `warmup` is the part of a cycle in which one-cycle's rate rises, and
    `cycles` are the lengths of several, which add up to `updates`. `decoupling` weighs PredRNN v2's loss of that name.
    `test_sequences` are evaluated at the end. `start` names the initial weights of the run; without it they come from
    `seed`.
    """

    inputs: int
    horizon: int
    updates: int
    loss: str
    seed: int = 0
    start: str = ""
    optimizer: str = "adam"
    schedule: str = "one_cycle"
    warmup: float = 0.3
    cycles: tuple[int, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    decoupling: float = 0.0
    bf16: bool = False
    checkpoint_every: int = 100
    test_sequences: int = 1000


@dataclass(frozen=True, kw_only=True)
class NowcastRecipe(ForecasterRecipe):
    """How a nowcast of rain by probabilities was trained: by the cross-entropy of exceeding thresholds.

    The crops have `size` pixels a side, `from_mrms` of the batches are of MRMS, and at each update `lead_times` of the
    frames to forecast count. `loss`, `sampling` and `decoupling` have no part in it.
    """

    loss: str = "exceedance"
    size: int = 128
    from_mrms: float = 0.7
    lead_times: int = 3


KINDS: dict[str, type[Recipe]] = {
    "classifier": ClassifierRecipe,
    "forecaster": ForecasterRecipe,
    "nowcast": NowcastRecipe,
}
"""The recipes by what stands as `kind` in the file."""
