"""Forecasters: the whole sequence in and the forecast out, and their steps."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models import AutoregressiveForecaster, ConvRNNForecaster, Forecaster
from ..models.base.autoregressive import StackedCells
from ..models.base.blocks import constant_input
from ..models.pyramid_forecaster import PyramidForecaster
from ._errors import ExportError
from ._layers import Called, Stack, loops_in_graph
from ._plan import BATCH, TIME, Axis, Part, Plan, Port, Runs, Sizes, Trial, space, state_ports, states_out
from ._scan import Maps, scan


# ---- the sequence form ------------------------------------------------------------------------------------------
class _Autoregressive(nn.Module):
    """One loop over the input frames and the forecast ones, which reads its own frame where no other is there."""

    def __init__(self, model: Any, **fixed: Any) -> None:
        super().__init__()
        self.model, self.fixed = copy.deepcopy(model), fixed

    def forward(self, **inputs: Any) -> tuple[Tensor]:
        model: Any = self.model
        horizon = {**self.fixed, **inputs}["horizon"]
        xs = model.unshuffle(inputs["input"]).transpose(0, 1)
        length = xs.shape[0]
        xs = torch.cat([xs, xs.new_zeros(horizon - 1, *xs.shape[1:])])
        given = torch.arange(length + horizon - 1) < length

        def step(x: Maps, carried: Maps) -> Maps:
            y, state, _ = model.advance(torch.where(x[1], x[0], carried[0]), carried[1:])
            return (y, *state)

        made, _ = scan(step, (xs, given), (torch.zeros_like(xs[0]), *model.start(xs[0])))
        return (model.shuffle(made[length - 1 :].transpose(0, 1)),)


def sequence(model: Forecaster, state: bool, lengths: bool | None, horizon: int | None) -> Plan:
    """What the sequence form of a forecaster is.

    Raises:
        ExportError: not with these options.
    """
    if state or lengths:
        raise ExportError("a forecaster starts from its input frames: it takes neither a state nor lengths")
    kind: Any = _Autoregressive if isinstance(model, AutoregressiveForecaster) else Called
    dtype = next(model.parameters()).dtype
    frame: list[Axis | int] = [model.in_chans, *space(2, model.reduction)]
    inputs, fixed = [Port("input", [BATCH, TIME, *frame], dtype)], {}
    ahead: Axis | int = Axis("horizon", "horizon")
    if horizon is None:
        inputs.append(Port("horizon", [], torch.int64))
    else:
        fixed["horizon"] = ahead = model.check_horizon(horizon)
    module = kind(model, **fixed)
    module.model.check_horizon = lambda horizon: horizon  # a number that is open is no int

    def says(input: Tensor, horizon: Any = horizon) -> list[Tensor]:
        return [model(input, horizon=int(horizon))]

    return Plan.of_sequence(Part(module, inputs, [Port("output", [BATCH, ahead, *frame], dtype)]), says)


# ---- the step form ----------------------------------------------------------------------------------------------
class _Step(nn.Module):
    """A function of the states, and of a frame where one comes in: a frame, where one goes out, and the next states."""

    def __init__(self, run: Callable[..., list[Any]], names: list[list[str]], *modules: nn.Module) -> None:
        super().__init__()
        self.run, self.names, self.modules_of_run = run, names, nn.ModuleList(modules)

    def forward(self, input: Tensor | None = None, **states: Tensor) -> tuple[Tensor, ...]:
        given = [tuple(states[f"{name}_in"] for name in layer) for layer in self.names]
        return tuple(x.clone() for x in self.run(given, *([] if input is None else [input])))


def step(model: Any) -> Plan:
    """What the step form of a forecaster is.

    Raises:
        ExportError: it has none.
    """
    if isinstance(model, StackedCells):
        return _autoregressive(model)
    if isinstance(model, ConvRNNForecaster | PyramidForecaster):
        return _encoder_forecaster(model)
    raise ExportError(f"the step form of a {type(model).__name__} is not known; take its sequence form, if it has one")


# ---- of forecasters that read their own frame -------------------------------------------------------------------
def _frame_to_frame(model: Any, states: list[Maps], frame: Tensor) -> list[Tensor]:
    y, state, _ = model.advance(model.unshuffle(frame), states[0])
    return [model.shuffle(y), *state]


def _autoregressive(model: Any) -> Plan:
    dtype = next(model.parameters()).dtype
    start = model.start(torch.zeros(1, model.in_chans * model.reduction**2, 1, 1, dtype=dtype))
    names = [f"{s}_l{i}" for i in range(len(model.widths)) for s in ("h", "c")]
    names += ["m"] * (len(start) - len(names))  # PredRNN's, which goes through all layers
    if len(set(names)) < len(names) or any(bool(s.any()) for s in start):
        raise ExportError(f"the state of a {type(model).__name__} is not known; take its sequence form, if it has one")
    frame = Port("input", [BATCH, model.in_chans, *space(2, model.reduction)], dtype)
    axes = space(2, divided=model.reduction)
    into, out = state_ports({name: [BATCH, s.shape[1], *axes] for name, s in zip(names, start, strict=True)}, dtype)
    inside = copy.deepcopy(model)
    module = _Step(partial(_frame_to_frame, inside), [names], inside)
    part = Part(module, [frame, *into], [Port("output", frame.axes, dtype), *out])

    def trial(runs: Runs, sizes: Sizes) -> Trial:
        state, horizon = part.zeros(sizes), sizes["horizon"]
        frames = [frame.draw(sizes, t) for t in range(sizes["time"])]
        wanted = model(torch.stack(frames, 1), horizon=horizon)
        made: list[Tensor] = []
        for t in range(len(frames) + horizon - 1):
            said = runs[""]({"input": frames[t] if t < len(frames) else made[-1], **state})
            state = states_out(said)
            made.append(said["output"])
        yield "forecast", torch.stack(made[-horizon:], 1), wanted

    return Plan({"": part}, trial, notes={"output": "the next frame, to be read in the step after the last input"})


# ---- of forecasters of two parts ----------------------------------------------------------------------------------
def _run_down(levels: list[tuple[Any, Stack]], states: list[Maps], x: Tensor) -> list[Tensor]:
    """A frame of the input to the next states."""
    flat, left = [], iter(states)
    for down, stack in levels:
        new = stack.advance(down(x), [next(left) for _ in stack.widths])
        x = new[-1][0]
        flat += [s for state in new for s in state]
    return flat


def _run_rest(model: Any, states: list[Maps]) -> list[Tensor]:
    """A step of a :class:`ConvRNNForecaster`'s second half: the next frame of the forecast and the next states."""
    new = model.first.advance(constant_input(states[0][0], 1)[0], states[:1])
    if model.rest is not None:
        new += model.rest.advance(new[0][0], states[1:])
    return [model.head(torch.cat([s[0] for s in new], 1)), *(s for state in new for s in state)]


def _run_up(model: Any, states: list[Maps]) -> list[Tensor]:
    """A step of a :class:`PyramidForecaster`'s second half, the lowest level first."""
    x, new = constant_input(states[-1][0], 1)[0], []
    for stack, up, state in zip(model.forecaster, model.ups, reversed(states), strict=True):
        new += stack.advance(x, [state])
        x = up(new[-1][0])
    return [x, *(s for state in reversed(new) for s in state)]


def _encoder_forecaster(model: Any) -> Plan:
    dtype = next(model.parameters()).dtype
    inside: Any = loops_in_graph(copy.deepcopy(model))
    levels: list[Any]
    if isinstance(model, ConvRNNForecaster):
        levels, run, second = [(inside.stem, inside.encoder)], _run_rest, [inside.first, inside.rest, inside.head]
    else:
        levels, run = list(zip(inside.downs, inside.encoder, strict=True)), _run_up
        second = [inside.forecaster, inside.ups]
    names: list[list[str]] = []
    shapes: dict[str, Sequence[Axis | int]] = {}
    reduction = edge = model.reduction
    channels = model.in_chans
    for down, stack in levels:
        edge = down(torch.zeros(1, channels, edge, edge, dtype=dtype)).shape[-1]
        for channels in stack.widths:
            names.append([f"{s}_l{len(names)}" for s in stack.states])
            axes: list[Axis | int] = [BATCH, channels, *space(2, edge, reduction // edge)]
            shapes |= dict.fromkeys(names[-1], axes)
    into, out = state_ports(shapes, dtype)
    frame = Port("input", [BATCH, model.in_chans, *space(2, reduction)], dtype)
    first = _Step(partial(_run_down, levels), names, *(module for level in levels for module in level))
    rest = _Step(partial(run, inside), names, *(module for module in second if module is not None))
    encoder = Part(first, [frame, *into], out)
    decoder = Part(rest, into, [Port("output", frame.axes, dtype), *out])

    def trial(runs: Runs, sizes: Sizes) -> Trial:
        state = encoder.zeros(sizes)
        frames = [frame.draw(sizes, t) for t in range(sizes["time"])]
        for x in frames:
            state = states_out(runs["encoder"]({"input": x, **state}))
        made = []
        for _ in range(sizes["horizon"]):
            said = runs["forecaster"](state)
            state = states_out(said)
            made.append(said["output"])
        yield "forecast", torch.stack(made, 1), model(torch.stack(frames, 1), horizon=sizes["horizon"])

    notes = {"output": "a frame of the forecast; the first state of the forecaster is the last one of the encoder"}
    return Plan({"encoder": encoder, "forecaster": decoder}, trial, notes=notes)
