"""The record of a set of weights: every claim about it, once. Cards, tables and timm's cfg are drawn from it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._whole import whole

DIRECTORY = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Metric:
    """One measured figure: on which data, over how many runs, with which spread."""

    name: str
    value: float
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
    """The pixels of a frame, where the figure is their sum and not their mean."""


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
    dataset_url: str
    metrics: tuple[Metric, ...]
    recipe: str
    license: str
    description: str
    citation: str = ""
    remarks: str = ""
    """What the figures do not tell: how much the weights have seen, and what they may be compared with."""
    hub_id: str | None = None
    hub_commit: str | None = None

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

    def to_json(self) -> str:
        """The record as it lies on disk."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Weights":
        """The record of a file; an entry that the record does not know is a TypeError."""
        raw = json.loads(text)
        lists = {k: tuple(v) for k, v in raw.items() if isinstance(v, list)}
        return cls(**{**raw, **lists, "metrics": tuple(Metric(**m) for m in raw["metrics"])})

    def save(self, directory: Path = DIRECTORY) -> Path:
        """Writes the record beside its weights, whole or not at all."""
        path = directory / f"{self.name}.json"
        with whole(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")
        return path


def plain_size(space: tuple[int | str, ...], free: int = 32) -> tuple[int, int]:
    """timm's ``(H, W)`` of a map of any dimension; an axis that is free counts `free` pixels."""
    sizes = [s if isinstance(s, int) else free for s in space]
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


WEIGHTS: dict[str, Weights] = {
    w.name: w for w in (Weights.from_json(p.read_text(encoding="utf-8")) for p in sorted(DIRECTORY.glob("*.json")))
}
