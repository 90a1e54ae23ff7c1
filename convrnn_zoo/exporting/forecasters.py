"""Specifications of forecasters, whose files read and return values in the unit of the data."""

import copy
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers._base import Equations
from ..layers._states import split_levels
from ..models.base import EncoderForecaster, Forecaster, recurrent_layers, unroll_loop
from ..models.base.forecasting import choose_horizon
from ..models.nowcast.decisions import THRESHOLDS
from ..models.nowcast.motion import smooth
from ..models.nowcast.network import MAX_EDGE
from ..values.preprocessing import Encoding, Variable, by_variable
from .graph import graph_loop, prepare_model
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


class Units:
    """Encodes the inputs of a forecaster's files and decodes their outputs, as :meth:`Forecaster.forecast` does.

    Without preprocessing, and with `encoded`, inputs and outputs are the values of the network.
    """

    def __init__(self, model: Forecaster, encoded: bool) -> None:
        self.model, self.values = model, None if encoded else model.preprocessing
        self.net_dtype = next(model.parameters()).dtype
        self.dtype = self.net_dtype if self.values is None else torch.float32
        if self.values is not None:
            try:
                self.values.check_channels(model.in_chans, model.out_chans, model.static_chans, model.future_chans)
            except ValueError as e:
                raise ExportError(f"{e}; correct model.preprocessing, or pass encoded=True") from e

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes frames ``(…, C, H, W)``."""
        return frames if self.values is None else self.model.preprocess(frames).to(self.net_dtype)

    def encode_known(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encodes the static and the future inputs among the inputs of a file."""
        known = {name: inputs[name] for name in ("static", "future") if name in inputs}
        if self.values is None:
            return known
        return {name: getattr(self.values, f"encode_{name}")(x).to(self.net_dtype) for name, x in known.items()}

    def decode(self, frames: Tensor, unknown: Tensor) -> Tensor:
        """Decodes outputs of the network; the result is NaN in `unknown` pixels."""
        return frames if self.values is None else self.values.decode(frames.float()).masked_fill(unknown, torch.nan)

    def see(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the next value of the state of :meth:`seen_axes`, from the input frame and the state of a step."""
        if self.values is None:
            return []
        return [torch.maximum(inputs["seen_in"], (~inputs["input"].isnan()).to(inputs["seen_in"].dtype))]

    def decode_seen(self, frames: Tensor, seen: list[Tensor]) -> Tensor:
        """Decodes forecasts ``(N, C, H, W)`` or ``(N, horizon, C, H, W)``; NaN in pixels that were never seen."""
        if not seen:
            return frames
        unknown = self.model.unknown_targets(seen[0] == 0)
        return self.decode(frames, unknown if frames.dim() == 4 else unknown.unsqueeze(1))

    def input(self, name: str, axes: Axes) -> TensorSpec:
        """Returns the specification of an input of frames or maps, whose samples are in the unit of the data."""
        if self.values is None:
            return TensorSpec(name, axes, self.dtype)
        variables: Any = self.values.variables if name == "input" else getattr(self.values, name)
        encoding = self.values if name == "input" else Encoding()
        return TensorSpec(name, axes, self.dtype, partial(_in_unit, encoding, variables))

    def known_inputs(self, maps: Axes) -> list[TensorSpec]:
        """Returns the specifications of the static and of the future inputs of a forecaster."""
        model, specs = self.model, []
        if model.static_chans:
            specs.append(self.input("static", [BATCH, model.static_chans, *maps]))
        if model.future_chans:
            every = Axis("time+horizon", "time", plus="horizon", inferred=True)
            specs.append(self.input("future", [BATCH, every, model.future_chans, *maps]))
        return specs

    def seen_axes(self, axes: Axes) -> dict[str, Axes]:
        """Returns the axes of a step's state that marks the pixels with a value so far; none for encoded values."""
        return {} if self.values is None else {"seen": axes}

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata that state whether inputs and outputs are in the unit of the data."""
        if self.model.preprocessing is None:
            return {}
        return {"values": "encoded" if self.values is None else "in the unit of the data, NaN where unknown"}

    def forecast(self, frames: Tensor, horizon: int, **known: Tensor) -> Tensor:
        """Returns the model's forecast in the unit of the files."""
        if self.values is None:
            return self.model(frames, horizon=horizon, **known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # random frames have values out of the expected range
            options: Any = {"inputs": "all", **known}
            return self.model.forecast(frames, horizon, **options)


def _in_unit(encoding: Encoding, variables: tuple[Variable, ...], noise: Tensor) -> Tensor:
    """Converts noise to values in the unit of the data, of which some are NaN, a corner of the map in all frames."""
    noise = noise.float()
    values = by_variable(Encoding.decode, variables, noise) if variables else Encoding.decode(encoding, noise)
    hidden = torch.rand(values.shape, generator=torch.Generator().manual_seed(values.numel())) < 0.1
    hidden[..., 0, 0] = True
    return values.masked_fill(hidden, torch.nan)


def find_horizon(frames: Tensor, inputs: Mapping[str, Any]) -> Any:
    """Returns the horizon that the further inputs of a file state, or None."""
    return inputs["future"].shape[1] - frames.shape[1] if "future" in inputs else inputs.get("horizon")


class SequenceForecast(nn.Module):
    """Forecasts from complete sequences, in the unit of the file."""

    def __init__(self, model: Any, units: Units, **fixed: Any) -> None:
        super().__init__()
        self.model, self.units, self.fixed = model, units, fixed

    def forward(self, input: Tensor, **inputs: Any) -> tuple[Tensor, ...]:
        """Returns the outputs of the file; `fixed` are arguments of the model that are not inputs of the graph."""
        known, horizon = self.units.encode_known(inputs), find_horizon(input, inputs)
        fixed = self.fixed if horizon is None else {"horizon": horizon}
        forecast = self.model(self.units.encode(input), **fixed, **known)
        if self.units.values is None:
            return (forecast,)
        return (self.units.decode(forecast, self.model.unknown_pixels(input)),)


def forecaster_sequence(model: Forecaster, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a forecaster that reads complete sequences."""
    units, horizon = Units(model, options.encoded), options.horizon
    maps: Axes = [*space(2, model.reduction)]
    inputs = [units.input("input", [BATCH, TIME, model.in_chans, *maps]), *units.known_inputs(maps)]
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
        asked = find_horizon(values["input"], values) or fixed["horizon"]
        return (units.forecast(values["input"], asked, **known),)

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


def _forecast_each_frame(model: Forecaster, units: Units, graph: GraphSpec, horizon: int) -> ExportSpec:
    """Returns the specification of a step that forecasts after each frame."""

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        frames = [graph.inputs[0].sample(sizes, t) for t in range(sizes["time"])]
        for t, result in enumerate(run_steps(runners[""], graph.zero_states(sizes), frames)):
            expected = units.forecast(torch.stack(frames[: t + 1], 1), horizon)
            yield f"forecast of step {t}", result["output"], expected

    metadata = {"output": "the forecast after this frame", **units.metadata}
    return ExportSpec({"": graph}, check_run, min_sizes(model), metadata)


def _step_states(units: Units, axes: Mapping[str, Axes], pixels: Axes) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Returns the input and output states of a step: those of the model, and the pixels that it has seen."""
    states, seen = state_specs(axes, units.net_dtype), state_specs(units.seen_axes(pixels), units.dtype)
    return states[0] + seen[0], states[1] + seen[1]


def autoregressive_step(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of one step of a forecaster that reads its own forecast."""
    units, reduction, horizon = Units(model, options.encoded), model.reduction, options.horizon
    sizes, patch, maps = model.state_sizes(), model.unshuffle.downscale_factor, space(2, reduction)
    axes: dict[str, Axes] = {
        name: [BATCH, chans, *space(2, reduction // (patch * factor), patch * factor)]
        for name, (chans, factor) in sizes.items()
    }
    pixels: Axes = [BATCH, model.in_chans, *maps]
    reads_forecast = horizon is None and units.values is not None
    if reads_forecast:
        axes["frame"] = pixels
    frame, copied = units.input("input", pixels), prepare_model(model, unroll_loop)
    inputs, outputs = _step_states(units, axes, pixels)

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        x, seen = units.encode(inputs["input"]), units.see(inputs)
        if reads_forecast:  # where there is no frame
            missing = inputs["input"].isnan().flatten(1).all(1)
            x = torch.where(missing[:, None, None, None], inputs["frame_in"], x)
        y, state = copied.advance(copied.unshuffle(x), tuple(inputs[f"{name}_in"] for name in sizes))
        if horizon is None:
            y = copied.shuffle(y)
            return [units.decode_seen(y, seen), *state, *[y] * reads_forecast, *seen]
        forecast, later = [y], state
        for _ in range(horizon - 1):
            y, later = copied.advance(y, later)
            forecast.append(y)
        return [units.decode_seen(copied.shuffle(torch.stack(forecast, 1)), seen), *state, *seen]

    output = TensorSpec("output", [BATCH, *([horizon] if horizon else []), model.out_chans, *maps], units.dtype)
    graph = GraphSpec(_StepFunction(run, copied), [frame, *inputs], [output, *outputs])
    if horizon is not None:
        return _forecast_each_frame(model, units, graph, horizon)

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
    copied: EncoderForecaster = prepare_model(model, unroll_loop)
    layers, edge = recurrent_layers(copied.encoder), 16 * reduction  # enough for the padding of usual kernels
    frames = torch.zeros(1, 1, model.in_chans, edge, edge, dtype=units.net_dtype, device="meta")
    state = copy.deepcopy(model).to("meta").encode(frames)
    reductions = [edge // list_states(level)[0].shape[-1] for level in split_levels(state, len(layers))]
    names, axes = name_states(layers, [space(2, reduction // r, r) for r in reductions])
    maps = space(2, reduction)
    pixels: Axes = [BATCH, model.in_chans, *maps]
    frame = units.input("input", pixels)
    inputs, outputs = _step_states(units, axes, pixels)

    def encode(inputs: Mapping[str, Tensor]) -> tuple[Any, list[Tensor]]:
        x, state = units.encode(inputs["input"]).unsqueeze(1), read_states(inputs, names)
        return copied.encode(x, state), units.see(inputs)

    def run_encoder(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        state, seen = encode(inputs)
        return [*list_states(state), *seen]

    def run_forecaster(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        frames, states = copied.decode_sequence(read_states(inputs, names), 1)
        seen = [inputs["seen_in"]] if "seen_in" in inputs else []
        return [units.decode_seen(frames.squeeze(1), seen), *list_states(states), *seen]

    def run_both(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        state, seen = encode(inputs)
        frames, _ = copied.decode_sequence(state, model.check_horizon(horizon))
        return [units.decode_seen(frames, seen), *list_states(state), *seen]

    if horizon is not None:
        output = TensorSpec("output", [BATCH, model.check_horizon(horizon), model.out_chans, *maps], units.dtype)
        graph = GraphSpec(_StepFunction(run_both, copied), [frame, *inputs], [output, *outputs])
        return _forecast_each_frame(model, units, graph, horizon)
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


# ---- nowcasts, whose files contain the motion estimate and the advection ---------------------------------------
def nowcast_sequence(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a nowcast with a fixed number of input frames and a fixed horizon."""
    frames = (model.preprocessing.inputs if model.preprocessing else None) or 4
    steps, size = choose_horizon(model, options.horizon, None), options.size
    maps: Axes = [*space(2, model.reduction)]
    if size is not None:
        if any(edge % model.reduction for edge in size):
            raise ExportError(f"size=(height, width) must be multiples of {model.reduction}, got {size}")
        maps = list(size)
    units = Units(model, options.encoded)
    fixed = model.fixed_arguments(steps)
    prepared = prepare_model(model)
    inputs = [TensorSpec("input", [BATCH, frames, model.in_chans, *maps], units.dtype, partial(_rain, units.values))]
    outputs = [TensorSpec("output", [BATCH, steps, model.out_chans, *maps], units.dtype)]
    max_size = dict.fromkeys(("height", "width"), MAX_EDGE // model.reduction)
    # The forecast decides by comparisons where rain occurs, and few pixels determine the motion at the edge of rain, so
    # that rounding may change single pixels: rounding the input once changes some probabilities of a model by 4e-4.
    limits: dict[str, Any] = {"max_size": max_size, "decided": frozenset({"output", "probabilities"})}
    if units.values is None:
        graph = GraphSpec(SequenceForecast(prepared, units, **fixed), inputs, outputs)
        return ExportSpec.for_sequences(
            graph, lambda values: (model(values["input"], **fixed),), metadata=units.metadata, **limits
        )
    probabilities = [BATCH, steps, model.out_chans, len(THRESHOLDS), *maps]
    outputs.append(TensorSpec("probabilities", probabilities, units.dtype))
    graph = GraphSpec(_Nowcast(prepared, units, **fixed), inputs, outputs)

    def reference(values: Values) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            likely = model.probabilities(values["input"], THRESHOLDS, steps, inputs="all")
        return units.forecast(values["input"], steps), likely

    metadata = {**units.metadata, "thresholds": list(THRESHOLDS)}
    return ExportSpec.for_sequences(graph, reference, metadata=metadata, **limits)


def _rain(values: Any, noise: Tensor) -> Tensor:
    """Converts noise to smooth rain rates, with unknown columns if values are in the unit of the data.

    The motion of noise is ill-conditioned.
    """
    rates = 20 * smooth(noise.float().flatten(0, 1), 9).unflatten(0, noise.shape[:2]).clamp_min(0)
    if values is not None:
        rates[..., :2] = torch.nan
    return rates


class _Nowcast(nn.Module):
    """Forecasts mean rates and probabilities; both are NaN where the last frame is unknown.

    They are also NaN for a sequence with a frame without any value: the number of frames is fixed, so that a file can
    neither leave out such a frame nor, without estimating the motion a second time, fill it as `model.forecast` does.
    """

    def __init__(self, model: Any, units: Units, **fixed: Any) -> None:
        super().__init__()
        self.model, self.units, self.fixed = model, units, fixed

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        is_missing = input.isnan().flatten(2).all(2).any(1)
        unknown = self.model.unknown_pixels(input) | is_missing.reshape(-1, 1, 1, 1, 1)
        nowcast = self.model.exceedance(self.units.encode(input), **self.fixed)
        likely = nowcast.probabilities().float().masked_fill(unknown.unsqueeze(3), torch.nan)
        return self.units.decode(nowcast.rates(), unknown), likely
