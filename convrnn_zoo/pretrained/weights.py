"""The record of a set of weights: every claim about it, once. Cards, tables and timm's cfg are drawn from it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._atomic import atomic_write
from .log_mel import LogMel
from .meta import check_arguments
from .preprocessing import Preprocessing
from .typed import read

DIRECTORY = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Metric:
    """One measured figure: on which data, over how many runs, with which spread.

    `value` is that of the weights themselves, in `unit`; `mean` and `std` are over `runs` trainings, which differ in
    their seed. `split` says in words which part of `dataset` was measured.
    """

    name: str
    value: float
    """Of errors of frames, the mean over their pixels."""
    dataset: str
    split: str
    mean: float | None = None
    std: float | None = None
    runs: int = 1
    note: str = ""
    unit: str = "%"
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What other methods reach on the same data, by their names."""
    summed_over: int | None = None
    """The pixels of a frame, where others state the sum over them: this figure times so many."""

    @property
    def summed(self) -> float | None:
        """The figure as others state it, summed over the pixels of a frame."""
        return None if self.summed_over is None else self.value * self.summed_over


@dataclass(frozen=True)
class Weights:
    """A set of weights, ``architecture.tag``, and what is claimed of it.

    The record lies as JSON beside its safetensors file; a new set of weights is these two files and nothing else.
    """

    name: str
    sha256: str
    model_args: Mapping[str, Any]
    """What the architecture is built with beyond `in_chans` and `num_classes`."""
    num_params: int
    input_shape: tuple[int | str, ...]
    """Shape of one sequence, ``("T", C, *S)``; names stand for what is free."""
    in_chans: int
    num_classes: int
    label_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: str
    dataset: str
    """The name of the data that they were trained on."""
    dataset_url: str
    metrics: tuple[Metric, ...]
    recipe: str
    """The name of a recipe of the package, or the text of its TOML file."""
    license: str
    description: str
    citation: str = ""
    remarks: str = ""
    """What the figures do not tell: how much the weights have seen, and what they may be compared with."""
    hub_id: str | None = None
    hub_commit: str | None = None
    dataset_license: str = ""
    split: str = ""
    """What the test split is, in words."""
    default: bool = False
    """Whether ``pretrained=True`` takes these where the architecture has several."""
    preprocessing: Preprocessing | None = None
    """Of a forecaster: from frames in the unit of the data to what it sees, and back."""
    front_end: LogMel | None = None
    """Of a classifier of sound: from samples to what it sees."""

    @property
    def trained_on(self) -> str:
        """The name of the data with its licence."""
        return f"{self.dataset} ({self.dataset_license})" if self.dataset_license else self.dataset

    @property
    def architecture(self) -> str:
        """The registered name that builds the network."""
        return self.name.partition(".")[0]

    @property
    def file(self) -> Path:
        """The safetensors file inside the package."""
        return DIRECTORY / f"{self.name}.safetensors"

    def source(self) -> dict[str, str]:
        """Where the weights lie: in the package, or where it no longer carries them, at a commit of the Hub."""
        if self.hub_id and self.hub_commit and not self.file.is_file():
            return {"hf_hub_id": f"{self.hub_id}@{self.hub_commit}"}
        return {"file": str(self.file)}

    def cfg(self) -> dict[str, Any]:
        """The part of the record that timm's ``PretrainedCfg`` holds."""
        return {
            **self.source(),
            "input_size": (self.in_chans, *plain_size(self.input_shape[2:])),
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
        """Every argument that builds the network."""
        return {"in_chans": self.in_chans, "num_classes": self.num_classes, **self.model_args}

    def plain(self) -> dict[str, Any]:
        """The record as plain JSON: data set and split stand once, and not again beside each of its metrics."""
        raw = dataclasses.asdict(self)
        for metric in raw["metrics"]:
            for key in ("dataset", "split"):
                if metric[key] == raw[key]:
                    del metric[key]
        for key in ("preprocessing", "front_end"):
            raw[key] = (values := getattr(self, key)) and values.to_json()
        return {k: v for k, v in raw.items() if v is not None}

    def to_json(self) -> str:
        """The record as it lies on disk."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_plain(cls, raw: object, what: str = "the record") -> "Weights":
        """The record of an object of JSON, which may be a stranger's.

        Raises:
            ValueError: an entry is missing, not known, or of another type.
        """
        if isinstance(raw, Mapping) and isinstance(raw.get("metrics"), list):
            said = {k: raw[k] for k in ("dataset", "split") if k in raw}
            raw = {**raw, "metrics": [{**said, **m} if isinstance(m, Mapping) else m for m in raw["metrics"]]}
        record = read(cls, raw, what)
        check_arguments(record.model_args, what)
        return record

    @classmethod
    def from_json(cls, text: str) -> "Weights":
        """The record of a file; what it should not hold is a ValueError."""
        return cls.from_plain(json.loads(text))

    def save(self, directory: Path = DIRECTORY) -> Path:
        """Writes the record beside its weights, whole or not at all."""
        path = directory / f"{self.name}.json"
        with atomic_write(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")
        return path


def plain_size(space: tuple[int | str, ...], free: int = 32) -> tuple[int, int]:
    """timm's ``(H, W)`` of a map of any dimension; an axis that is free counts `free` pixels."""
    sizes = [s if isinstance(s, int) else free for s in space]
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


WEIGHTS: dict[str, Weights] = {
    w.name: w for w in (Weights.from_json(p.read_text(encoding="utf-8")) for p in sorted(DIRECTORY.glob("*.json")))
}
"""The sets of weights that the package knows, by their names ``"architecture.tag"``."""
