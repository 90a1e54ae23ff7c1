"""Networks of recurrent layers on sequences and clips, and layers and cells by themselves: both forms."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import ConvRNNModel, VideoModel
from ..models.base.blocks import Unroll
from ..models.base.sequences import POOLS
from ..models.rvm import RecurrentDecoderModel
from ._errors import ExportError
from ._layers import OneStep, Stack, loops_in_graph
from ._plan import BATCH, TIME, Axis, Part, Plan, Port, Runs, Sizes, Trial, state_ports, states_out
from ._sizes import ClipModel, Size, maps_of

RecurrentModel = ConvRNNModel | ClipModel | ConvRNNBase | ConvRNNCellBase


class _Alone(nn.Module):
    """A layer or a cell, called as a network is."""

    num_classes, global_pool = 0, ""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.rnn: Any = Unroll(layer) if isinstance(layer, ConvRNNCellBase) else layer
        self.in_chans, self.ndim = layer.in_channels, layer.ndim

    def forward_sequence(self, x: Tensor, hx: Any = None, lengths: None = None) -> tuple[Tensor, Any]:
        """Output and state."""
        return self.rnn(x, hx)

    def forward_head(self, features: Tensor, lengths: None = None) -> Tensor:
        """The features, since there is no head."""
        return features


class _Network(nn.Module):
    """A network with the loops of its layers in the graph; what it reads, says and remembers, by name and size."""

    stack: type[Stack] = Stack

    def __init__(self, model: Any, size: Size | None) -> None:
        super().__init__()
        self.model: Any = loops_in_graph(copy.deepcopy(model), self.stack)
        self.stacks = [m for m in self.model.modules() if isinstance(m, Stack)]
        self.alone = not isinstance(model, RecurrentDecoderModel) and len(self.stacks) == 1
        self.time = int(not isinstance(model, _Alone) or self.stacks[0].batch_first)
        """The axis of the steps."""
        self.pool: str | None = getattr(model, "global_pool", "")
        if self.pool is None:
            self.pool = "avg" if model.num_classes else ""
        self.frame, self.maps, self.least, self.fixed = maps_of(model, size)
        self.dtype = next(model.parameters()).dtype
        self.states: list[list[list[str]]] = []
        """The names of each layer and direction of each stack."""
        shapes: dict[str, Sequence[Axis | int]] = {}
        below = 0
        for stack, axes in zip(self.stacks, self.maps, strict=True):
            self.states.append([[s + suffix for s in stack.states] for suffix in stack.suffixes(below)])
            for i, names in enumerate(self.states[-1]):
                width = stack.widths[i // stack.num_directions]
                shapes |= {name: [BATCH, width, *axes] for name in names}
            below += len(stack.widths)
        self.ports = state_ports(shapes, self.dtype)

    def given(self, inputs: Mapping[str, Tensor], own: bool = False) -> Any:
        """The state as the network takes it: as lists for a :class:`Stack`, or as its `own` layers do."""
        states: list[Any] = [[tuple(inputs[f"{s}_in"] for s in names) for names in of] for of in self.states]
        if own:
            states = [stack.packed(state) for stack, state in zip(self.stacks, states, strict=True)]
        return states[0] if self.alone else states

    def named(self, state: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors of a network's state in the order of the names."""
        states = zip(self.stacks, self.states, [state] if self.alone else state, strict=True)
        lists = [stack.unpacked(s, inputs[f"{names[0][0]}_in"]) for stack, names, s in states]
        return [s.clone() for of in lists for maps in of for s in maps]

    def outputs(self, leading: Sequence[Axis]) -> list[Port]:
        """What it says."""
        model, classes = self.model, self.model.num_classes
        if self.pool:
            axes: list[Any] = [[BATCH, classes or model.head_hidden_size]]
        elif not isinstance(model, VideoModel):
            last = self.stacks[-1]
            features = getattr(model, "num_features", last.widths[-1] * last.num_directions)
            axes = [[*leading, classes or features, *self.frame]]
        elif len(self.maps) > 1 and (classes or model.hidden != model.widths):
            raise ExportError("several levels have no answer for every pixel; choose a global_pool")
        else:
            axes = [[*leading, classes or width, *m] for width, m in zip(model.hidden, self.maps, strict=True)]
        names = ["output"] if len(axes) == 1 else [f"output_{i}" for i in range(len(axes))]
        return [Port(name, a, self.dtype) for name, a in zip(names, axes, strict=True)]

    def notes(self, **notes: str) -> dict[str, str]:
        """What the metadata say of it."""
        if self.fixed:
            notes["frames"] = f"of {self.frame[0]}×{self.frame[1]}: {self.fixed}"
        return notes


def _network(model: nn.Module) -> Any:
    return _Alone(model) if isinstance(model, ConvRNNBase | ConvRNNCellBase) else model


def _answers(model: Any, features: Any, lengths: Tensor | None = None) -> list[Tensor]:
    dense = isinstance(model, RecurrentDecoderModel)  # whose answers are of a frame each
    said = model.forward_head(features) if dense else model.forward_head(features, lengths=lengths)
    return said if isinstance(said, list) else [said]


# ---- the sequence form ------------------------------------------------------------------------------------------
class _Sequences(_Network):
    """The network on whole sequences."""

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.of(self.model, inputs))

    def of(self, model: Any, inputs: Mapping[str, Tensor], own: bool = False) -> list[Tensor]:
        """What a model says; its `own` layers, or those of the graph."""
        lengths, stateful = inputs.get("lengths"), f"{self.states[0][0][0]}_in" in inputs
        hx = self.given(inputs, own) if stateful else None
        features, state = model.forward_sequence(inputs["input"], hx, lengths)
        return _answers(model, features, lengths) + (self.named(state, inputs) if stateful else [])


def sequence(model: Any, state: bool, lengths: bool | None, size: Size | None) -> Plan:
    """What the sequence form of a model is.

    Raises:
        ExportError: the model has no such answer.
    """
    net = _Sequences(model := _network(model), size)
    alone = isinstance(model, _Alone)
    if lengths and alone:
        raise ExportError("a bare layer takes no lengths, but packed sequences, which no exported graph has")
    time = TIME._replace(free=isinstance(model, ClipModel))  # torch asks of maps of one pixel what it cannot prove
    leading = (BATCH, time) if net.time else (time, BATCH)
    inputs = [Port("input", [*leading, model.in_chans, *net.frame], net.dtype)]
    if not alone and lengths is not False:
        inputs.append(Port("lengths", [BATCH], torch.int64))
    outputs = net.outputs(leading)
    if state:
        inputs, outputs = inputs + net.ports[0], outputs + net.ports[1]

    def says(**given: Tensor) -> list[Tensor]:
        return net.of(model, given, own=True)

    return Plan.of_sequence(Part(net, inputs, outputs), says, net.least, net.notes())


# ---- the step form ----------------------------------------------------------------------------------------------
class _Step(_Network):
    """The network on one frame; pools go on over the frames so far."""

    stack = OneStep

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        x, hx, classes = inputs["input"], self.given(inputs), self.model.num_classes
        if isinstance(self.model, ClipModel):
            # As a clip of one frame: the head of a lone one would pool what it does not pool in a clip.
            features, state = self.model.forward_sequence(x.unsqueeze(1), hx)
            said = [] if self.pool else [y.squeeze(1) for y in _answers(self.model, features)]
        else:  # To and fro between frame and clip would cost a small layer a tenth of its time.
            state = self.stacks[0].advance(x, hx)
            y = state[-1][0]
            features, said = y.unsqueeze(1), [self.model.forward_head(y) if classes and not self.pool else y]
        ends = self.named(state, inputs)
        if not self.pool:
            return (*(y.clone() for y in said), *ends)
        levels = features if isinstance(features, list) else [features]
        pooled = torch.cat([POOLS[self.pool](y, None, 1) for y in levels], 1)
        pooled, carried = self.pool_so_far(pooled, inputs)
        return (self.model.classify_pooled(pooled), *ends, *carried)

    def pool_so_far(self, pooled: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The pool over all frames from that of this one ``(N, F)``, and what is carried on."""
        if self.pool == "last":
            return pooled, ()
        before, steps = inputs["pool_in"], inputs["steps_in"].unsqueeze(1)
        if self.pool == "avg":
            pooled = pooled + before
            return pooled / (steps + 1), (pooled, (steps + 1).squeeze(1))
        pooled = torch.where(steps > 0, torch.maximum(pooled, before), pooled)
        return pooled, (pooled.clone(), (steps + 1).squeeze(1))


def step(model: Any, size: Size | None) -> Plan:
    """What the step form of a model is.

    Raises:
        ExportError: the model reads in both directions, or has no such answer.
    """
    net = _Step(model := _network(model), size)
    if any(stack.num_directions > 1 for stack in net.stacks):
        raise ExportError(
            "a bidirectional model reads a sequence from both ends and has no step form; export the sequence form"
        )
    frame = Port("input", [BATCH, model.in_chans, *net.frame], net.dtype)
    outputs = net.outputs((BATCH,))
    carried: dict[str, Any] = {}
    if net.pool in ("avg", "max"):
        carried = {"pool": [BATCH, model.num_features], "steps": [BATCH]}
    pools = state_ports(carried, net.dtype)
    part = Part(net, [frame, *net.ports[0], *pools[0]], [*outputs, *net.ports[1], *pools[1]])

    def trial(runs: Runs, sizes: Sizes) -> Trial:
        state = part.zeros(sizes)
        frames = [frame.draw(sizes, t) for t in range(sizes["time"])]
        for t, x in enumerate(frames):
            said = runs[""]({"input": x, **state})
            state = states_out(said)
            features, _ = model.forward_sequence(torch.stack(frames[: t + 1], net.time))
            for port, want in zip(outputs, _answers(model, features), strict=True):
                yield f"{port.name} of step {t}", said[port.name], want if net.pool else want.select(net.time, t)

    return Plan({"": part}, trial, net.least, net.notes(output="of all steps so far" if net.pool else "of this step"))
