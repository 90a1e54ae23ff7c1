"""Specifications of forecasters."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..layers._base import Equations
from ..layers._states import split_levels
from ..models import Forecaster
from ..models.base.blocks import recurrent_layers
from ..models.base.encoder_decoder import EncoderForecaster
from .encoding import Seen, SequenceForecast, Units, known_specs
from .graph import graph_loop, prepare_model, unroll
from .recurrent import list_states, min_map_size, name_states, read_states
from .spec import (
    BATCH,
    TIME,
    Axes,
    Axis,
    Comparisons,
    ExportError,
    ExportOptions,
    ExportSpec,
    GraphSpec,
    Runners,
    Sizes,
    TensorSpec,
    Values,
    next_states,
    run_steps,
    space,
    state_specs,
)


def forecaster_sequence(model: Forecaster, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a forecaster that reads complete sequences."""
    units, horizon = Units(model, options.encoded), options.horizon
    maps: Axes = [*space(2, model.reduction)]
    inputs = [units.input("input", [BATCH, TIME, model.in_chans, *maps]), *known_specs(units, maps)]
    steps: Axis | int = Axis("horizon", "horizon")
    fixed: dict[str, Any] = {}
    if model.future_chans:
        if horizon is not None:
            raise ExportError("the horizon of a model with future inputs is their number; leave horizon out")
    elif horizon is None:
        inputs.append(TensorSpec("horizon", [], torch.int64))
    else:
        steps = model.check_horizon(horizon)
        fixed = model.fixed_arguments(steps)
    outputs = [TensorSpec("output", [BATCH, steps, model.out_chans, *maps], units.dtype)]
    graph = GraphSpec(SequenceForecast(prepare_model(model, graph_loop), units, **fixed), inputs, outputs)

    def reference(values: Values) -> tuple[Tensor]:
        known = {name: values[name] for name in ("static", "future") if name in values}
        frames = values["input"]
        every = values["future"].shape[1] - frames.shape[1] if "future" in values else fixed.get("horizon")
        return (units.forecast(frames, values.get("horizon", every), **known),)

    return ExportSpec.for_sequences(graph, reference, min_sizes(model), units.metadata)


def min_sizes(model: nn.Module) -> dict[str, int]:
    """Returns the minimum sizes that the padding modes of a forecaster's layers support."""
    sizes = [min_map_size(layer) for layer in model.modules() if isinstance(layer, Equations)]
    names = {name for smallest in sizes for name in smallest}
    return {name: max(smallest.get(name, 1) for smallest in sizes) for name in names}


class _StepFunction(nn.Module):
    """Calls `run` with the inputs of the graph by name; `modules` are those that it uses."""

    def __init__(self, run: Callable[[Mapping[str, Tensor]], list[Tensor]], *modules: nn.Module) -> None:
        super().__init__()
        self.run, self.modules_of_run = run, nn.ModuleList(modules)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in self.run(inputs))


def _check_every_step(graph: GraphSpec, units: Units, horizon: int) -> Callable[[Runners, Sizes], Comparisons]:
    """Returns a function that compares the forecast after each frame with the model's."""

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        frames = [graph.inputs[0].sample(sizes, t) for t in range(sizes["time"])]
        for t, result in enumerate(run_steps(runners[""], graph.zero_states(sizes), frames)):
            expected = units.forecast(torch.stack(frames[: t + 1], 1), horizon)
            yield f"forecast of step {t}", result["output"], expected

    return check_run


def autoregressive_step(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of one step of a forecaster that reads its own forecast."""
    units, reduction, horizon = Units(model, options.encoded), model.reduction, options.horizon
    edge = reduction // model.unshuffle.downscale_factor
    start = model.start(torch.zeros(1, model.folded_in, edge, edge, dtype=units.net_dtype))
    names, maps = model.state_names(), [*space(2, reduction)]
    axes: dict[str, Axes] = {
        name: [BATCH, s.shape[1], *space(2, s.shape[-1], reduction // s.shape[-1])]
        for name, s in zip(names, start, strict=True)
    }
    reads_forecast = horizon is None and units.values is not None
    if reads_forecast:
        axes["frame"] = [BATCH, model.in_chans, *maps]
    frame = units.input("input", [BATCH, model.in_chans, *maps])
    seen = Seen(units, [BATCH, model.in_chans, *maps])
    inputs, outputs = state_specs(axes, units.net_dtype)
    seen_in, seen_out = state_specs(seen.axes, units.dtype)
    copied = prepare_model(model, unroll)

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        x, pixels = units.encode(inputs["input"]), seen.update(inputs)
        if reads_forecast:  # where there is no frame
            missing = inputs["input"].isnan().flatten(1).all(1)
            x = torch.where(missing[:, None, None, None], inputs["frame_in"], x)
        y, state = copied.advance(copied.unshuffle(x), tuple(inputs[f"{name}_in"] for name in names))
        if horizon is None:
            y = copied.shuffle(y)
            return [seen.decode(y, pixels), *state, *[y] * reads_forecast, *pixels]
        forecast, later = [y], state
        for _ in range(horizon - 1):
            y, later = copied.advance(y, later)
            forecast.append(y)
        return [seen.decode(copied.shuffle(torch.stack(forecast, 1)), pixels), *state, *pixels]

    output = [BATCH, *([] if horizon is None else [horizon]), model.out_chans, *maps]
    graph = GraphSpec(
        _StepFunction(run, copied),
        [frame, *inputs, *seen_in],
        [TensorSpec("output", output, units.dtype), *outputs, *seen_out],
    )
    if horizon is not None:
        metadata = {"output": "the forecast after this frame", **units.metadata}
        return ExportSpec({"": graph}, _check_every_step(graph, units, horizon), min_sizes(model), metadata)

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        forecast: list[Tensor] = []
        frames = [frame.sample(sizes, t) for t in range(sizes["time"])]

        def inputs() -> Any:
            yield from frames
            for _ in range(sizes["horizon"] - 1):
                yield torch.full_like(frames[0], torch.nan) if reads_forecast else forecast[-1]

        for result in run_steps(runners[""], graph.zero_states(sizes), inputs()):
            forecast.append(result["output"])
        expected = units.forecast(torch.stack(frames, 1), sizes["horizon"])
        yield "forecast", torch.stack(forecast[-sizes["horizon"] :], 1), expected

    next_frame = "the next frame; without an input frame, pass "
    next_frame += "NaN, for which the file reads its own forecast" if reads_forecast else "the last output"
    return ExportSpec({"": graph}, check_run, min_sizes(model), {"output": next_frame, **units.metadata})


def encoder_forecaster_step(model: EncoderForecaster, options: ExportOptions) -> ExportSpec:
    """Returns the specification of steps of encoder and forecaster, or of one step that forecasts after each frame."""
    units, reduction, horizon = Units(model, options.encoded), model.reduction, options.horizon
    copied: EncoderForecaster = prepare_model(model, unroll)
    layers, edge = recurrent_layers(copied.encoder), 16 * reduction  # enough for the padding of usual kernels
    frames = torch.zeros(1, 1, model.in_chans, edge, edge, dtype=units.net_dtype, device="meta")
    state = copy.deepcopy(model).to("meta").encode(frames)
    reductions = [edge // list_states(level)[0].shape[-1] for level in split_levels(state, len(layers))]
    names, axes = name_states(layers, [space(2, reduction // r, r) for r in reductions])
    maps = [*space(2, reduction)]
    frame, seen = units.input("input", [BATCH, model.in_chans, *maps]), Seen(units, [BATCH, model.in_chans, *maps])
    inputs, outputs = (
        states + pixels
        for states, pixels in zip(state_specs(axes, units.net_dtype), state_specs(seen.axes, units.dtype), strict=True)
    )

    def encode(inputs: Mapping[str, Tensor]) -> Any:
        return copied.encode(units.encode(inputs["input"]).unsqueeze(1), read_states(inputs, names))

    def run_encoder(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        return [*list_states(encode(inputs)), *seen.update(inputs)]

    def run_forecaster(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        frames, states = copied.decode_sequence(read_states(inputs, names), 1)
        pixels = [inputs["seen_in"]] if seen.axes else []
        return [seen.decode(frames.squeeze(1), pixels), *list_states(states), *pixels]

    def run_both(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        states, pixels = encode(inputs), seen.update(inputs)
        frames, _ = copied.decode_sequence(states, model.check_horizon(horizon))
        return [seen.decode(frames, pixels), *list_states(states), *pixels]

    if horizon is not None:
        output = TensorSpec("output", [BATCH, model.check_horizon(horizon), model.out_chans, *maps], units.dtype)
        graph = GraphSpec(_StepFunction(run_both, copied), [frame, *inputs], [output, *outputs])
        metadata = {"output": "the forecast after this frame", **units.metadata}
        return ExportSpec({"": graph}, _check_every_step(graph, units, horizon), min_sizes(model), metadata)
    output = TensorSpec("output", [BATCH, model.out_chans, *maps], units.dtype)
    first = _StepFunction(run_encoder, *(getattr(copied, name) for name in copied.encoder_modules))
    others = [module for name, module in copied.named_children() if name not in copied.encoder_modules]
    then = _StepFunction(run_forecaster, *others)
    encoder, forecaster = GraphSpec(first, [frame, *inputs], outputs), GraphSpec(then, inputs, [output, *outputs])

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        frames = [frame.sample(sizes, t) for t in range(sizes["time"])]
        *_, encoded = run_steps(runners["encoder"], encoder.zero_states(sizes), frames)
        results = run_steps(runners["forecaster"], next_states(encoded), [None] * sizes["horizon"])
        forecast = torch.stack([result["output"] for result in results], 1)
        yield "forecast", forecast, units.forecast(torch.stack(frames, 1), sizes["horizon"])

    metadata = {"output": "a frame of the forecast; the forecaster's initial state is the encoder's last state"}
    graphs = {"encoder": encoder, "forecaster": forecaster}
    return ExportSpec(graphs, check_run, min_sizes(model), metadata | units.metadata)
