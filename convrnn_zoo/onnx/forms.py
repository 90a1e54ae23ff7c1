"""Creates the specifications of the two forms of an export: complete sequences, and single steps."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..layers import _checks as check
from ..layers._conv import same_padding
from ..layers._run import LayerStates
from ..models import Forecaster, ZooModel
from ..models.base.blocks import Unroll, recurrent_layers
from ..models.base.dense import DenseModel
from ..models.base.forecaster import EncoderForecaster
from ..models.base.lengths import POOLS, split_state, update_pool
from .graph import advance, check_version, equations, prepare_model, scan, state_suffixes, unroll
from .spec import (
    BATCH,
    TIME,
    Axis,
    Comparisons,
    ExportSpec,
    GraphSpec,
    Runners,
    Sizes,
    TensorSpec,
    next_states,
    reject_if,
    run_steps,
    space,
    state_specs,
)

Axes = list[Axis | int]
FrameSize = tuple[int, ...]
StateNames = list[list[list[str]]]  # for each recurrent module, for each of its layers and directions


def make_spec(
    model: Any, form: str, *, state: bool = False, lengths: bool | None = None, mask: bool = False,
    horizon: int | None = None, size: FrameSize | None = None,
) -> ExportSpec:  # fmt: skip
    """Returns the specification of an export in one form. Arguments are those of :func:`convrnn_zoo.export`."""
    owner, is_step = type(model).__name__, form == "step"
    message = f"expected a ConvRNNModel or another model, layer or cell of this package, got {owner}"
    reject_if(not hasattr(type(model), "export_forms"), message)
    for module in model.modules():
        detail = getattr(module, "no_export_reason", "")
        reject_if(getattr(module, "export_forms", None) == (), f"{owner}{detail} has no export yet; run it in PyTorch")
    forms = model.export_forms
    model = model if hasattr(model, "export_inputs") else _LayerModel(model)
    inputs, has_size = model.export_inputs, model.has_frame_encoder or model.unrolled
    end = f"and this is a {owner}; leave it out"
    reject_if(size is not None and not has_size, f"size is for models with an image encoder and nowcasts, {end}")
    size = None if size is None else check.ntuple("size", size, 2)
    reject_if(mask and "mask" not in inputs, f"mask is for models of image series, {end}")
    reject_if(horizon is not None and "horizon" not in inputs, f"horizon is for forecasters, {end}")
    is_learned = any(getattr(m, "learn_initial_state", False) for m in model.modules())
    message = "states of files start from zeros, and learn_initial_state is set; export a sequence without state"
    reject_if((is_step or state) and is_learned, message)
    if is_step:
        message = "lengths, mask and horizon are for the sequence form; leave them out, or take form='sequence'"
        reject_if(lengths or mask or horizon is not None, message)
        message = f"{owner} reads complete sequences and has no step form; export the sequence form"
        reject_if(form not in forms, message)
        message = "static and future inputs are for the sequence form; export that"
        reject_if(getattr(model, "known_chans", 0), message)
        message = f"{owner} has no step form; derive it from AutoregressiveForecaster or EncoderForecaster for one"
        reject_if(model.export_step not in STEP_SPECS, message)
        return STEP_SPECS[model.export_step](model, size)
    check_version()
    reject_if(form not in forms, f"a {owner} is a cell and has no sequence form; export a cell in the step form")
    if "horizon" in inputs:
        return _forecaster_sequence(model, state, lengths, horizon, size)
    if "state" in inputs:
        return _recurrent_sequence(model, state, lengths, size)
    return _image_sequence(model, state, lengths, mask, "lengths" in inputs)


class _Calls(nn.Module):
    """Calls a model on complete sequences. `fixed` are arguments of the model that are not inputs of the graph.

    With future inputs, the horizon is the number of their time steps minus the number of input frames.
    """

    def __init__(self, model: nn.Module, **fixed: Any) -> None:
        super().__init__()
        self.model, self.fixed = model, fixed

    def forward(self, input: Tensor, **inputs: Any) -> tuple[Tensor]:
        if "future" in inputs:
            inputs["horizon"] = inputs["future"].shape[1] - input.shape[1]
        return (self.model(input, **self.fixed, **inputs),)


def _sequence_spec(model: Any, inputs: list[TensorSpec], outputs: list[TensorSpec], **fixed: Any) -> ExportSpec:
    """Returns the specification of a model that is called on complete sequences."""
    calls = _Calls(model, **fixed)
    loop = unroll if model.unrolled else scan
    graph = GraphSpec(_Calls(prepare_model(model, loop), **fixed), inputs, outputs)
    return ExportSpec.for_sequences(graph, lambda values: calls(**values))


# ---- models of images and image series -------------------------------------------------------------------------
def _image_sequence(model: Any, state: bool, lengths: bool | None, mask: bool, is_series: bool) -> ExportSpec:
    owner, dtype = type(model).__name__, next(model.parameters()).dtype
    reject_if(state, f"a {owner} reads its input as a whole and has no state")
    message = f"a {owner} reads single images, which have no lengths and no mask"
    reject_if(not is_series and (lengths or mask), message)
    reject_if(lengths and mask, "lengths and mask both select dates; pass one of the two")
    frame = space(2, model.reduction)
    inputs = [TensorSpec("input", [BATCH, *[TIME] * is_series, model.in_chans, *frame], dtype)]
    if mask:
        inputs.append(TensorSpec("mask", [BATCH, TIME], torch.bool))
    elif is_series and lengths is not False:
        inputs.append(TensorSpec("lengths", [BATCH], torch.int64))
    outputs = [TensorSpec("output", [BATCH, model.num_classes or model.num_features, *frame], dtype)]
    return _sequence_spec(model, inputs, outputs)


# ---- models of recurrent layers, layers and cells --------------------------------------------------------------
def map_axes(model: Any, size: FrameSize | None) -> tuple[Axes, list[Axes], dict[str, int], str | None]:
    """Returns axes of a frame, axes of each recurrent module's map, minimum sizes, and why sizes are fixed or None."""
    if fixed := model.map_sizes:
        return [*fixed[0]], [[*fixed[1]]], {}, None
    if not model.has_frame_encoder:
        axes: Axes = [*space(model.ndim)]
        layers = recurrent_layers(model)
        return axes, [axes] * len(layers), min_map_size(layers[0]), None
    encoder, reductions = model.encoder, model.encoder.reductions
    reason = "the requested size" if size else encoder.fixed_size_reason
    largest = max(reductions)
    example = (4 * largest - 1, 3 * largest + 1)  # distinguishes sizes that are rounded up from those rounded down
    stated = model.pretrained_cfg.get("input_size")
    reject_if(reason and not (size or stated), f"{reason}; pass size=(height, width)")
    height, width = size or (stated[-2:] if reason else example)
    with torch.no_grad():
        zeros = next(model.parameters()).new_zeros(1, model.in_chans, height, width)
        shapes = [tuple(m.shape[-2:]) for m in encoder.encode(zeros)]
    if reason:
        frame, maps, smallest = [height, width], [list(shape) for shape in shapes], 1
    else:
        rounds_up = shapes == [(-(-height // r), -(-width // r)) for r in reductions]
        is_regular = rounds_up or shapes == [(height // r, width // r) for r in reductions]
        frame = [a._replace(inferred=is_regular) for a in space(2, 1 if is_regular else largest)]
        maps = [[_divide(axis, r, rounds_up) for axis in frame] for r in reductions]
        smallest = 2 * largest if is_regular else 2  # torch.export supports no map of one pixel
    return frame, [maps[i] for i in model.recurrent_levels], {"height": smallest, "width": smallest}, reason


def _divide(axis: Any, reduction: int, round_up: bool) -> Axis:
    sign = "/" if round_up or not axis.inferred else "//"  # rounded up or exact, or rounded down
    return axis._replace(name=f"{axis.name}{sign}{reduction}", divisor=reduction, round_up=round_up)


def min_map_size(layer: Any) -> dict[str, int]:
    """Returns the minimum map sizes that the padding mode of a layer or cell supports."""
    layer = equations(layer)
    kernels = [*layer.kernels, *layer.hidden_kernels]
    pads = [same_padding((1,) * layer.ndim, kernel, *layer.geometry[:2]) for kernel in kernels]
    return {
        axis.size: max(max(p[i]) for p in pads) + (mode == "reflect")
        for i, (axis, mode) in enumerate(zip(space(layer.ndim), layer.geometry.padding_modes, strict=True))
        if mode in ("reflect", "circular")
    }


class _LayerModel(ZooModel):
    """A layer or a cell with the interface of a model."""

    export_step, export_inputs = "recurrent", ("state",)
    num_classes, global_pool = 0, ""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.rnn: Any = layer if "sequence" in layer.export_forms else Unroll(layer)
        self.in_chans, self.ndim = layer.in_channels, layer.ndim
        self.batch_first = getattr(layer, "batch_first", False)

    def forward_sequence(self, x: Tensor, hx: Any = None, lengths: None = None) -> tuple[Tensor, Any]:
        return self.rnn(x, hx)

    def forward_head(self, features: Tensor, lengths: None = None) -> Tensor:
        return features


def name_states(layers: Sequence[Any], maps: Sequence[Sequence[Axis | int]]) -> tuple[StateNames, dict[str, Axes]]:
    """Returns the names of the states of recurrent modules whose maps have these axes, and the axes of each state."""
    names: StateNames = []
    axes: dict[str, Axes] = {}
    depth = 0
    for layer, map_ in zip(layers, maps, strict=True):
        names.append([[name + suffix for name in equations(layer).states] for suffix in state_suffixes(layer, depth)])
        for i, state in enumerate(names[-1]):
            width = layer.widths[i // layer.num_directions]
            axes |= {name: [BATCH, width, *map_] for name in state}
        depth += len(layer.widths)
    return names, axes


def read_states(inputs: Mapping[str, Tensor], names: StateNames) -> Any:
    """Returns the states among the inputs, in the structure that a model takes: :class:`LayerStates`, or a list."""
    states = [LayerStates(tuple(inputs[f"{s}_in"] for s in state) for state in layer) for layer in names]
    return states[0] if len(states) == 1 else states


def list_states(states: Any) -> list[Tensor]:
    """Returns the states of a model in the order of their names."""
    layers = [states] if isinstance(states, LayerStates) else states
    return [s for layer in layers for maps in layer for s in maps]


class _Network(nn.Module):
    """A copy of a model with its recurrent layers, and the names and axes of its inputs, outputs and states."""

    def __init__(self, model: Any, size: FrameSize | None, loop: Callable[..., Any]) -> None:
        super().__init__()
        self.model: Any = prepare_model(model, loop)
        self.layers = recurrent_layers(self.model)
        self.time_axis = int(getattr(model, "batch_first", True))
        self.pool: str | None = getattr(model, "global_pool", "")
        if self.pool is None:
            self.pool = "avg" if model.num_classes else ""
        self.frame, self.maps, self.min_size, self.fixed_reason = map_axes(model, size)
        self.has_fixed_maps = model.map_sizes is not None
        self.dtype = next(model.parameters()).dtype
        self.pool_dtype = torch.promote_types(self.dtype, torch.float32)  # half precision counts to 256 or 2,048 steps
        self.state_names, self.state_axes = name_states(self.layers, self.maps)

    def outputs(self, leading: Sequence[Axis]) -> list[TensorSpec]:
        """Returns the output specifications. The axes of unpooled outputs are `leading`, channels and map."""
        model, classes = self.model, self.model.num_classes
        if self.pool:
            axes: list[Any] = [[BATCH, classes or model.head_hidden_size]]
        elif isinstance(model, DenseModel) or all(n["reduction"] == 1 for n in getattr(model, "feature_info", ())):
            last = self.layers[-1]
            features = getattr(model, "num_features", last.widths[-1] * last.num_directions)
            axes = [[*leading, classes or features, *self.frame]]
        else:
            message = "several levels have no output for every pixel; choose a global_pool"
            reject_if(len(self.maps) > 1 and (classes or model.hidden != model.widths), message)
            axes = [[*leading, classes or width, *m] for width, m in zip(model.hidden, self.maps, strict=True)]
        names = ["output"] if len(axes) == 1 else [f"output_{i}" for i in range(len(axes))]
        return [TensorSpec(name, a, self.dtype) for name, a in zip(names, axes, strict=True)]

    def metadata(self, **metadata: str) -> dict[str, str]:
        """Returns the metadata, with the reason for a fixed frame size if there is one."""
        if self.fixed_reason:
            metadata["frames"] = f"of {self.frame[0]}×{self.frame[1]}: {self.fixed_reason}"
        return metadata


def _head(model: Any, features: Any, lengths: Tensor | None = None) -> list[Tensor]:
    outputs = model.forward_head(features, lengths=lengths)
    return outputs if isinstance(outputs, list) else [outputs]


class _SequenceNetwork(_Network):
    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.run_model(self.model, inputs))

    def run_model(self, model: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the outputs of a model, then the states if the inputs contain states."""
        lengths, has_state = inputs.get("lengths"), f"{self.state_names[0][0][0]}_in" in inputs
        hx = read_states(inputs, self.state_names) if has_state else None
        features, state = model.forward_sequence(inputs["input"], hx, lengths)
        return _head(model, features, lengths) + ([s.clone() for s in list_states(state)] if has_state else [])


def _recurrent_sequence(model: Any, state: bool, lengths: bool | None, size: FrameSize | None) -> ExportSpec:
    net, has_lengths = _SequenceNetwork(model, size, scan), "lengths" in model.export_inputs
    message = "a single layer takes no lengths but packed sequences, which no exported graph supports"
    reject_if(lengths and not has_lengths, message)
    fixed = model.has_frame_encoder or net.has_fixed_maps
    time = TIME._replace(inferred=fixed)  # torch cannot prove its guards for maps of one pixel
    leading = (BATCH, time) if net.time_axis else (time, BATCH)
    inputs = [TensorSpec("input", [*leading, model.in_chans, *net.frame], net.dtype)]
    if has_lengths and lengths is not False:
        inputs.append(TensorSpec("lengths", [BATCH], torch.int64))
    states_in, states_out = state_specs(net.state_axes if state else {}, net.dtype)
    graph = GraphSpec(net, inputs + states_in, net.outputs(leading) + states_out)
    return ExportSpec.for_sequences(graph, partial(net.run_model, model), net.min_size, net.metadata())


class _StepNetwork(_Network):
    """A network on one frame. A pool over time keeps the features of previous frames as states."""

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        x, hx, classes = inputs["input"], read_states(inputs, self.state_names), self.model.num_classes
        if self.model.has_frame_encoder or self.has_fixed_maps:
            # As a clip of one frame: the head would pool features of a single frame that it does not pool in a clip.
            features, states = self.model.forward_sequence(x.unsqueeze(1), hx)
            outputs = [] if self.pool else [y.squeeze(1) for y in _head(self.model, features)]
        else:  # without the axis of time, which would cost a small layer a tenth of its time
            states = advance(self.layers[0], x, hx)
            y = states[-1][0]
            features, outputs = y.unsqueeze(1), [self.model.forward_head(y) if classes and not self.pool else y]
        states = [s.clone() for s in list_states(states)]
        if not self.pool:
            return (*(y.clone() for y in outputs), *states)
        levels = features if isinstance(features, list) else [features]
        pooled = torch.cat([POOLS[self.pool](y.to(self.pool_dtype), None, 1) for y in levels], 1)
        if self.pool == "last":
            return (self.model.classify_pooled(pooled.to(self.dtype)), *states)
        steps = inputs["steps_in"] + 1
        pooled = update_pool(self.pool, inputs["pool_in"], pooled, torch.ones_like(steps), steps)
        return (self.model.classify_pooled(pooled.to(self.dtype)), *states, pooled.clone(), steps)


def _recurrent_step(model: Any, size: FrameSize | None) -> ExportSpec:
    net = _StepNetwork(model, size, unroll)
    message = "a bidirectional model reads a sequence from both ends and has no step form; export the sequence form"
    reject_if(any(layer.num_directions > 1 for layer in net.layers), message)
    frame = TensorSpec("input", [BATCH, model.in_chans, *net.frame], net.dtype)
    outputs = net.outputs((BATCH,))
    states_in, states_out = state_specs(net.state_axes, net.dtype)
    if net.pool in ("avg", "max"):
        axes = {"pool": [BATCH, model.num_features], "steps": [BATCH]}
        pool_in, pool_out = state_specs(axes, net.pool_dtype)
        states_in, states_out = states_in + pool_in, states_out + pool_out
    graph = GraphSpec(net, [frame, *states_in], [*outputs, *states_out])

    def check_run(runners: Runners, sizes: Sizes) -> Comparisons:
        frames = [frame.sample(sizes, t) for t in range(sizes["time"])]
        for t, result in enumerate(run_steps(runners[""], graph.zero_states(sizes), frames)):
            features, _ = model.forward_sequence(torch.stack(frames[: t + 1], net.time_axis))
            for tensor, y in zip(outputs, _head(model, features), strict=True):
                expected = y if net.pool else y.select(net.time_axis, t)
                yield f"{tensor.name} of step {t}", result[tensor.name], expected

    metadata = net.metadata(output="of all steps so far" if net.pool else "of this step")
    return ExportSpec({"": graph}, check_run, net.min_size, metadata)


# ---- forecasters -----------------------------------------------------------------------------------------------
def _forecaster_sequence(
    model: Forecaster, state: bool, lengths: bool | None, horizon: int | None, size: FrameSize | None
) -> ExportSpec:
    reject_if(state or lengths, "a forecaster starts from its input frames: it takes neither a state nor lengths")
    dtype = next(model.parameters()).dtype
    maps: Axes = [*space(2, model.reduction)]
    frames: Axis | int = TIME
    if model.unrolled:
        frames = (model.preprocessing.inputs if model.preprocessing else None) or 4
        horizon = model.horizon if horizon is None else horizon
    if size is not None:
        message = f"size=(height, width) must be multiples of {model.reduction}, got {size}"
        reject_if(any(edge % model.reduction for edge in size), message)
        maps = list(size)
    inputs, fixed = [TensorSpec("input", [BATCH, frames, model.in_chans, *maps], dtype)], {}
    steps: Axis | int = Axis("horizon", "horizon")
    if model.static_chans:
        inputs.append(TensorSpec("static", [BATCH, model.static_chans, *maps], dtype))
    if model.future_chans:
        reject_if(horizon is not None, "the horizon of a model with future inputs is their number; leave horizon out")
        every = Axis("time+horizon", "time", plus="horizon", inferred=True)
        inputs.append(TensorSpec("future", [BATCH, every, model.future_chans, *maps], dtype))
    elif horizon is None:
        inputs.append(TensorSpec("horizon", [], torch.int64))
    else:
        steps = model.check_horizon(horizon)
        fixed = model.fixed_arguments(steps)
    outputs = [TensorSpec("output", [BATCH, steps, model.out_chans, *maps], dtype)]
    return _sequence_spec(model, inputs, outputs, **fixed)


class _StepFunction(nn.Module):
    """Calls `run` with the states, and with a frame if the graph has one as input."""

    def __init__(self, run: Callable[..., list[Any]], names: StateNames, *modules: nn.Module) -> None:
        super().__init__()
        self.run, self.names, self.modules_of_run = run, names, nn.ModuleList(modules)

    def forward(self, input: Tensor | None = None, **states: Tensor) -> tuple[Tensor, ...]:
        hx = read_states(states, self.names)
        return tuple(x.clone() for x in (self.run(hx) if input is None else self.run(hx, input)))


def _autoregressive_step(model: Any, size: None) -> ExportSpec:
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


def _encoder_forecaster_steps(model: EncoderForecaster, size: None) -> ExportSpec:
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


STEP_SPECS: dict[str, Callable[..., ExportSpec]] = {
    "recurrent": _recurrent_step,
    "autoregressive": _autoregressive_step,
    "encoder_forecaster": _encoder_forecaster_steps,
}
"""Functions that specify the step form of a model, by its attribute ``export_step``."""
