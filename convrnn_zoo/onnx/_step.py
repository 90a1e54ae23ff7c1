"""The step form: one frame, the state in and out, and no loop."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import ConvRNNForecaster, ConvRNNModel
from ..models._autoregressive import StackedCells
from ..models._blocks import constant_input
from ..models._pyramid import PyramidForecaster
from ..models._sequences import POOLS
from ._errors import NO_STEP, ExportError
from ._layers import Stack, loops_in_graph
from ._plan import BATCH, Axis, Part, Plan, Port, Run, Sizes, Tried, space, states_out
from ._pools import pool_of, pool_ports, pool_so_far
from ._scan import Maps
from ._sequence import least_map

Named = dict[str, Tensor]


def plan(model: Any) -> Plan:
    """What the step form of a model is.

    Raises:
        ExportError: the model has no step form.
    """
    if isinstance(model, ConvRNNModel | ConvRNNBase | ConvRNNCellBase):
        return _layers(model)
    if isinstance(model, StackedCells):
        return _autoregressive(model)
    if isinstance(model, ConvRNNForecaster | PyramidForecaster):
        return _encoder_forecaster(model)
    raise ExportError(f"the step form of a {type(model).__name__} is not known; take its sequence form, if it has one")


def _gather(names: Sequence[Sequence[str]], inputs: Mapping[str, Tensor]) -> list[Maps]:
    return [tuple(inputs[f"{name}_in"] for name in layer) for layer in names]


def _ports(names: Sequence[str], shape: Sequence[Axis | int], dtype: torch.dtype) -> tuple[list[Port], list[Port]]:
    return [Port(f"{n}_in", shape, dtype) for n in names], [Port(f"{n}_out", shape, dtype) for n in names]


# ---- networks of the core family, layers and cells --------------------------------------------------------------
class _Step(nn.Module):
    """One frame through the layers; pools go on over the frames so far."""

    def __init__(self, model: Any, names: list[list[str]], pool: str) -> None:
        super().__init__()
        self.head = model if isinstance(model, ConvRNNModel) else None
        self.rnn, self.names, self.pool = Stack(model.rnn if self.head else model), names, pool

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        new = self.rnn.advance(inputs["input"], _gather(self.names, inputs))
        y, flat = new[-1][0], [s for state in new for s in state]
        if self.head is None:
            return (y.clone(), *flat)
        if not self.pool:
            return (self.head._classify(y, 1) if self.head.num_classes else y.clone(), *flat)
        pooled, carried = pool_so_far(self.pool, POOLS[self.pool](y.unsqueeze(1), None, 1), inputs)
        return (self.head.classify_pooled(pooled), *flat, *carried)


def _layers(model: Any) -> Plan:
    network = isinstance(model, ConvRNNModel)
    rnn = model.rnn if network else model
    if getattr(rnn, "bidirectional", False):
        raise ExportError(NO_STEP)
    pool = pool_of(model) if network else ""
    cell = isinstance(rnn, ConvRNNCellBase)
    widths = [rnn.out_channels] if cell else rnn.widths
    names = [[f"{s}_l{i}" for s in rnn.states] for i in range(len(widths))]
    dtype, ndim = rnn._parameters[next(iter(rnn._parameters))].dtype, rnn.ndim
    channels = (model.num_classes if network else 0) or widths[-1]
    inputs = [Port("input", [BATCH, rnn.in_channels, *space(ndim)], dtype)]
    outputs = [Port("output", [BATCH, channels, *([] if pool else space(ndim))], dtype)]
    for layer, width in zip(names, widths, strict=True):
        for ports, more in zip((inputs, outputs), _ports(layer, [BATCH, width, *space(ndim)], dtype), strict=True):
            ports += more
    for ports, more in zip((inputs, outputs), pool_ports(pool, widths[-1], dtype), strict=True):
        ports += more
    part = Part(_Step(copy.deepcopy(model), names, pool), inputs, outputs)

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        state, hx = part.zeros(sizes), None
        frames = [inputs[0].draw(sizes, t) for t in range(sizes["time"])]
        for t, frame in enumerate(frames):
            said = runs[""]({"input": frame, **state})
            state = states_out(said)
            if cell:
                hx = model(frame, hx)
                end = hx if isinstance(hx, tuple) else (hx,)
                wanted = end[0]
            elif network:
                wanted = model(torch.stack(frames[: t + 1], 1))
                wanted = wanted if pool else wanted[:, -1]
            else:
                x = torch.stack(frames[: t + 1], 1 if rnn.batch_first else 0)
                wanted = model(x)[0].select(1 if rnn.batch_first else 0, t)
            yield f"output of step {t}", said["output"], wanted

    meaning = "of all steps so far" if pool else "of this step"
    return Plan({"": part}, trial, least_map(rnn), {"output": meaning})


# ---- forecasters that read their own frame ----------------------------------------------------------------------
class _Forecast(nn.Module):
    """A frame to the next one."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        patches = self.model.unshuffle(inputs["input"])
        y, state, _ = self.model.advance(patches, tuple(inputs[f"{name}_in"] for name in self.names))
        return (self.model.shuffle(y), *(s.clone() for s in state))


def _autoregressive(model: Any) -> Plan:
    dtype = next(model.parameters()).dtype
    start = model.start(torch.zeros(1, model.in_chans * model.reduction**2, 1, 1, dtype=dtype))
    names = [f"{s}_l{i}" for i in range(len(model.widths)) for s in ("h", "c")]
    names += ["m"] * (len(start) - len(names))  # PredRNN's, which goes through all layers
    if len(set(names)) < len(names) or any(bool(s.any()) for s in start):
        raise ExportError(f"the state of a {type(model).__name__} is not known; take its sequence form, if it has one")
    frame = [BATCH, model.in_chans, *space(2, model.reduction)]
    inputs, outputs = [Port("input", frame, dtype)], [Port("output", frame, dtype)]
    for name, s in zip(names, start, strict=True):
        shape = [BATCH, s.shape[1], *space(2, divided=model.reduction)]
        for ports, more in zip((inputs, outputs), _ports([name], shape, dtype), strict=True):
            ports += more
    part = Part(_Forecast(copy.deepcopy(model), names), inputs, outputs)

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        state, horizon = part.zeros(sizes), sizes["horizon"]
        frames = [inputs[0].draw(sizes, t) for t in range(sizes["time"])]
        wanted = model(torch.stack(frames, 1), horizon=horizon)
        made: list[Tensor] = []
        for t in range(len(frames) + horizon - 1):
            said = runs[""]({"input": frames[t] if t < len(frames) else made[-1], **state})
            state = states_out(said)
            made.append(said["output"])
        yield "forecast", torch.stack(made[-horizon:], 1), wanted

    return Plan({"": part}, trial, notes={"output": "the next frame, to be read in the step after the last input"})


# ---- forecasters of two parts -----------------------------------------------------------------------------------
class _Encoder(nn.Module):
    """One frame of the input to the next state."""

    def __init__(self, levels: list[tuple[Callable[[Tensor], Tensor], Stack]], names: list[list[str]]) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(stack for _, stack in levels)
        self.levels, self.names = levels, names

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        x, states, flat = inputs["input"], iter(_gather(self.names, inputs)), []
        for down, stack in self.levels:
            new = stack.advance(down(x), [next(states) for _ in stack.widths])
            x = new[-1][0]
            flat += [s for state in new for s in state]
        return tuple(flat)


class _Decoder(nn.Module):
    """The state to the next frame of the forecast and the next state."""

    def __init__(self, run: Callable[[list[Maps]], tuple[Tensor, list[Maps]]], names: list[list[str]]) -> None:
        super().__init__()
        self.run, self.names = run, names

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        y, new = self.run(_gather(self.names, inputs))
        return (y, *(s for state in new for s in state))


def _run_rest(model: Any, states: list[Maps]) -> tuple[Tensor, list[Maps]]:
    """A step of a :class:`ConvRNNForecaster`'s second half."""
    new = model.first.advance(constant_input(states[0][0], 1)[0], states[:1])
    if model.rest is not None:
        new += model.rest.advance(new[0][0], states[1:])
    return model.head(torch.cat([s[0] for s in new], 1)), new


def _run_up(model: Any, states: list[Maps]) -> tuple[Tensor, list[Maps]]:
    """A step of a :class:`PyramidForecaster`'s second half, the lowest level first."""
    x, new = constant_input(states[-1][0], 1)[0], []
    for stack, up, state in zip(model.forecaster, model.ups, reversed(states), strict=True):
        new += stack.advance(x, [state])
        x = up(new[-1][0])
    return x, new[::-1]


def _encoder_forecaster(model: Any) -> Plan:
    dtype = next(model.parameters()).dtype
    inside: Any = loops_in_graph(copy.deepcopy(model))
    levels: list[Any]
    if isinstance(model, ConvRNNForecaster):
        levels, run = [(inside.stem, inside.encoder)], partial(_run_rest, inside)
    else:
        levels, run = list(zip(inside.downs, inside.encoder, strict=True)), partial(_run_up, inside)
    names: list[list[str]] = []
    shapes: list[list[Any]] = []
    reduction = edge = model.reduction
    for down, stack in levels:
        channels = model.in_chans if not shapes else shapes[-1][1]
        edge = down(torch.zeros(1, channels, edge, edge, dtype=dtype)).shape[-1]
        for width in stack.widths:
            names.append([f"{s}_l{len(names)}" for s in stack.states])
            shapes.append([BATCH, width, *space(2, edge, reduction // edge)])
    into: list[Port] = []
    out: list[Port] = []
    for layer, shape in zip(names, shapes, strict=True):
        more = _ports(layer, shape, dtype)
        into, out = into + more[0], out + more[1]
    frame = [BATCH, model.in_chans, *space(2, reduction)]
    encoder = Part(_Encoder(levels, names), [Port("input", frame, dtype), *into], out)
    decoder = Part(_Decoder(run, names), into, [Port("output", frame, dtype), *out])

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        state = encoder.zeros(sizes)
        frames = [encoder.inputs[0].draw(sizes, t) for t in range(sizes["time"])]
        for frame in frames:
            state = states_out(runs["encoder"]({"input": frame, **state}))
        made = []
        for _ in range(sizes["horizon"]):
            said = runs["forecaster"](state)
            state = states_out(said)
            made.append(said["output"])
        yield "forecast", torch.stack(made, 1), model(torch.stack(frames, 1), horizon=sizes["horizon"])

    notes = {"output": "a frame of the forecast; the first state of the forecaster is the last one of the encoder"}
    return Plan({"encoder": encoder, "forecaster": decoder}, trial, notes=notes)
