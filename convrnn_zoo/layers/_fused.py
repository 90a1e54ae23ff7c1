"""Runs one layer, on one of three paths, and differentiates the fast ones by hand.

:func:`find_path` chooses the path: torch's kernels of a step on a GPU (``_kernels.py``), the step in place
(``_in_place.py``), or the reference under ordinary autograd (``_run.py``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._autocast import has_autocast, no_autocast
from ._conv import can_join
from ._in_place import JOINT_VALUES, Buffers, Direction
from ._kernels import find_direction
from ._run import DirectionWeights, Maps, RunSpec, can_recompute, is_traced, is_transformed, reference_layer

LARGE_VALUES = 1 << 20
"""Values of a weight from which on :func:`convolve_inputs` may run: 4 MiB, more than the cache of a core. That it saves
time was measured on an Intel Xeon only; that it saves memory holds everywhere."""


def run_layer(
    cell: Any,
    xs: Tensor,
    states: Sequence[Maps],
    weights: Sequence[DirectionWeights],
    batch_sizes: list[int] | None = None,
    *,
    mask: Tensor | None = None,
    zero_state: bool = False,
    checkpointed: bool = False,
) -> tuple[Tensor, list[Maps]]:
    """Runs one layer in one or two directions over ``(T, N, C, *S)`` or packed data, in place where possible.

    `cell` is the object with the equations: the layer itself, or a cell that a model runs over time. Returns the output
    in the layout of `xs`, with the directions concatenated along the channels, and the final state of each direction.
    Their dtype is that of the weights, also under autocast. See :class:`RunSpec` for the options.
    """
    dtype = weights[0].ih.dtype
    path = None if mask is not None else find_path(cell, xs, weights)
    is_fused = path is not None
    conv_dtype, shape = _conv_dtype(dtype, xs.device.type), xs.shape
    saves_time = path is Direction and reads_weights_longest(xs, weights[0].ih)
    saves_time |= path is None and compiles_small_gru(cell, xs, weights[0])
    if saves_time and xs.dtype == conv_dtype == dtype and cell.has_common_advance:
        xs, weights = convolve_inputs(cell, xs, weights, packed=batch_sizes is not None)
    tensors = [
        t
        for state, w in zip(states, weights, strict=True)
        for t in (*(s.to(dtype) for s in state), w.ih, w.hh, w.b_ih, w.b_hh, w.h_mask, *w.extra)
    ]
    spec = RunSpec(
        cell=cell,
        batch_sizes=batch_sizes or ([] if cell.export_loop is not None else [xs.shape[1]] * xs.shape[0]),
        packed=batch_sizes is not None,
        num_directions=len(weights),
        zero_state=zero_state,
        checkpointed=checkpointed and (is_fused or can_recompute()),
        needs_grad=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in [xs, *tensors]),
    )
    if is_fused:
        # Without a gradient, the autograd function would only add a tenth of a millisecond.
        has_graph = spec.needs_grad or is_transformed(unknown=True)
        run = FusedLayer.apply if has_graph else FusedLayer.forward
        y, *finals = run(spec._replace(conv_dtype=conv_dtype, direction=path), [], xs, *tensors)
    else:
        y, *finals = reference_layer(spec, xs, *tensors, mask=mask)
    if y.dim() < len(shape):
        y = y.view(*shape[:2], *y.shape[1:])
    num_states = len(cell.states)
    return y, [tuple(finals[i : i + num_states]) for i in range(0, len(finals), num_states)]


def find_path(cell: Any, xs: Tensor, weights: Sequence[DirectionWeights]) -> type[Direction] | None:
    """Returns the class that runs each direction of a layer over `xs`, or None for :func:`reference_layer`.

    The reference computes everything that the others do not: cells without an in-place step, zoneout, masks, exported,
    compiled and traced graphs, and padding modes of which no gradient is written down.
    """
    is_fused = (
        cell.in_place is not None
        and not any(cell.zoneout)  # which its derivative does not include
        and cell.export_loop is None
        and not is_traced()  # a graph needs to hold every operation, in a form that can be differentiated
        and xs.numel() > 0
        and {*cell.geometry.padding_modes} <= {"zeros", "circular"}
        and all(can_join(w.ih, w.hh, cell.geometry) for w in weights)
    )
    return find_direction(cell, weights, xs) if is_fused else None


def reads_weights_longest(xs: Tensor, weight: Tensor) -> bool:
    """Returns whether a convolution of all steps takes longer to read its weight than to compute.

    The weight exceeds the caches, and has more values for a row of gates than the maps of all steps have pixels.
    """
    return weight.numel() >= LARGE_VALUES and xs.numel() // weight.shape[1] < weight[0].numel()


def compiles_small_gru(cell: Any, xs: Tensor, w: DirectionWeights) -> bool:
    """Returns whether a compiled layer convolves input and state apart in calls that take longer than their arithmetic.

    Of the layers on a CPU only 2-d ones gain: 1-d ones took longer, measured on an Intel Xeon only. One convolution
    serves the gates of an LSTM.
    """
    is_compiled = torch.compiler.is_compiling() and cell.export_loop is None and xs.device.type == "cpu"
    has_parts = cell.ndim == 2 and cell.summed is not None
    return is_compiled and has_parts and w.ih.numel() + w.hh.numel() <= JOINT_VALUES


def convolve_inputs(
    cell: Any, xs: Tensor, weights: Sequence[DirectionWeights], *, packed: bool
) -> tuple[Tensor, list[DirectionWeights]]:
    """Returns the contributions of the input to the gates of all steps, and the weights without those of the input.

    The weights of the input are read once for all steps, and no copy joins them with those of the state.
    """
    x = xs if packed else xs.flatten(0, 1)
    gates = torch.cat([cell.conv(x, w.ih, w.b_ih) for w in weights], 1)
    return gates if packed else gates.unflatten(0, xs.shape[:2]), [w._replace(ih=None, b_ih=None) for w in weights]


def _conv_dtype(dtype: torch.dtype, device: str) -> torch.dtype:
    """Returns the dtype of a layer's convolutions: the dtype of autocast if it is enabled, else that of the weights.

    `dtype` is the dtype of the weights; autocast leaves float64 as it is.
    """
    return torch.get_autocast_dtype(device) if has_autocast(device) and dtype != torch.float64 else dtype


# ---- the autograd functions ------------------------------------------------------------------------------------
class FusedLayer(torch.autograd.Function):
    """Autograd function for one layer with a hand-written backward: ``apply(spec, saved, xs, *tensors)``.

    Computes the same as :func:`reference_layer`, in place. `saved` is an empty list, which is filled with the
    intermediates that the backward pass reads in addition to inputs and output. vmap, forward mode and higher
    derivatives run :func:`reference_layer`.
    """

    @staticmethod
    def forward(spec: RunSpec, saved: list[Tensor], xs: Tensor, *tensors: Any) -> Any:
        h = tensors[0]
        keep = spec.needs_grad and not spec.checkpointed
        with no_autocast(xs):
            y = Buffers(h, spec.conv_dtype).new(sum(spec.batch_sizes), spec.num_directions * h.shape[1])
            outputs = [y]
            for direction in _directions(spec, xs, y, tensors, keep):
                if spec.needs_grad and spec.checkpointed:
                    h, *others = direction.forward_segments(saved)
                else:
                    h, *others = direction.forward(range(len(spec.batch_sizes)), direction.state, spec.zero_state)
                    saved += [m for t in sorted(direction.saved) for maps in direction.saved[t] for m in maps]
                # The outputs share no memory with y or the saved tensors.
                outputs += [h.clone(), *(s.clone() if keep else s for s in others)]
        return tuple(outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        spec, saved, *tensors = inputs
        ctx.spec, ctx.inputs = spec, len(tensors)
        ctx.save_for_backward(*tensors, None if spec.checkpointed else output[0], *saved)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        tensors, requires_grad = ctx.saved_tensors, ctx.needs_input_grad[2:]
        inputs, y, saved = tensors[: ctx.inputs], tensors[ctx.inputs], tensors[ctx.inputs + 1 :]
        if _are_batched(grads):
            result = iter(_reference_backward(ctx.spec, requires_grad, *grads, *inputs))
        else:
            result = iter(FusedLayerBackward.apply(ctx.spec, list(saved), requires_grad, y, *grads, *inputs))
        return None, None, *(next(result) if required else None for required in requires_grad)

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: RunSpec, saved: Any, *tensors: Any) -> Any:
        out = torch.vmap(_reference(spec), in_dims[2:], randomness=info.randomness)(*tensors)
        return out, (0,) * len(out)

    @staticmethod
    def jvp(ctx: Any, _spec: None, _saved: None, *tangents: Any) -> Any:
        return _jvp(_reference(ctx.spec), ctx.saved_tensors, tangents)


class FusedLayerBackward(torch.autograd.Function):
    """Autograd function for the gradients of :class:`FusedLayer`.

    ``apply(spec, saved, requires_grad, y, *grads, *inputs)`` returns the gradients of the inputs that require one.
    """

    @staticmethod
    def forward(
        spec: RunSpec, saved: list[Tensor], requires_grad: Sequence[bool], y: Tensor | None, *tensors: Any
    ) -> Any:
        (y_grad, *grads), (xs, *inputs) = tensors[: _num_outputs(spec)], tensors[_num_outputs(spec) :]
        each, num_states = len(inputs) // spec.num_directions, len(spec.cell.states)
        saves_tensors = spec.checkpointed or num_states > 1 or spec.cell.in_place.saves_parts
        x_grad: Tensor | None = None
        result: list[Tensor | None] = []
        y_grads = [None] * spec.num_directions if y_grad is None else y_grad.chunk(spec.num_directions, 1)
        with no_autocast(xs):
            if not saved and saves_tensors:  # the forward pass ran under a transform, by the reference
                y, *_ = FusedLayer.forward(spec._replace(needs_grad=True), saved, xs, *inputs)
            remaining = iter(saved)
            for d, direction in enumerate(_directions(spec, xs, y, inputs, keep=True)):
                required = requires_grad[1 + d * each : 1 + (d + 1) * each]
                if requires_grad[0] and x_grad is None:
                    x_grad = direction.buffers.new(sum(spec.batch_sizes), xs.shape[-spec.cell.ndim - 1], xs.dtype)
                final = tuple(direction.buffers.new(*s.shape[:2]) for s in direction.state)
                for grad, provided in zip(final, grads[d * num_states :], strict=False):
                    grad.zero_() if provided is None else grad.copy_(provided)
                weights, to_state = any(required[num_states:]), any(required[:num_states])
                result += direction.backward_all(remaining, final, x_grad, y_grads[d], weights, to_state)
        result = [None if x_grad is None else x_grad.view(xs.shape), *result]
        return tuple(g for g, required in zip(result, requires_grad, strict=True) if required)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        spec, _, requires_grad, _, *tensors = inputs
        ctx.function = partial(_reference_backward, spec, requires_grad)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved, places = ctx.saved_tensors, _tensor_places(ctx.saved_tensors)
        result = dict(zip(places, _vjp(ctx.function, saved, places)[1](grads), strict=True))
        return None, None, None, None, *(result.get(i) for i in range(len(saved)))

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: RunSpec, saved: Any, requires_grad: Any, y: Any, *tensors: Any) -> Any:
        function = partial(_reference_backward, spec, requires_grad)
        out = torch.vmap(function, in_dims[4:], randomness=info.randomness)(*tensors)
        return out, (0,) * len(out)

    @staticmethod
    def jvp(ctx: Any, _spec: None, _saved: None, _requires_grad: None, _y: Any, *tangents: Any) -> Any:
        return _jvp(ctx.function, ctx.saved_tensors, tangents)


def _reference(spec: RunSpec) -> Callable[..., Maps]:
    return partial(reference_layer, spec._replace(checkpointed=False))  # which torch.func does not support


def _directions(spec: RunSpec, xs: Tensor, y: Tensor | None, tensors: Sequence[Any], keep: bool) -> list[Direction]:
    ys = [None] * spec.num_directions if y is None else y.chunk(spec.num_directions, 1)
    each = zip(spec.directions(tensors), ys, strict=True)
    return [
        spec.direction(spec, xs, *state_and_weights, h, d == 1, keep) for d, (state_and_weights, h) in enumerate(each)
    ]


def _num_outputs(spec: RunSpec) -> int:
    return 1 + spec.num_directions * len(spec.cell.states)


def _are_batched(grads: Sequence[Tensor | None]) -> bool:
    """Returns True if gradients are batched by ``is_grads_batched=True``, which does not call the method `vmap`.

    The in-place backward does not support batched gradients: a batched tensor cannot be written into an ordinary one.
    """
    for grad in grads:
        if grad is not None:
            try:
                torch.empty(1, dtype=grad.dtype, device=grad.device).copy_(grad.detach().reshape(-1)[:1])
            except RuntimeError:
                return True
    return False


def _vjp(function: Callable[..., Maps], args: Sequence[Any], places: Sequence[int]) -> tuple[Maps, Callable[..., Maps]]:
    """Applies ``torch.func.vjp`` for the arguments at `places`; the other ones are constants and may be None."""

    def of_places(*tensors: Tensor) -> Maps:
        by_place = dict(zip(places, tensors, strict=True))
        return function(*(by_place.get(i, arg) for i, arg in enumerate(args)))

    out, vjp, *_ = torch.func.vjp(of_places, *(args[i] for i in places))
    return out, vjp


def _tensor_places(args: Sequence[Any]) -> list[int]:
    return [i for i, arg in enumerate(args) if arg is not None]


def _jvp(function: Callable[..., Maps], primals: Sequence[Any], tangents: Sequence[Any]) -> Maps:
    """Computes a forward derivative by two reverse passes: torch.func.jvp does not run inside ordinary forward mode."""
    places = _tensor_places(primals)
    out, vjp = _vjp(function, primals, places)
    provided = tuple(torch.zeros_like(primals[i]) if tangents[i] is None else tangents[i] for i in places)
    (result,) = torch.func.vjp(vjp, tuple(torch.zeros_like(o) for o in out))[1](provided)
    return result


def _reference_backward(spec: RunSpec, requires_grad: Sequence[bool], *tensors: Any) -> Maps:
    """Computes the same as :class:`FusedLayerBackward` through autograd of :func:`reference_layer`."""
    grads, inputs = tensors[: _num_outputs(spec)], tensors[_num_outputs(spec) :]
    out, vjp = _vjp(_reference(spec), inputs, [i for i, required in enumerate(requires_grad) if required])
    return vjp(tuple(torch.zeros_like(o) if g is None else g for o, g in zip(out, grads, strict=True)))
