"""Metadata of sets of weights, from which model cards, tables and timm's cfgs are generated."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._atomic import write_text
from .._typed import read
from ..values.clips import ClipSampling
from ..values.log_mel import LogMel
from ..values.preprocessing import Preprocessing
from .limits import MAX_INPUT, check_arguments

DIRECTORY = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Metric:
    """One measured metric.

    `value` is the metric of these weights in `unit`. `mean` and `std` are the mean and the standard deviation of the
    metric over `runs` trainings with different seeds. `split` describes the part of `dataset` that was used.
    """

    name: str
    value: float
    """Errors of frames are means over their pixels."""
    dataset: str
    split: str
    mean: float | None = None
    std: float | None = None
    runs: int = 1
    note: str = ""
    unit: str = "%"
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Metrics of other methods on the same data, by name."""
    summed_over: int | None = None
    """Number of pixels of a frame, for errors that other publications report as the sum over pixels."""
    interval: tuple[float, float] | None = None
    """The 95 % confidence interval of `value`."""

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"{self.name}: mean and std belong together, got {self.mean} and {self.std}")

    @property
    def summed(self) -> float | None:
        """`value` summed over the pixels of a frame, as other publications report it; None without `summed_over`."""
        return None if self.summed_over is None else self.value * self.summed_over


NAME = re.compile(r"\w+(\.\w[\w.-]*)?")
"""Names of weights, ``architecture.tag``. They are parts of paths: no separators, and no leading dots."""
LONGEST_NAME = 128
"""Largest number of characters of the name of weights."""


@dataclass(frozen=True)
class WeightsMetadata:
    """Metadata of a set of weights, ``architecture.tag``.

    The metadata is stored as JSON next to the safetensors file. To add a set of weights, add these two files.
    """

    name: str
    sha256: str
    model_args: Mapping[str, Any]
    """Arguments of the architecture other than `in_chans` and `num_classes`."""
    num_params: int
    input_shape: tuple[int | str, ...]
    """Shape of one sequence, ``("T", C, *S)``; a name is an axis of any size."""
    in_chans: int
    num_classes: int
    label_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: str
    dataset: str
    """Name of the training data."""
    dataset_url: str
    metrics: tuple[Metric, ...]
    recipe: str
    """Name of a recipe of the package, or the text of a recipe."""
    license: str
    description: str
    citation: str = ""
    remarks: str = ""
    """Limitations of the weights and of comparisons with their metrics."""
    origin: Mapping[str, str] | None = None
    """Address, sha256 and licence of the file that another project publishes and these weights were converted from."""
    hub_id: str | None = None
    hub_commit: str | None = None
    dataset_license: str = ""
    split: str = ""
    """Description of the test split."""
    default: bool = False
    """Whether ``pretrained=True`` loads these weights if the architecture has several."""
    preprocessing: Preprocessing | None = None
    """Preprocessing of a forecaster."""
    front_end: LogMel | None = None
    """Front end of a classifier of audio."""
    clips: ClipSampling | None = None
    """Frames that a classifier reads from each clip."""
    threshold: float | None = None
    """Probability that 95 % of the validation recordings reach, by which other sounds may be rejected."""
    training_part: str = ""
    """Checksum of the names of the training recordings or frames, by which ``convrnn-zoo eval`` notices other data."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > LONGEST_NAME:  # also names files
            raise ValueError(
                f"name must be architecture.tag, of at most {LONGEST_NAME} letters, digits, _, - and ., got "
                f"{self.name[: LONGEST_NAME + 1]!r}"
            )
        if len(self.input_shape) < 2:
            raise ValueError(f"input_shape must be (T, C, ...), got {self.input_shape}")
        sizes = [size for size in self.input_shape[1:] if isinstance(size, int)]
        if any(size < 1 for size in sizes) or math.prod(sizes) > MAX_INPUT:
            raise ValueError(
                f"input_shape must have positive sizes, at most {MAX_INPUT:,} values, got {self.input_shape}"
            )
        if not len(self.mean) == len(self.std) == self.in_chans:
            counts = f"{len(self.mean)} and {len(self.std)}"
            raise ValueError(f"mean and std must have a number for each of {self.in_chans} channels, got {counts}")

    @property
    def trained_on(self) -> str:
        """Name of the training data with its licence."""
        return f"{self.dataset} ({self.dataset_license})" if self.dataset_license else self.dataset

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.name.partition(".")[0]

    @property
    def file(self) -> Path:
        """Path of the safetensors file in the package."""
        return DIRECTORY / f"{self.name}.safetensors"

    def source(self) -> dict[str, str]:
        """Returns the field of timm's ``PretrainedCfg`` that locates the weights: a file or a Hub commit."""
        if self.hub_id and self.hub_commit and not self.file.is_file():
            return {"hf_hub_id": f"{self.hub_id}@{self.hub_commit}"}
        return {"file": str(self.file)}

    def cfg(self) -> dict[str, Any]:
        """Returns fields of timm's ``PretrainedCfg``; in ``input_size``, an axis of variable size has 32 pixels."""
        height, width = (s if isinstance(s, int) else 32 for s in (1, *self.input_shape[2:])[-2:])
        return {
            **self.source(),
            "input_size": (self.in_chans, height, width),
            "mean": self.mean,
            "std": self.std,
            "num_classes": self.num_classes,
            "label_names": self.label_names or None,
            "license": self.license,
            "description": self.description,
            "origin_url": self.dataset_url,
        }

    @property
    def args(self) -> dict[str, Any]:
        """All arguments of the architecture."""
        return {"in_chans": self.in_chans, "num_classes": self.num_classes, **self.model_args}

    def plain(self) -> dict[str, Any]:
        """Returns the metadata as plain JSON.

        Fields of the weights that are None are omitted. A metric omits its `interval` if it is None, and its `dataset`
        and `split` where they equal those of the weights. Its other fields are kept, also if they are None.
        """
        raw = dataclasses.asdict(self)
        for metric in raw["metrics"]:
            for key in ("dataset", "split"):
                if metric[key] == raw[key]:
                    del metric[key]
            if metric["interval"] is None:
                del metric["interval"]
        for key in ("preprocessing", "front_end"):
            raw[key] = (values := getattr(self, key)) and values.to_json()
        return {k: v for k, v in raw.items() if v is not None}

    def to_json(self) -> str:
        """Returns the text of the JSON file."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_plain(cls, raw: object) -> "WeightsMetadata":
        """Reads an untrusted JSON object, or raises ValueError."""
        if isinstance(raw, Mapping) and isinstance(raw.get("metrics"), list):
            shared = {k: raw[k] for k in ("dataset", "split") if k in raw}
            raw = {**raw, "metrics": [{**shared, **m} if isinstance(m, Mapping) else m for m in raw["metrics"]]}
        metadata = read(cls, raw, name := "the weights metadata")
        check_arguments(metadata.model_args, name)
        return metadata

    @classmethod
    def from_json(cls, text: str) -> "WeightsMetadata":
        """Reads the text of a JSON file; see :meth:`from_plain`."""
        return cls.from_plain(json.loads(text))

    def save(self, directory: Path = DIRECTORY) -> Path:
        """Writes the JSON file, atomically, and returns its path."""
        path = directory / f"{self.name}.json"
        write_text(path, self.to_json())
        return path


WEIGHTS: dict[str, WeightsMetadata] = {
    file.stem: WeightsMetadata.from_json(file.read_text(encoding="utf-8")) for file in sorted(DIRECTORY.glob("*.json"))
}
"""Registered sets of weights by name, ``"architecture.tag"``."""
