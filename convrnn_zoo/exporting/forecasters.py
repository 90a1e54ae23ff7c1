"""Specifications of forecasters."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..layers._run import LayerStates
from ..models import Forecaster
from ..models.base.blocks import recurrent_layers
from ..models.base.forecaster import EncoderForecaster
from ..models.base.lengths import split_state
from .graph import call_spec, prepare_model, unroll
from .spec import (
    BATCH,
    TIME,
    Axes,
    Axis,
    Comparisons,
    ExportError,
    ExportSpec,
    FrameSize,
    GraphSpec,
    Runners,
    Sizes,
    TensorSpec,
    next_states,
    run_steps,
    space,
    state_specs,
)
from .states import StateNames, list_states, name_states, read_states


def forecaster_sequence(
    model: Forecaster, state: bool, lengths: bool | None, horizon: int | None, size: FrameSize | None
) -> ExportSpec:
    """Returns the specification of a forecaster that reads complete sequences."""
    if state or lengths:
        raise ExportError("a forecaster starts from its input frames: it takes neither a state nor lengths")
    dtype = next(model.parameters()).dtype
    maps: Axes = [*space(2, model.reduction)]
    frames: Axis | int = TIME
    if model.unrolled:
        frames = (model.preprocessing.inputs if model.preprocessing else None) or 4
        horizon = model.horizon if horizon is None else horizon
    if size is not None:
        if any(edge % model.reduction for edge in size):
            raise ExportError(f"size=(height, width) must be multiples of {model.reduction}, got {size}")
        maps = list(size)
    inputs, fixed = [TensorSpec("input", [BATCH, frames, model.in_chans, *maps], dtype)], {}
    steps: Axis | int = Axis("horizon", "horizon")
    if model.static_chans:
        inputs.append(TensorSpec("static", [BATCH, model.static_chans, *maps], dtype))
    if model.future_chans:
        if horizon is not None:
            raise ExportError("the horizon of a model with future inputs is their number; leave horizon out")
        every = Axis("time+horizon", "time", plus="horizon", inferred=True)
        inputs.append(TensorSpec("future", [BATCH, every, model.future_chans, *maps], dtype))
    elif horizon is None:
        inputs.append(TensorSpec("horizon", [], torch.int64))
    else:
        steps = model.check_horizon(horizon)
        fixed = model.fixed_arguments(steps)
    outputs = [TensorSpec("output", [BATCH, steps, model.out_chans, *maps], dtype)]
    return call_spec(model, inputs, outputs, **fixed)


class _StepFunction(nn.Module):
    """Calls `run` with the states, and with a frame if the graph has one as input."""

    def __init__(self, run: Callable[..., list[Any]], names: StateNames, *modules: nn.Module) -> None:
        super().__init__()
        self.run, self.names, self.modules_of_run = run, names, nn.ModuleList(modules)

    def forward(self, input: Tensor | None = None, **states: Tensor) -> tuple[Tensor, ...]:
        hx = read_states(states, self.names)
        return tuple(x.clone() for x in (self.run(hx) if input is None else self.run(hx, input)))


def autoregressive_step(model: Any, size: None) -> ExportSpec:
    """Returns the specification of one step of a forecaster that reads its own forecast."""
    dtype, reduction = next(model.parameters()).dtype, model.reduction
    edge = reduction // model.unshuffle.downscale_factor
    start = model.start(torch.zeros(1, model.folded_in, edge, edge, dtype=dtype))
    names = model.state_names()
    axes: dict[str, Axes] = {
        name: [BATCH, s.shape[1], *space(2, s.shape[-1], reduction // s.shape[-1])]
        for name, s in zip(names, start, strict=True)
    }
    frame = TensorSpec("input", [BATCH, model.in_chans, *space(2, reduction)], dtype)
    inputs, outputs = state_specs(axes, dtype)
    copied = prepare_model(model, unroll)

    def run(states: LayerStates, frame: Tensor) -> list[Tensor]:
        y, state = copied.advance(copied.unshuffle(frame), states[0])
        return [copied.shuffle(y), *state]

    module = _StepFunction(run, [[names]], copied)
    graph = GraphSpec(module, [frame, *inputs], [TensorSpec("output", frame.axes, dtype), *outputs])

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        horizon, forecast = sizes["horizon"], list[Tensor]()
        frames = [frame.sample(sizes, t) for t in range(sizes["time"])]
        inputs = chain(frames, (forecast[-1] for _ in range(horizon - 1)))  # which reads its own forecast
        for result in run_steps(runners[""], graph.zero_states(sizes), inputs):
            forecast.append(result["output"])
        yield "forecast", torch.stack(forecast[-horizon:], 1), model(torch.stack(frames, 1), horizon=horizon)

    metadata = {"output": "the next frame, which is the input of the steps after the last input frame"}
    return ExportSpec({"": graph}, check_run, metadata=metadata)


def encoder_forecaster_steps(model: EncoderForecaster, size: None) -> ExportSpec:
    """Returns the specification of two files: one step of the encoder, and one of the forecaster."""
    dtype, reduction = next(model.parameters()).dtype, model.reduction
    copied: EncoderForecaster = prepare_model(model, unroll)
    layers, edge = recurrent_layers(copied.encoder), 16 * reduction  # enough for the padding of usual kernels
    frames = torch.zeros(1, 1, model.in_chans, edge, edge, dtype=dtype, device="meta")
    state = copy.deepcopy(model).to("meta").encode(frames)
    reductions = [edge // tree_leaves(level)[0].shape[-1] for level in split_state(state, len(layers))]
    names, axes = name_states(layers, [space(2, reduction // r, r) for r in reductions])
    inputs, outputs = state_specs(axes, dtype)
    frame = TensorSpec("input", [BATCH, model.in_chans, *space(2, reduction)], dtype)
    output = TensorSpec("output", [BATCH, model.out_chans, *space(2, reduction)], dtype)

    def encode(states: Any, x: Tensor) -> list[Tensor]:
        return list_states(copied.encode(x.unsqueeze(1), states))

    def forecast(states: Any) -> list[Tensor]:
        frames, states = copied.decode_sequence(states, 1)
        return [frames.squeeze(1), *list_states(states)]

    first = _StepFunction(encode, names, *(getattr(copied, name) for name in copied.encoder_modules))
    others = [module for name, module in copied.named_children() if name not in copied.encoder_modules]
    then = _StepFunction(forecast, names, *others)
    encoder, forecaster = GraphSpec(first, [frame, *inputs], outputs), GraphSpec(then, inputs, [output, *outputs])

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        frames, horizon = [frame.sample(sizes, t) for t in range(sizes["time"])], sizes["horizon"]
        *_, encoded = run_steps(runners["encoder"], encoder.zero_states(sizes), frames)
        results = run_steps(runners["forecaster"], next_states(encoded), [None] * horizon)
        forecast_frames = torch.stack([result["output"] for result in results], 1)
        yield "forecast", forecast_frames, model(torch.stack(frames, 1), horizon=horizon)

    metadata = {"output": "a frame of the forecast; the forecaster's initial state is the encoder's last state"}
    return ExportSpec({"encoder": encoder, "forecaster": forecaster}, check_run, metadata=metadata)
