"""Recipes: TOML files with everything that determines a set of weights."""

import dataclasses
import json
import re
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import timm.optim

from .. import _checks as checks
from .. import pretrained
from .._hints import check_names, similar
from .._typed import check_fields, field, read
from ..data import (
    FRAME_DATASETS,
    LABELLED_DATASETS,
    FrameDataset,
    FrameSequences,
    LabelledDataset,
    read_dataset,
    to_table,
)
from ..models import ZooModel, create_model
from ..pretrained.errors import WeightsError
from ..pretrained.limits import build_on_meta, check_arguments, limit, size_limit
from ..values.preprocessing import MAX_FRAMES, Preprocessing
from ..verify import LOSSES, METRICS, find_loss
from ._toml import format_toml, override, read_toml
from .augment import Augment
from .sampling import read_sampling

RECIPES: dict[str, Path] = {
    p.stem: p for p in sorted(Path(__file__).parent.glob("*.toml")) if not p.stem.startswith("_")
}
"""Files of the package's recipes by name. Files whose names begin with ``_`` are only extended by other recipes."""
RESERVED = {"name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
            "features_only", "out_indices", "scriptable", "exportable", "no_jit"}  # fmt: skip
"""Arguments of ``create_model`` and timm that a recipe cannot set; initial weights are set by `init_from`."""
_TEXTS = ("description", "license", "citation", "remarks", "name", "url", "task")
NOT_TRAINED = (*_TEXTS, "test_sequences", "metrics", "workers", "seeds")
"""Keys of a recipe and of its data that do not change the weights of a run: texts, evaluation, reading of the data, and
the seeds of all runs of a classifier."""
SPLITS = ("train", "test", "validation")
"""Parts of the data of a training."""
NEED_VALIDATION = ("patience", "validation_sequences")
"""Keys that need a validation split."""
BYTES_PER_PARAMETER_BYTE = 8
"""Bytes of memory in training per byte of weights: gradients, two moments of the optimizer, and temporary tensors."""

SCHEDULE_NAMES = ("one_cycle", "one_cycle_momentum", "cosine")
"""Names of schedules."""


def list_optimizers() -> list[str]:
    """Returns the names of optimizers: ``"muon"`` and those of timm that need no second derivatives."""
    names = map(str, timm.optim.list_optimizers())
    return sorted({"muon", *(n for n in names if not timm.optim.get_optimizer_info(n).second_order)})


@contextmanager
def report_model_errors() -> Iterator[None]:
    """Context that converts errors about a model's arguments to ValueError. A TypeError from a bug is passed on."""
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


def _plain_lists(value: Any) -> Any:
    """Converts tuples in nested arguments to lists, because TOML has no tuples."""
    if isinstance(value, Mapping):
        return {k: _plain_lists(v) for k, v in value.items()}
    return [_plain_lists(v) for v in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Fields of every recipe. Subclasses add the fields of classifiers and of forecasters.

    Raises:
        ValueError: a field has the wrong type or is out of range. The message has a line for each such field.
    """

    datasets: ClassVar[Mapping[str, type]] = {**FRAME_DATASETS, **LABELLED_DATASETS}
    weights: str = field(nonempty=True, description="name of the trained weights, ``architecture.tag``.")
    data: FrameDataset | LabelledDataset = field(  # noqa: RUF009 (immutable)
        description="the dataset, or the table that describes it: its `kind` and the keys of that kind "
        "(:mod:`convrnn_zoo.data`). A string is the `kind` of a dataset whose keys have their defaults."
    )
    description: str = field(
        nonempty=True, description="sentence on the purpose of the model, for its metadata and card."
    )
    license: str = field(nonempty=True, description="licence of the weights.")
    batch_size: int = field(ge=1, description="number of sequences in a batch of one process.")
    lr: float = field(gt=0, description="highest learning rate.")
    clip_grad_norm: float = field(1.0, gt=0, description="maximum norm of the gradient.")
    citation: str = field("", description="reference to cite, for metadata and model card.")
    remarks: str = field("", description="further text of the model card, such as limitations.")
    init_from: str = field(
        "",
        description="weights to fine-tune: a name of the zoo, a directory, a metadata file or an address of the Hub.",
    )
    layer_decay: float = field(
        1.0, gt=0, le=1, description="factor of the learning rate for each layer towards the input; 1 has no effect."
    )
    freeze_steps: int = field(
        0,
        ge=0,
        description="number of updates in which only the last layer is trained. Of a video classifier without "
        "`init_from`, all layers but the encoder are trained, since they are random.",
    )
    optimizer: str = field(
        "adam", description="``muon``, or the name of an optimizer of timm, such as ``adam``, ``adamw`` or ``sgd``."
    )
    optimizer_args: Mapping[str, Any] = field(
        factory=dict, description="further arguments of the optimizer, such as ``{momentum = 0.9}``."
    )
    weight_decay: float | None = field(
        None, ge=0, description="weight decay of the optimizer; by default 0.1 for kernels of ``muon``, 0 for others."
    )
    schedule: str = field(
        "one_cycle",
        choices=SCHEDULE_NAMES,
        description="``one_cycle``; ``one_cycle_momentum``, which also changes the momentum; or ``cosine``.",
    )
    warmup: float = field(
        0.3,
        ge=0,
        le=1,
        description="fraction of a cycle in which the learning rate of ``one_cycle`` or ``one_cycle_momentum`` rises; "
        "less than 1 for ``one_cycle_momentum``.",
    )
    cycles: tuple[int, ...] = field(
        (), ge=1, description="lengths in updates of the cycles of ``one_cycle``; empty for a single cycle."
    )
    seeds: int | tuple[int, ...] = field(
        (0,),
        ge=0,
        description="random seed, or several: a model is trained with each. A seed determines the initial weights "
        "and the order of the data, augmentation and noise. The weights of the first one are saved.",
    )
    noise: float = field(
        0.0, ge=0, description="standard deviation of the Gaussian noise that is added to the encoded input."
    )
    augment: Mapping[str, Any] = field(
        factory=dict, description="table of :class:`~convrnn_zoo.recipes.Augment`: random changes of the training data."
    )
    grad_accum_steps: int = field(
        1, ge=1, description="number of batches of `batch_size` whose gradients are accumulated for one update."
    )
    ema: float = field(
        0.0,
        ge=0,
        lt=1,
        description="decay of an exponential moving average of the weights, such as 0.999; the averaged weights are "
        "evaluated and saved. 0 does not average. In the first updates the decay is smaller: ``1 - (1 + "
        "update) ** (-2 / 3)``.",
    )
    bf16: bool = field(False, description="whether to train under autocast to bfloat16.")
    fp16: bool = field(
        False, description="whether to train under autocast to float16, with a scaled loss, for GPUs without bfloat16."
    )
    grad_checkpointing: bool = field(
        False, description="whether to compute activations again in the backward pass, to save memory."
    )
    compile: bool = field(False, description="whether to compile the model with ``torch.compile``.")
    sync_bn: bool = field(False, description="whether several processes share the statistics of batch norms.")
    workers: int = field(
        0, ge=0, le=1024, description="number of processes that read batches ahead; 0 reads each batch when needed."
    )
    patience: int = field(
        0, ge=0, description="number of validations without a lower loss until training stops; 0 trains to the end."
    )
    keep_best: bool = field(
        True,
        description="whether to save the weights with the lowest validation loss instead of the last weights. It has "
        "an effect only with a validation split, which the key `validation` of ``[data]`` sets aside.",
    )
    model: Mapping[str, Any] = field(factory=dict, description="arguments of the architecture.")

    def __post_init__(self) -> None:
        data: Any = {"kind": self.data} if isinstance(self.data, str) else self.data
        if isinstance(data, Mapping):
            object.__setattr__(self, "data", read_dataset(data, self.datasets))
        check_fields(self)
        for table in ("model", "optimizer_args"):
            object.__setattr__(self, table, _plain_lists(getattr(self, table)))
        seeds = (self.seeds,) if isinstance(self.seeds, int) else self.seeds
        object.__setattr__(self, "seeds", seeds)
        if not seeds or len({*seeds}) < len(seeds):
            raise ValueError(f"the recipe's seeds must be one or more different numbers, got {list(seeds)}")
        if self.bf16 and self.fp16:
            raise ValueError("the recipe's bf16 and fp16 are two precisions: leave one of them out")
        self._check_optimizer()
        if augment := self.augmentation():
            object.__setattr__(self, "augment", dataclasses.asdict(augment))
        if reserved := ", ".join(sorted(RESERVED & self.model.keys())):
            raise ValueError(f"the recipe's model: {reserved} is not an argument of a recipe; leave it out")
        check_arguments({k: v for k, v in self.model.items() if k != "encoder_pretrained"}, "the recipe's model")
        if not re.fullmatch(r"\w+\.\w[\w.-]*", self.weights):  # which also names files
            raise ValueError(
                f"the recipe's weights must be architecture.tag, of letters, digits, _, - and ., got {self.weights!r}"
            )

    def _check_optimizer(self) -> None:
        """Raises ValueError for an unknown optimizer, and for keys that the optimizer or the schedule does not have."""
        if self.optimizer not in (names := list_optimizers()):
            hint = similar(self.optimizer, names)
            raise ValueError(
                f"the recipe's optimizer must be muon or one of timm, such as adam, adamw or sgd, got "
                f"{self.optimizer!r}{hint}"
            )
        if self.schedule == "one_cycle_momentum" and self.warmup == 1:
            raise ValueError("the recipe's warmup must be less than 1 for one_cycle_momentum, which also falls; got 1")
        if self.optimizer == "muon" and self.layer_decay != 1:
            raise ValueError("the recipe's layer_decay is for optimizers other than muon; leave it out")
        for key, is_wrong in (
            ("warmup", self.warmup != 0.3 and self.schedule == "cosine"),
            ("cycles", self.cycles and self.schedule != "one_cycle"),
        ):
            if is_wrong:
                raise ValueError(
                    f"the recipe's {key} is of the schedule one_cycle, and schedule is {self.schedule}: leave {key} out"
                )

    def augmentation(self) -> Augment | None:
        """Returns the augmentation of the table `augment`; None if it is empty."""
        return read(Augment, self.augment, where="augment.") if self.augment else None

    @property
    def seed(self) -> int:
        """The first of `seeds`, whose weights are saved."""
        return self.seeds[0]  # type: ignore[index]

    @property
    def architecture(self) -> str:
        """Registered name of the model."""
        return self.weights.partition(".")[0]

    @property
    def name(self) -> str:
        """Name of an equal recipe in the package, or else the name of the weights."""
        return next((k for k in RECIPES if Recipe.read(k) == self), self.weights)

    def list_splits(self, data: Any = None) -> tuple[str, ...]:
        """Returns the names of the splits that training reads, with ``"validation"`` if the recipe or `data` have it.

        Raises ValueError if a key of the recipe needs a validation split, and there is none; or `data` is a dictionary
        with a key that is no split.
        """
        check_names(data if isinstance(data, Mapping) else (), SPLITS, "data has the key {!r}, which is no split")
        if self.data.validation or (isinstance(data, Mapping) and "validation" in data):
            return SPLITS
        for f in dataclasses.fields(self):
            if f.name in NEED_VALIDATION and getattr(self, f.name) != f.default:
                raise ValueError(
                    f"{f.name} = {getattr(self, f.name)} needs validation: set data.validation to a fraction such as "
                    "0.1, or pass data['validation']"
                )
        return "train", "test"

    def create_model(self, **kwargs: Any) -> ZooModel:
        """Builds the untrained model from the recipe's `model` and from `kwargs`, which the data determine.

        Raises:
            ValueError: there is no such architecture, it does not accept an argument, or the model is too large.
        """
        if fixed := ", ".join(sorted(self.model.keys() & kwargs)):
            raise ValueError(f"the recipe's model: {fixed} is determined by the data and the recipe; leave it out")
        with report_model_errors():
            if kwargs.get("device") != "meta":  # before memory is allocated
                with size_limit(limit() // BYTES_PER_PARAMETER_BYTE):
                    build_on_meta(partial(create_model, self.architecture), {**self.model, **kwargs}, "the model")
            return create_model(self.architecture, **self.model, **kwargs)

    @staticmethod
    def read(source: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Reads a recipe by its name in the package, or from a TOML file.

        A file with ``extends = "other.toml"`` overrides keys of the recipe other.toml in the same directory.

        Args:
            source: name or file.
            overrides: values that replace those of the file, as ``KEY=VALUE``. The key of a table is a path with dots,
                and the value is TOML; a string of one word needs no quotes.

        Raises:
            FileNotFoundError: `source` is neither a file nor a recipe of the package.
            ValueError: the file is not valid TOML, or a key is missing, unknown or invalid.

        Example:
            >>> recipe = Recipe.read("rain", ["lr=0.01", "model.hidden_channels=[8, 8]", "loss=mae"])
            >>> recipe.lr, recipe.model["hidden_channels"], recipe.loss
            (0.01, [8, 8], 'mae')
        """
        path = RECIPES.get(str(source), Path(source))
        if not path.is_file():
            raise FileNotFoundError(f"no recipe {str(source)!r}; pass a .toml file or one of: {', '.join(RECIPES)}")
        table = read_toml(path)
        for assignment in overrides:
            override(table, assignment)
        try:
            return Recipe.of(table)
        except ValueError as e:
            raise ValueError("\n".join(f"{path}: {line}" for line in str(e).splitlines())) from e

    @staticmethod
    def of(table: Mapping[str, Any]) -> "Recipe":
        """Builds a recipe from a dictionary with the keys of a TOML file.

        Raises ValueError if a key is missing, unknown or invalid.
        """
        fields = dict(table)
        kind = checks.choice("kind", fields.pop("kind", None), list(RECIPE_KINDS))
        own = {f.name for f in dataclasses.fields(RECIPE_KINDS[kind])}
        for other, cls in RECIPE_KINDS.items():
            if foreign := [f.name for f in dataclasses.fields(cls) if f.name in fields and f.name not in own]:
                raise ValueError(f"the recipe's {foreign[0]} is a key of a {other}, and kind is {kind}: leave it out")
        try:
            return read(RECIPE_KINDS[kind], fields)
        except RecursionError:
            raise ValueError("the recipe has tables in tables that are nested too deeply; leave them out") from None

    @staticmethod
    def parse(text: str) -> "Recipe":
        """Builds a recipe from weights metadata: the name of a recipe of the package, or the text of a TOML file.

        Raises ValueError if the text is neither a name nor valid TOML, or a key is missing, unknown or invalid.
        """
        if text in RECIPES:
            return Recipe.read(text)
        try:
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as e:
            raise ValueError(f"no recipe of the package, and not valid TOML ({e}): {text[:60]!r}") from e
        return Recipe.of(table)

    def fingerprint(self, processes: int = 1, **others: Any) -> str:
        """Returns JSON with everything that determines the weights of a run: fields of the recipe, and `others`.

        Of `batch_size`, `grad_accum_steps` and the number of `processes`, it has the product.
        """
        table = self.to_table()
        fields, data = ({k: v for k, v in part.items() if k not in NOT_TRAINED} for part in (table, table["data"]))
        if not data.get("min_wet_fraction"):  # else the lowest threshold selects the crops
            data.pop("thresholds", None)
        fields["sequences_per_update"] = fields.pop("batch_size") * fields.pop("grad_accum_steps") * processes
        return json.dumps({**fields, "data": data, **others}, sort_keys=True)

    def to_table(self) -> dict[str, Any]:
        """Returns the values of all fields by name; `data` is a dictionary, without the place of the data."""
        data = {k: v for k, v in to_table(self.data).items() if k not in ("path", "storage_options")}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"data": data}

    def to_toml(self) -> str:
        """Returns the recipe as TOML, with the value of every field; :meth:`parse` restores the recipe from the text.

        Defaults are written out, so that a saved recipe keeps its meaning if a later version changes a default. Fields
        that are None are left out, because TOML cannot express None.

        Example:
            >>> recipe = Recipe.read("rain")
            >>> Recipe.parse(recipe.to_toml()) == recipe
            True
            >>> "layer_decay = 1.0" in recipe.to_toml()
            True
        """
        kind = next(k for k, cls in RECIPE_KINDS.items() if cls is type(self))
        return format_toml({"kind": kind, **self.to_table()})


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """Recipe of a classifier of sequences.

    The default optimizer is ``adamw``, and the default schedule is ``one_cycle_momentum``.
    """

    datasets: ClassVar[Mapping[str, type]] = LABELLED_DATASETS
    data: LabelledDataset
    epochs: int = field(ge=1, description="number of epochs.")
    optimizer: str = field("adamw")
    schedule: str = field("one_cycle_momentum", choices=SCHEDULE_NAMES)
    label_smoothing: float = field(
        0.0, ge=0, le=1, description="fraction of the target probability that is spread evenly over all classes."
    )
    class_weights: str | tuple[float, ...] = field(
        (),
        gt=0,
        choices=("balanced",),
        description='weight of each class in the loss, in the order of the classes, or ``"balanced"``: inversely '
        "proportional to the number of training sequences of the class.",
    )
    negatives: float = field(
        0.0,
        ge=0,
        le=1,
        description="number of sequences of no class for each sequence of a batch, such as 0.25. They are made of "
        "the sequences of the batch by :func:`~convrnn_zoo.recipes.augment.make_negatives`. Their target "
        "is the same probability for every class, so that a threshold on the probability rejects what is "
        "no class. Their number in a batch is rounded.",
    )
    bucket_batches: int = field(
        0,
        ge=0,
        description="number of updates whose sequences are sampled together, sorted by length and split into "
        "batches, for less padding; 0 does not sort.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives and not round(self.negatives * self.batch_size):
            raise ValueError(
                f"the recipe's negatives = {self.negatives:g} gives no sequence for a batch_size of {self.batch_size}; "
                "raise one of the two"
            )
        if self.model.get("global_pool") == "":
            raise ValueError("the recipe's model.global_pool must name a pool: a classifier gives one answer; got ''")


@dataclass(frozen=True, kw_only=True)
class ForecasterRecipe(Recipe):
    """Recipe of a forecaster of frames."""

    datasets: ClassVar[Mapping[str, type]] = FRAME_DATASETS
    data: FrameDataset
    inputs: int = field(ge=1, le=MAX_FRAMES, description="number of frames that the model reads.")
    horizon: int = field(ge=1, le=MAX_FRAMES, description="number of frames that the model forecasts.")
    max_steps: int = field(ge=1, description="number of updates.")
    loss: str = field(
        description=f"{', '.join(f'``{name}``' for name in LOSSES)}; see :mod:`convrnn_zoo.verify.losses`. Several "
        "names give a sum, such as ``mse+mae``. ``exceedance`` trains the probabilities of a nowcast. It "
        "reads rain rates in mm/h and ignores the `encoding` of the data."
    )
    metrics: tuple[str, ...] = field(
        (),
        choices=tuple(name for name, info in METRICS.items() if info.of),
        description="further metrics of the evaluation.",
    )
    sampling: Mapping[str, Any] = field(
        factory=dict,
        description="table of scheduled sampling: a `name` in :data:`~convrnn_zoo.recipes.sampling.SAMPLINGS` and "
        "its arguments.",
    )
    decoupling: float = field(0.0, ge=0, description="weight of PredRNN v2's decoupling loss.")
    moments: float = field(0.0, ge=0, description="weight of PhyDNet's loss on the moments of its filters.")
    ensemble_size: int = field(
        0, ge=0, description="number of members per sequence for the loss ``crps``; only for models that read noise."
    )
    quantile: float = field(
        0.5,
        gt=0,
        lt=1,
        description="probability of the loss ``quantile``; at 0.9, the truth exceeds one forecast in ten.",
    )
    lead_times: int = field(
        0, ge=0, description="number of lead times that the loss ``exceedance`` samples for each update; 0 uses all."
    )
    checkpoint_every: int = field(
        100, ge=1, description="number of updates between checkpoints, figures and validations."
    )
    test_sequences: int = field(1000, ge=1, description="number of sequences in the final evaluation.")
    validation_sequences: int = field(256, ge=1, description="number of sequences in a validation.")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            find_loss(self.loss)
        except ValueError as e:
            raise ValueError(f"the recipe's {e}") from None
        named = [name for name, info in METRICS.items() if info.of]
        check_names(self.metrics, named, "the recipe's metrics must be names of further metrics, got {!r}")
        if self.quantile != 0.5 and "quantile" not in self.loss.split("+"):
            raise ValueError(f"the recipe's quantile = {self.quantile:g} is of the loss quantile, loss is {self.loss}")
        augment = self.augmentation()
        if augment is not None and (wrong := augment.sequence_fields):
            raise ValueError(f"the recipe's augment.{wrong[0]} is for classifiers; leave it out for a forecaster")
        if augment is not None and augment.scale and self.data.variables:
            raise ValueError("the recipe's augment.scale is for data of one unit; leave it out with data.variables")
        sampling = read_sampling(self.sampling)
        if self.sampling:
            resolved = {"name": self.sampling.get("name", "own"), **dataclasses.asdict(sampling)}
            object.__setattr__(self, "sampling", resolved)

    def preprocessing(self, train: FrameSequences | None = None) -> Preprocessing:
        """Returns the preprocessing of the model: the encoding of the data's frames and the meaning of its outputs.

        The mean and standard deviation of the encoding ``standardize`` are computed from `train`, the training split.
        """
        loss = find_loss(self.loss)
        values = self.data.preprocessing(train, self.inputs, self.horizon, loss.activation)
        if loss.is_probabilistic:
            return dataclasses.replace(values, encoding="none", floor=None, top=None, mean=(), std=())
        return values


RECIPE_KINDS: dict[str, type[Recipe]] = {"classifier": ClassifierRecipe, "forecaster": ForecasterRecipe}
"""Recipe classes by the `kind` of a file."""


def find_recipe(model: ZooModel, source: str | None = None) -> Recipe | None:
    """Returns the recipe with the name or file `source`; by default, returns the recipe in the model's metadata.

    Returns None if the metadata has no recipe.

    Raises:
        FileNotFoundError: the file or recipe does not exist.
        ValueError: the recipe is invalid.
    """
    if source is not None:
        return Recipe.read(source)
    return Recipe.parse(model.metadata.recipe) if model.metadata and model.metadata.recipe else None
