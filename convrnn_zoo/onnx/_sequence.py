"""The sequence form: the whole sequence in, the loops over time in the graph."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ..layers._conv import same_padding
from ..models import AutoregressiveForecaster, ConvRNNModel, Forecaster, ZooModel
from ..models._sequences import valid_steps
from ._errors import ExportError
from ._layers import Stack, loops_in_graph
from ._plan import BATCH, TIME, Axis, Part, Plan, Port, Run, Sizes, Tried, space
from ._scan import Maps, scan
from ._states import state_of, tensors_of

INT = torch.int64


def plan(model: Any, state: bool, lengths: bool | None, horizon: int | None) -> Plan:
    """What the sequence form of a model is.

    Raises:
        ExportError: the model has no sequence form, or not with these options.
    """
    if isinstance(model, Forecaster):
        if state or lengths:
            raise ExportError("a forecaster starts from its input frames: it takes neither a state nor lengths")
        return _forecaster(model, horizon)
    if isinstance(model, ConvRNNModel | ConvRNNBase):
        return _layers(model, state, lengths)
    if isinstance(model, ZooModel):
        raise ExportError(
            f"{type(model).__name__} has no export yet; its recurrent layers, among its modules, have one"
        )
    raise ExportError(
        f"the sequence form expected a ConvRNNModel, a sequence layer or a forecaster, got {type(model).__name__}; "
        "export a cell in the step form"
    )


def least_map(rnn: Any) -> dict[str, int]:
    """The smallest map that can be padded."""
    kernels = [*rnn.kernels, *rnn.hidden_kernels] if isinstance(rnn, ConvRNNBase) else [rnn.kernel_size]
    spare = {"reflect": 1, "circular": 0}.get(rnn.padding_mode)
    if spare is None:
        return {}
    pads = [same_padding((1,) * rnn.ndim, kernel, *rnn.geometry[:2]) for kernel in kernels]
    return {a.size: max(max(p[i]) for p in pads) + spare for i, a in enumerate(space(rnn.ndim))}


# ---- networks of the core family, and bare layers ---------------------------------------------------------------
class _Sequences(nn.Module):
    """A layer or a network on ``(N, T, …)``, or ``(T, N, …)`` where the layer has time first."""

    def __init__(self, model: Any, state: bool) -> None:
        super().__init__()
        network = isinstance(model, ConvRNNModel)
        self.rnn = Stack(model.rnn if network else model)
        self.head = model if network else None
        self.batch_first = (model.rnn if network else model).batch_first
        self.state = state

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        x, lengths = inputs["input"], inputs.get("lengths")
        xs = x.transpose(0, 1) if self.batch_first else x
        valid = None if lengths is None else valid_steps(xs.transpose(0, 1), lengths).transpose(0, 1)
        states = None
        if self.state:
            states = [tuple(inputs[f"{s}{suffix}_in"] for s in self.rnn.states) for _, suffix in self.rnn.suffixes()]
        outputs, ends = self.rnn.run(xs, states, valid)
        y = outputs[-1].transpose(0, 1) if self.batch_first else outputs[-1]
        if self.head is not None:
            y = self.head.forward_head(y, lengths=lengths)
        return (y, *(s for end in ends for s in end)) if self.state else (y,)


def _layers(model: Any, state: bool, lengths: bool | None) -> Plan:
    network = isinstance(model, ConvRNNModel)
    if lengths and not network:
        raise ExportError("a bare layer takes no lengths, but packed sequences, which no exported graph has")
    masked = network if lengths is None else lengths
    module = _Sequences(copy.deepcopy(model), state)
    rnn = model.rnn if network else model
    dtype, ndim = rnn.weight_ih_l0.dtype, rnn.ndim
    first = (BATCH, TIME) if rnn.batch_first else (TIME, BATCH)
    inputs = [Port("input", [*first, rnn.in_channels, *space(ndim)], dtype)]
    features = rnn.widths[-1] * rnn.num_directions
    axes: list[Axis | int] = [*first, features, *space(ndim)]
    if network:
        channels = model.num_classes or features
        pooled = model.global_pool or (model.global_pool is None and model.num_classes)
        axes = [BATCH, channels] if pooled else [*first, channels, *space(ndim)]
        if masked:
            inputs.append(Port("lengths", [BATCH], INT))
    outputs = [Port("output", axes, dtype)]
    if state:
        for layer, suffix in module.rnn.suffixes():
            for s in rnn.states:
                shape = [BATCH, rnn.widths[layer], *space(ndim)]
                inputs.append(Port(f"{s}{suffix}_in", shape, dtype))
                outputs.append(Port(f"{s}{suffix}_out", shape, dtype))
    part = Part(module, inputs, outputs)

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        given = {p.name: p.draw(sizes, i) for i, p in enumerate(inputs)}
        if masked and isinstance(given["input"], Tensor):  # what stands behind an end must never be read
            given["input"] = torch.where(valid_steps(given["input"], given["lengths"]), given["input"], 1e4)
        said = runs[""](given)
        hx = state_of(rnn, [given[p.name] for p in inputs if p.name.endswith("_in")]) if state else None
        x, n = given["input"], given.get("lengths")
        if network:
            features, end = model.forward_sequence(x, hx, n)
            yield "output", said["output"], model.forward_head(features, lengths=n)
        else:
            y, end = model(x, hx)
            yield "output", said["output"], y
        if state:
            ends = [p.name for p in outputs if p.name.endswith("_out")]
            for name, was in zip(ends, tensors_of(rnn, end), strict=True):
                yield name, said[name], was

    return Plan({"": part}, trial, least_map(rnn))


# ---- forecasters ------------------------------------------------------------------------------------------------
class _Frames(nn.Module):
    """A forecaster with the loops of its layers in the graph."""

    def __init__(self, model: Any, horizon: int | None) -> None:
        super().__init__()
        self.model, self.horizon = loops_in_graph(model), horizon
        model.check_horizon = lambda horizon: horizon  # a number that is open is no int

    def forward(self, **inputs: Any) -> tuple[Tensor]:
        return (self.model(inputs["input"], inputs.get("horizon", self.horizon)),)


class _Autoregressive(nn.Module):
    """One loop over the input frames and the forecast ones, which reads its own frame where no other is there."""

    def __init__(self, model: Any, horizon: int | None) -> None:
        super().__init__()
        self.model, self.horizon = model, horizon

    def forward(self, **inputs: Any) -> tuple[Tensor]:
        model = self.model
        horizon: Any = inputs.get("horizon", self.horizon)
        xs = model.unshuffle(inputs["input"]).transpose(0, 1)
        length = xs.shape[0]
        xs = torch.cat([xs, xs.new_zeros(horizon - 1, *xs.shape[1:])])
        given = torch.arange(length + horizon - 1) < length

        def step(x: Maps, carried: Maps) -> Maps:
            y, state, _ = model.advance(torch.where(x[1], x[0], carried[0]), carried[1:])
            return (y, *state)

        made, _ = scan(step, (xs, given), (torch.zeros_like(xs[0]), *model.start(xs[0])))
        return (model.shuffle(made[length - 1 :].transpose(0, 1)),)


def _forecaster(model: Forecaster, horizon: int | None) -> Plan:
    kind = _Autoregressive if isinstance(model, AutoregressiveForecaster) else _Frames
    dtype = next(model.parameters()).dtype
    map_axes = space(2, model.reduction)
    inputs = [Port("input", [BATCH, TIME, model.in_chans, *map_axes], dtype)]
    ahead: Axis | int = Axis("horizon", "horizon")
    if horizon is None:
        inputs.append(Port("horizon", [], INT))
    else:
        ahead = model.check_horizon(horizon)
    outputs = [Port("output", [BATCH, ahead, model.in_chans, *map_axes], dtype)]

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        given = {p.name: p.draw(sizes) for p in inputs}
        wanted = model(given["input"], horizon=sizes["horizon"] if horizon is None else horizon)
        yield "output", runs[""](given)["output"], wanted

    return Plan({"": Part(kind(copy.deepcopy(model), horizon), inputs, outputs)}, trial)
