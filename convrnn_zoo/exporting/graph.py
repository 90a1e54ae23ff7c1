"""Prepares models for export: copies them and replaces loops over time with torch's higher-order operator scan.

The operator is a prototype in a private module of torch. Only this file uses it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from ..layers._run import Maps, prepare_weights, reference_step
from ..layers._states import LayerStates
from .spec import ExportError

Step = Callable[[Maps, Maps], Maps]
MIN_TORCH = (2, 13)
"""The first tested version of torch. Some earlier exporters may support loops as well; 2.6 does not."""


def check_version() -> None:
    """Raises ExportError for a version of torch that cannot export a loop."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < MIN_TORCH:
        raise ExportError(
            f"a loop over time is exported by torch {'.'.join(map(str, MIN_TORCH))} or newer, and this is "
            f"{torch.__version__}; upgrade torch, or export the step form, which has no loop"
        )


# ---- time ------------------------------------------------------------------------------------------------------
def graph_loop(step: Step, xs: Maps, first: Maps, *, reverse: bool = False) -> tuple[Tensor, Maps]:
    """Runs ``state = step(x, state)`` along axis 0. Returns the stacked first tensor of each state, and the last state.

    Every tensor that the operator's body reads must be an input of the operator. ``torch._higher_order_ops.scan.scan``
    finds these tensors by compiling the step, which changes the caches of the user's process. Here, one step is run
    before the loop to record these tensors.
    """
    from torch._higher_order_ops.scan import scan_op

    xs = tuple(_owned(x.flip(0) if reverse else x) for x in xs)
    first = tuple(map(_owned, first))
    example = tuple(x[0] for x in xs)
    with _RecordReads([*example, *first]) as record:
        step(example, first)  # dead code in the graph

    def body(*values: Tensor) -> list[Tensor]:
        state, x, reads = values[: len(first)], values[len(first) :][: len(xs)], values[len(first) + len(xs) :]
        with _Replace(dict(zip(map(id, record.reads), reads, strict=True))):
            new = [_owned(s) for s in step(x, state)]
        return [*new, new[0].clone()]

    *last, ys = scan_op(body, list(first), list(xs), additional_inputs=tuple(record.reads))
    return ys.flip(0) if reverse else ys, tuple(last)


class _RecordReads(TorchFunctionMode):
    """Lists the tensors that torch functions read, except `known` tensors and results of these functions."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {id(tensor): tensor for tensor in known}  # kept alive, so that no id is reused
        self.reads: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and id(value) not in self.known:
                self.known[id(value)] = value
                self.reads.append(value)
        result = func(*args, **(kwargs or {}))
        self.known.update((id(value), value) for value in tree_leaves(result) if isinstance(value, Tensor))
        return result


class _Replace(TorchFunctionMode):
    """Replaces tensors in the arguments of torch functions; `replacements` maps a tensor's id to the new tensor."""

    def __init__(self, replacements: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.replacements = replacements

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(lambda value: self.replacements.get(id(value), value), (args, kwargs or {}))
        return func(*args, **kwargs)


def _owned(x: Tensor) -> Tensor:
    """Returns a contiguous copy: tensors of a loop must not share memory, and a step must not change their layout."""
    return x.clone(memory_format=torch.contiguous_format)


# ---- shapes ----------------------------------------------------------------------------------------------------
@contextmanager
def fast_shapes() -> Iterator[None]:
    """Context manager in which torch computes the shapes of samples and of resized maps directly.

    Otherwise it finds the shape of a result with dynamic sizes by decomposing the operation into dozens of others.
    """
    from torch._subclasses.fake_impls import get_fast_op_impls

    def sample(mode: Any, x: Tensor, grid: Tensor, *options: Any) -> Tensor:
        with mode:
            return x.new_empty(x.shape[0], x.shape[1], grid.shape[1], grid.shape[2])

    def resize(mode: Any, x: Tensor, size: Any, *options: Any) -> Tensor:
        with mode:
            if size is None:
                size = [_scaled(edge, scale) for edge, scale in zip(x.shape[-2:], options[-1], strict=True)]
            return x.new_empty(x.shape[0], x.shape[1], *size)

    aten = torch.ops.aten
    shapes = {aten.grid_sampler_2d.default: sample, aten.upsample_bilinear2d.vec: resize}
    table = get_fast_op_impls()
    previous = {op: table.get(op) for op in shapes}
    table.update(shapes)
    try:
        yield
    finally:
        for op, function in previous.items():
            if function is None:
                del table[op]
            else:
                table[op] = function


def _scaled(size: Any, scale: float) -> Any:
    """Returns a scaled size. An integer factor stays one, since a rounded product would need a guard to compare."""
    return size * int(scale) if float(scale).is_integer() else torch.sym_int(size * scale)


# ---- models ----------------------------------------------------------------------------------------------------
def prepare_model(model: nn.Module, loop: Callable[..., Any] = graph_loop) -> Any:
    """Returns a copy of a model that torch can export.

    Loops over time are replaced with `loop`. Strided convolutions divide sizes without rounding. An image encoder reads
    all frames at once instead of in chunks, since their number is unknown.
    """
    model = copy.deepcopy(model)
    module: Any
    for module in model.modules():
        if hasattr(module, "export_loop"):
            module.export_loop = loop
        if hasattr(module, "geometry") and max(module.geometry.stride) > 1:
            module.geometry = module.geometry._replace(explicit_padding=True)
        if hasattr(module, "chunk_size"):
            module.chunk_size = None
    _replace_strided(model)
    return model


def advance(layer: Any, x: Tensor, states: Sequence[Maps]) -> LayerStates:
    """Computes the next states of a unidirectional layer from one frame ``(N, C, *S)`` and the previous states."""
    cell = equations(layer)
    new = LayerStates()
    for suffix, width, state in zip(state_suffixes(layer), layer.widths, states, strict=True):
        w = prepare_weights(cell, cell._weights(suffix if cell is layer else "", width))
        new.append(reference_step(cell, x, state, w)[: len(state)])
        x = new[-1][0]
    return new


def equations(layer: Any) -> Any:
    """Returns the cell of an :class:`Unroll`, or the layer itself."""
    return getattr(layer, "cell", layer)


def state_suffixes(layer: Any, first: int = 0) -> list[str]:
    """Returns the suffixes, such as ``_l0_reverse``, of layers and directions; layers are numbered from `first`."""
    ends = ("", "_reverse")[: layer.num_directions]
    return [f"_l{first + i}{end}" for i in range(len(layer.widths)) for end in ends]


class _DividingConv2d(nn.Module):
    """A strided convolution that pads only pixels that it reads, so that n pixels become exactly n / stride.

    Otherwise every later size contains a rounded division, which torch takes minutes to simplify.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.pads: list[int] = []
        for kernel, stride, pad in reversed(_axis_geometry(conv)):
            self.pads += [pad, kernel - stride - pad]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, self.pads), self.conv.weight, self.conv.bias, self.conv.stride)


def _replace_strided(module: nn.Module) -> None:
    """Replaces strided convolutions, other than those of image encoders and cells, whose maps may have any size."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and max(child.stride) > 1 and _divides(child):
            setattr(module, name, _DividingConv2d(child))
        elif not hasattr(child, "chunk_size") and not hasattr(child, "geometry"):
            _replace_strided(child)


def _divides(conv: nn.Conv2d) -> bool:
    """Returns whether a convolution reduces every size n that is a multiple of its stride to exactly n / stride."""
    is_plain = conv.padding_mode == "zeros" and set(conv.dilation) == {1} and conv.groups == 1
    return is_plain and all(k - s <= 2 * p < k for k, s, p in _axis_geometry(conv))


def _axis_geometry(conv: nn.Conv2d) -> list[tuple[int, int, int]]:
    """Returns kernel, stride and padding of each axis."""
    pads = (0, 0) if isinstance(conv.padding, str) else conv.padding  # torch takes no string with a stride
    return list(zip(conv.kernel_size, conv.stride, pads, strict=True))
