"""Specifications of models of recurrent layers and of images, and of single layers and cells; names of states."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ..layers._conv import same_padding
from ..layers._states import LayerStates, name_tensors
from ..models import AudioModel, ZooModel
from ..models.base import DenseModel, Unroll, recurrent_layers, unroll_loop
from ..models.base.lengths import POOLS, update_pool
from ..models.rvm import RecurrentDecoderModel
from ..models.utae import ImageSeriesModel
from .graph import advance, equations, graph_loop, prepare_model, state_suffixes
from .spec import (
    BATCH,
    TIME,
    Axes,
    Axis,
    Comparisons,
    ExportError,
    ExportOptions,
    ExportSpec,
    FrameSize,
    GraphSpec,
    Runners,
    Sizes,
    TensorSpec,
    run_steps,
    space,
    state_specs,
)

StateNames = list[list[list[str]]]  # for each recurrent module, for each of its layers and directions


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
    return [tensor for _, tensor in name_tensors(states)]


class LayerModel(ZooModel):
    """A layer or a cell with the interface of a model."""

    num_classes, global_pool = 0, ""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.rnn: Any = layer if isinstance(layer, ConvRNNBase) else Unroll(layer)
        self.in_chans, self.ndim = layer.in_channels, layer.ndim
        self.batch_first = getattr(layer, "batch_first", False)

    def forward_sequence(self, x: Tensor, hx: Any = None, lengths: None = None) -> tuple[Tensor, Any]:
        """Returns the output and the last state of the layer."""
        return self.rnn(x, hx)

    def forward_head(self, features: Tensor, lengths: None = None) -> Tensor:
        """Returns the output of the layer."""
        return features


def map_axes(model: Any, size: FrameSize | None) -> tuple[Axes, list[Axes], dict[str, int], str | None]:
    """Returns axes of a frame, axes of each recurrent module's map, minimum sizes, and why sizes are fixed or None."""
    if isinstance(model, AudioModel):
        return [1], [[model.pixels]], {}, None
    if not model.has_frame_encoder:
        edge, layers = getattr(model, "reduction", 1), recurrent_layers(model)
        levels = getattr(model, "state_reductions", ()) or [1] * len(layers)
        return (
            [*space(model.ndim, edge)],
            [[*space(model.ndim, edge // r, r)] for r in levels],
            min_map_size(layers[0]),
            None,
        )
    encoder, reductions = model.encoder, model.encoder.reductions
    reason = "the requested size" if size else encoder.fixed_size_reason
    largest = max(reductions)
    example = (4 * largest - 1, 3 * largest + 1)  # distinguishes sizes that are rounded up from those rounded down
    stated = model.pretrained_cfg.get("input_size")
    if reason and not (size or stated):
        raise ExportError(f"{reason}; pass size=(height, width)")
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
    if isinstance(model, RecurrentDecoderModel):  # from the lowest resolution to the highest
        maps = maps[::-1][: len(model.grus)]
    return frame, maps[: len(recurrent_layers(model))], {"height": smallest, "width": smallest}, reason


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
        self.is_clip = model.has_frame_encoder or isinstance(model, AudioModel | DenseModel)
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
            if len(self.maps) > 1 and classes:
                raise ExportError("several levels have no output for every pixel; choose a global_pool")
            widths = model.widths if len(self.maps) > 1 else [model.head_hidden_size]
            axes = [[*leading, classes or width, *m] for width, m in zip(widths, self.maps, strict=True)]
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


def mark_lengths(outputs: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Returns outputs with NaN for sequences whose length is invalid, since a graph cannot raise an error."""
    lengths = inputs.get("lengths")
    if lengths is None:
        return tuple(outputs)
    is_valid = (lengths >= 1) & (lengths <= inputs["input"].shape[1])
    return tuple(torch.where(is_valid.reshape(-1, *(1,) * (y.dim() - 1)), y, torch.nan) for y in outputs)


class _SequenceNetwork(_Network):
    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        return mark_lengths(self.run_model(self.model, inputs), inputs)

    def run_model(self, model: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the outputs of a model, then the states if the inputs contain states."""
        lengths, has_state = inputs.get("lengths"), f"{self.state_names[0][0][0]}_in" in inputs
        hx = read_states(inputs, self.state_names) if has_state else None
        features, state = model.forward_sequence(inputs["input"], hx, lengths)
        return _head(model, features, lengths) + ([s.clone() for s in list_states(state)] if has_state else [])


def recurrent_sequence(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a recurrent model or layer that reads complete sequences."""
    net = _SequenceNetwork(model, options.size, graph_loop)
    # torch cannot prove its guards for maps of one pixel
    time = TIME._replace(inferred=model.has_frame_encoder or isinstance(model, AudioModel))
    leading = (BATCH, time) if net.time_axis else (time, BATCH)
    inputs = [TensorSpec("input", [*leading, model.in_chans, *net.frame], net.dtype)]
    if options.lengths is not False and not isinstance(model, LayerModel):
        inputs.append(TensorSpec("lengths", [BATCH], torch.int64))
    states_in, states_out = state_specs(net.state_axes if options.state else {}, net.dtype)
    graph = GraphSpec(net, inputs + states_in, net.outputs(leading) + states_out)
    return ExportSpec.for_sequences(graph, partial(net.run_model, model), net.min_size, net.metadata())


class _StepNetwork(_Network):
    """A network on one frame. A pool over time keeps the features of previous frames as states."""

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        x, hx, classes = inputs["input"], read_states(inputs, self.state_names), self.model.num_classes
        if self.is_clip:
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
        count = steps.squeeze(1)
        pooled = update_pool(self.pool, inputs["pool_in"], pooled, torch.ones_like(count), count)
        return (self.model.classify_pooled(pooled.to(self.dtype)), *states, pooled.clone(), steps)


def recurrent_step(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of one step of a recurrent model, layer or cell."""
    net = _StepNetwork(model, options.size, unroll_loop)
    if any(layer.num_directions > 1 for layer in net.layers):
        raise ExportError(
            "a bidirectional model reads a sequence from both ends and has no step form; export the sequence form"
        )
    frame = TensorSpec("input", [BATCH, model.in_chans, *net.frame], net.dtype)
    outputs = net.outputs((BATCH,))
    states_in, states_out = state_specs(net.state_axes, net.dtype)
    if net.pool in ("avg", "max"):
        axes = {"pool": [BATCH, model.num_features], "steps": [BATCH, 1]}
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


# ---- images and image series ----------------------------------------------------------------------------------
def image_sequence(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a model of images, or of image series."""
    dtype, is_series = next(model.parameters()).dtype, isinstance(model, ImageSeriesModel)
    frame = space(2, model.reduction)
    inputs = [TensorSpec("input", [BATCH, *[TIME] * is_series, model.in_chans, *frame], dtype)]
    if options.mask:
        inputs.append(TensorSpec("mask", [BATCH, TIME], torch.bool))
    elif is_series and options.lengths is not False:
        inputs.append(TensorSpec("lengths", [BATCH], torch.int64))
    outputs = [TensorSpec("output", [BATCH, model.num_classes or model.num_features, *frame], dtype)]
    graph, call = GraphSpec(_Call(prepare_model(model)), inputs, outputs), _Call(model)
    return ExportSpec.for_sequences(graph, lambda values: call(**values))


class _Call(nn.Module):
    """Calls a model with its inputs by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: Tensor, **inputs: Tensor) -> tuple[Tensor, ...]:
        return mark_lengths([self.model(input, **inputs)], {"input": input, **inputs})
