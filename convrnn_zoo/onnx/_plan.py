"""What a file will hold: its inputs and outputs by name, the module between them, and how it is tried."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.base.sequences import valid_steps

Values = Mapping[str, Tensor]
Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Runs = Mapping[str, Run]
"""The files of an export as functions, by what is put into their names."""
Trial = Iterator[tuple[str, Tensor, Tensor]]
"""What was compared, what the file said, and what the model says."""
Sizes = Mapping[str, int]

SPACE = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""The spatial axes by name."""


class Axis(NamedTuple):
    """An open axis: its name in the file, and its size as a multiple of a size that can be chosen."""

    name: str
    size: str
    factor: int = 1
    divided: int = 1
    """What the multiple is divided by."""
    up: bool = False
    """Whether it is rounded up, and not down, then."""
    free: bool = False
    """Whether torch finds by itself what this size may be: that of a frame in front of an image encoder, or behind."""

    def at(self, sizes: "Sizes") -> int:
        """The size at chosen sizes."""
        size = self.factor * sizes[self.size]
        return -(-size // self.divided) if self.up else size // self.divided


BATCH, TIME = Axis("batch", "batch"), Axis("time", "time")


def space(ndim: int, factor: int = 1, divided: int = 1) -> list[Axis]:
    """The axes of a map: `factor` times the chosen sizes, by the names of the input's axes over `divided`.

    Example:
        >>> [axis.name for axis in space(2, divided=4)]
        ['height/4', 'width/4']
    """
    end = f"/{divided}" if divided > 1 else ""
    return [Axis(name + end, name, factor) for name in SPACE[ndim]]


@dataclass(frozen=True)
class Port:
    """An input or an output."""

    name: str
    axes: Sequence[Axis | int]
    dtype: torch.dtype

    def shape(self, sizes: Sizes) -> list[int]:
        """At these sizes."""
        return [a.at(sizes) if isinstance(a, Axis) else a for a in self.axes]

    @property
    def names(self) -> list[str | int]:
        """The axes as the file names them."""
        return [a.name if isinstance(a, Axis) else a for a in self.axes]

    def draw(self, sizes: Sizes, seed: int = 0) -> Tensor:
        """Values of this kind."""
        if self.name == "horizon":
            return torch.tensor(sizes["horizon"])
        drawn = torch.Generator().manual_seed(seed)
        if self.name == "lengths":
            lengths = torch.randint(1, sizes["time"] + 1, self.shape(sizes), generator=drawn)
            lengths[-1] = sizes["time"]
            return lengths
        if self.dtype == torch.bool:
            mask = torch.rand(self.shape(sizes), generator=drawn) < 0.6
            mask[:, -1] = True  # a date of each
            return mask
        return torch.randn(self.shape(sizes), generator=drawn).to(self.dtype)


def state_ports(shapes: Mapping[str, Sequence[Axis | int]], dtype: torch.dtype) -> tuple[list[Port], list[Port]]:
    """States by name and axes, as they go in and come out."""
    into, out = ([Port(f"{name}_{side}", axes, dtype) for name, axes in shapes.items()] for side in ("in", "out"))
    return into, out


@dataclass(frozen=True)
class Part:
    """One file: a module called with its inputs by name, which gives its outputs in order."""

    module: nn.Module
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def zeros(self, sizes: Sizes) -> dict[str, Tensor]:
        """The zero state."""
        return {p.name: torch.zeros(p.shape(sizes), dtype=p.dtype) for p in self.inputs if p.name.endswith("_in")}


@dataclass(frozen=True)
class Plan:
    """The files of an export, by what is put into their names, and a way to try them beside the model."""

    parts: Mapping[str, Part]
    trial: Callable[[Runs, Sizes], Trial]
    """Runs the parts at these sizes, and yields what to compare."""
    least: Sizes = field(default_factory=dict)
    """The smallest map."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the metadata say beyond names and sizes."""

    @classmethod
    def of_sequence(cls, part: Part, says: Callable[..., Iterable[Tensor]], *rest: Any) -> "Plan":
        """Of one file that reads whole sequences, tried once beside what a model `says` of the same inputs."""

        def trial(runs: Runs, sizes: Sizes) -> Trial:
            given = {p.name: p.draw(sizes, i) for i, p in enumerate(part.inputs)}
            there = given.get("lengths", given.get("mask"))
            if there is not None:  # what is not there must never be read
                given["input"] = torch.where(valid_steps(given["input"], there), given["input"], 1e4)
            said = runs[""](given)
            for port, wanted in zip(part.outputs, says(**given), strict=True):
                yield port.name, said[port.name], wanted

        return cls({"": part}, trial, *rest)


def states_out(outputs: Values) -> dict[str, Tensor]:
    """The state that came out, as it goes in again."""
    return {name.removesuffix("_out") + "_in": x for name, x in outputs.items() if name.endswith("_out")}
