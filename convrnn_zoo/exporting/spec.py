"""Specification of an export: the inputs and outputs of each file, and the comparison with the model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.base.lengths import valid_steps


class ExportError(ValueError):
    """The model does not support the export, or the file's outputs differ from the model's. No file is written."""


Values = Mapping[str, Any]  # tensors by the names of inputs or outputs, and the horizon, an int
Runner = Callable[[Values], dict[str, Tensor]]  # runs one exported file
Runners = Mapping[str, Runner]  # of the files of an export, by the suffix of their names
Comparisons = Iterator[tuple[str, Tensor, Tensor]]  # name of an output, the file's value and the model's value
Sizes = Mapping[str, int]

FrameSize = tuple[int, ...]


class ExportOptions(NamedTuple):
    """Arguments of :func:`convrnn_zoo.export` that select the inputs and outputs of the files."""

    state: bool = False
    lengths: bool | None = None
    mask: bool = False
    horizon: int | None = None
    size: FrameSize | None = None
    encoded: bool = False


SPACE_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


class Axis(NamedTuple):
    """A dynamic axis of length ``(factor * size + plus) / divisor``, where `size` and `plus` name dynamic sizes."""

    name: str
    size: str
    factor: int = 1
    divisor: int = 1
    round_up: bool = False  # whether the division rounds up, and not down
    plus: str = ""  # another dynamic size, if any
    inferred: bool = False  # whether torch infers the range of this size, as for frames before an image encoder

    def at(self, sizes: Sizes) -> int:
        """Computes the size of the axis from the values of the dynamic sizes."""
        size = self.factor * sizes[self.size] + (sizes[self.plus] if self.plus else 0)
        return -(-size // self.divisor) if self.round_up else size // self.divisor


Axes = list[Axis | int]
BATCH, TIME = Axis("batch", "batch"), Axis("time", "time")


def space(ndim: int, factor: int = 1, divisor: int = 1) -> list[Axis]:
    """Returns spatial axes of `factor` times the dynamic sizes; `divisor` changes only their names (``height/2``)."""
    end = f"/{divisor}" if divisor > 1 else ""
    return [Axis(name + end, name, factor) for name in SPACE_AXES[ndim]]


@dataclass(frozen=True)
class TensorSpec:
    """Name, axes and dtype of an input or output."""

    name: str
    axes: Sequence[Axis | int]
    dtype: torch.dtype
    convert: Callable[[Tensor], Tensor] | None = None  # from noise to samples

    def shape(self, sizes: Sizes) -> list[int]:
        """Computes the shape from the values of the dynamic sizes."""
        return [a.at(sizes) if isinstance(a, Axis) else a for a in self.axes]

    @property
    def axis_names(self) -> list[str | int]:
        """Names of the axes in the file, or their fixed sizes."""
        return [a.name if isinstance(a, Axis) else a for a in self.axes]

    def sample(self, sizes: Sizes, seed: int = 0) -> Any:
        """Returns a random tensor with these dynamic sizes; for the input ``horizon``, an int."""
        if self.name == "horizon":
            return sizes["horizon"]
        generator = torch.Generator().manual_seed(seed)
        if self.name == "lengths":
            lengths = torch.randint(1, sizes["time"] + 1, self.shape(sizes), generator=generator)
            lengths[-1] = sizes["time"]
            return lengths
        if self.dtype == torch.bool:
            mask = torch.rand(self.shape(sizes), generator=generator) < 0.6
            mask[:, -1] = True  # each sequence has a date
            return mask
        noise = torch.randn(self.shape(sizes), generator=generator)
        return (noise if self.convert is None else self.convert(noise)).to(self.dtype)


def state_specs(
    axes: Mapping[str, Sequence[Axis | int]], dtype: torch.dtype
) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Returns the inputs ``NAME_in`` and the outputs ``NAME_out`` of states, from their names and axes."""
    inputs, outputs = ([TensorSpec(f"{name}_{end}", a, dtype) for name, a in axes.items()] for end in ("in", "out"))
    return inputs, outputs


def next_states(outputs: Values) -> dict[str, Tensor]:
    """Returns the output states as the inputs of the next step."""
    return {name.removesuffix("_out") + "_in": x for name, x in outputs.items() if name.endswith("_out")}


def run_steps(run: Runner, states: Values, frames: Iterable[Tensor | None]) -> Iterator[dict[str, Tensor]]:
    """Runs a step file on each frame (None if the file takes no frame), and yields the outputs of each step."""
    for frame in frames:
        outputs = run({**states, **({} if frame is None else {"input": frame})})
        states = next_states(outputs)
        yield outputs


@dataclass(frozen=True)
class GraphSpec:
    """One file: a module that takes its inputs by name and returns its outputs in order."""

    module: nn.Module
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]

    def zero_states(self, sizes: Sizes) -> dict[str, Tensor]:
        """Returns zeros for the inputs that are states."""
        return {t.name: torch.zeros(t.shape(sizes), dtype=t.dtype) for t in self.inputs if t.name.endswith("_in")}


@dataclass(frozen=True)
class ExportSpec:
    """The files of an export by the suffix of their names, and a function that compares them with the model."""

    graphs: Mapping[str, GraphSpec]
    check_run: Callable[[Runners, Sizes], Comparisons]  # runs the files with given sizes, and yields what to compare
    min_size: Sizes = field(default_factory=dict)  # minimum of each dynamic size
    metadata: Mapping[str, Any] = field(default_factory=dict)  # in addition to names and sizes
    max_size: Sizes = field(default_factory=dict)  # maximum of each dynamic size
    decided: frozenset[str] = frozenset()  # outputs with jumps, at which rounding may turn over single values

    @classmethod
    def for_sequences(
        cls,
        graph: GraphSpec,
        reference: Callable[[Values], Iterable[Tensor]],
        min_size: Sizes | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "ExportSpec":
        """Returns the specification of one file for complete sequences; `reference` computes the model's outputs."""

        def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
            values = {t.name: t.sample(sizes, i) for i, t in enumerate(graph.inputs)}
            steps = values.get("lengths", values.get("mask"))
            if steps is not None:  # padding must not be read
                values["input"] = torch.where(valid_steps(values["input"], steps), values["input"], 1e4)
            outputs = runners[""](values)
            for tensor, expected in zip(graph.outputs, reference(values), strict=True):
                yield tensor.name, outputs[tensor.name], expected

        return cls({"": graph}, check_run, min_size or {}, metadata or {}, **options)


def size_rules(graph: GraphSpec, spec: ExportSpec) -> dict[str, dict[str, int]]:
    """Returns, for the dynamic axes of the input frames, the ``multiple``, ``minimum`` and ``maximum`` of the size."""
    rules: dict[str, dict[str, int]] = {}
    for axis in next((t.axes for t in graph.inputs if t.name == "input"), ()):
        if not isinstance(axis, Axis) or axis.name != axis.size:
            continue
        smallest, largest = (limits.get(axis.size) for limits in (spec.min_size, spec.max_size))
        rule = {"multiple": axis.factor} if axis.factor > 1 else {}
        rule |= {"minimum": axis.factor * smallest} if smallest and smallest > 1 else {}
        rule |= {"maximum": axis.factor * largest} if largest else {}
        if rule:
            rules[axis.name] = rule
    return rules
