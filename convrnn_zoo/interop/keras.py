"""ConvLSTM1D, 2D and 3D of Keras, alone or in Bidirectional: channels last, gates i, f, c, o, one bias.

https://keras.io/api/layers/recurrent_layers/conv_lstm2d/
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..layers import ConvLSTM, ConvRNNBase
from ..models import WeightsError
from ._checkpoint import Checkpoint, some
from ._entries import Entries, expect, fill, one_bias, refuse, unlike
from ._keras_config import OPTIONS, Settings, settings
from ._keras_layers import ACTIVATED, PLAIN, ActivatedConvLSTM, ResizingConvLSTM
from ._source import Source

logger = logging.getLogger("convrnn_zoo")

ROLES = ("kernel", "recurrent_kernel", "bias")
PATH = re.compile(rf"(?P<layer>(?:.*/)?)(?P<cell>conv_lst_?m_cell[^/]*/)?(?P<role>{'|'.join(ROLES)})(?::0)?")
SIDE = re.compile(r"(?P<side>forward|backward)_(?P<name>[^/]*)")
RANDOM = re.compile(r"(.*/)?seed_generator[^/]*/.*")


class Layer(NamedTuple):
    """A recurrent layer of the file: its name, and for each direction the keys of its variables by role."""

    name: str
    directions: list[dict[str, str]]


def load(checkpoint: Checkpoint, *, layer: str | None = None, **given: Any) -> nn.Module:
    """A ConvLSTM layer, or Bidirectional around one, as a batch-first ConvLSTM of ours with channels first.

    A ``.keras`` and a whole model's ``.h5`` say how their layers were built. Arrays alone do not: there `padding`
    and `recurrent_activation` must be given, and the rest is Keras's default unless given; see ``SOURCE.options``.
    What is given goes before what the file says.

    The layer is :class:`~convrnn_zoo.layers.Conv2dLSTM` (or 1d, 3d) where that can say the same; with other
    activations a subclass of it; with ``padding="valid"``, strides or dilation, which in Keras the input's
    convolution alone has, a :class:`ResizingConvLSTM`. Dropout and regularizers act in training and are left out.

    Args:
        layer: the layer's name, where the file has several, or other layers with weights beside it.
    """
    chosen, others = _choose(checkpoint, layer)
    sizes = _sizes(checkpoint, chosen, others)
    how = settings(checkpoint, chosen.name, len(sizes.kernel), len(chosen.directions) == 2, given)
    weights = [{role: _ours(role, v) for role, v in direction.items()} for direction in sizes.arrays]
    plain = how.padding == "same" and set(how.strides + how.dilation_rate) == {1}
    return (_plain if plain else _resizing)(sizes, weights, how, checkpoint.dtype())


class Sizes(NamedTuple):
    """What the arrays tell."""

    kernel: tuple[int, ...]
    in_channels: int
    filters: int
    bias: bool
    arrays: list[dict[str, Tensor]]


def _choose(checkpoint: Checkpoint, wanted: str | None) -> tuple[Layer, list[str]]:
    """The layer of that name, or the only one; and the keys that belong to no recurrent layer."""
    found, others = _layers(checkpoint.state)
    names = ", ".join(sorted(found)) or "none"
    if wanted is not None:
        if wanted not in found:
            raise WeightsError(f"{checkpoint.origin} has no ConvLSTM layer {wanted!r}; it has {names}")
        left = [n for n in found if n != wanted] + others
        if left:
            logger.info("%s: layer %s read, left out: %s", checkpoint.origin, wanted, ", ".join(left))
        return found[wanted], []
    if len(found) > 1:
        raise WeightsError(f"{checkpoint.origin} has the layers {names}; pass layer= with the name of one")
    if not found:
        return Layer("conv_lstm", [{role: f"conv_lstm_cell/{role}" for role in ROLES[:2]}]), others
    return next(iter(found.values())), others


def _layers(state: Mapping[str, Tensor]) -> tuple[dict[str, Layer], list[str]]:
    """The recurrent layers by name, and the keys of everything else."""
    cells: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for key in state:
        if m := PATH.fullmatch(key):
            cells.setdefault(m["layer"] + (m["cell"] or ""), {})[m["role"]] = key
        elif not RANDOM.fullmatch(key):
            others.append(key)
    layers: dict[str, Layer] = {}
    for cell, keys in sorted(cells.items(), key=lambda item: "backward_" in item[0]):  # forward before backward
        flat = "recurrent_kernel" in keys and state[keys["recurrent_kernel"]].dim() == 2  # LSTM, GRU, SimpleRNN
        if flat or ("recurrent_kernel" not in keys and "_cell" not in cell):
            others += keys.values()
            continue
        path = [p for p in re.sub(r"conv_lst_?m_cell[^/]*/$", "", cell).split("/") if p]
        last = path[-1] if path else "conv_lstm"
        if side := SIDE.fullmatch(last):
            last = path[-2] if len(path) > 1 else side["name"]
        layers.setdefault(last, Layer(last, [])).directions.append({"kernel": f"{cell}kernel", **keys})
    return layers, others


def _sizes(checkpoint: Checkpoint, layer: Layer, others: Sequence[str]) -> Sizes:
    """The arrays of the layer, their shapes agreeing with one another, and nothing left over."""
    entries = Entries(checkpoint, "keras")
    mine = {key for direction in layer.directions for key in direction.values()}
    entries.left = {k: v for k, v in entries.left.items() if k in mine or k in others}
    rank = next((v.dim() for k, v in entries.left.items() if k in mine and v.dim() > 2), 4)
    kernels = [direction.get(role, "") for direction in layer.directions for role in ROLES[:2]]
    recurrent = entries.shape(kernels[1::2], rank)
    *kernel, _, rows = entries.shape(kernels, rank)
    filters = recurrent[-2] or (rows and rows // 4)
    rows = 4 * filters if filters else None
    bias = any("bias" in direction for direction in layer.directions)
    inputs = entries.shape(kernels[::2], rank)[-2]
    arrays = []
    for direction in layer.directions:
        path = direction["kernel"].removesuffix(":0").removesuffix("kernel")
        shapes = {"kernel": (*kernel, inputs, rows), "recurrent_kernel": (*kernel, filters, rows)}
        shapes |= {"bias": (rows,)} if bias else {}
        arrays.append({role: entries.take(direction.get(role, path + role), s) for role, s in shapes.items()})
    if others:
        entries.fault(
            "beside the recurrent layer",
            f"{some(others)}, of layers that are not converted: pass layer={layer.name!r} to take it alone",
        )
        entries.left = {}
    entries.done()
    shape = arrays[0]["kernel"].shape
    return Sizes(tuple(shape[:-2]), shape[-2], shape[-1] // 4, bias, arrays)


def _ours(role: str, value: Tensor) -> Tensor:
    """Kernels ``(k…, in, out)`` as ``(out, in, k…)``; the gates are in our order already."""
    return value.movedim((-1, -2), (0, 1)) if role != "bias" else value


def _layer(sizes: Sizes, how: Settings, dtype: torch.dtype, **args: Any) -> ConvRNNBase:
    ndim = len(sizes.kernel)
    activations: dict[str, Any] = how.activations()
    made = (ACTIVATED if activations else PLAIN)[ndim]
    return made(
        out_channels=sizes.filters, batch_first=True, bidirectional=len(sizes.arrays) == 2, dtype=dtype,
        **activations, **args,
    )  # fmt: skip


def _plain(sizes: Sizes, weights: list[dict[str, Tensor]], how: Settings, dtype: torch.dtype) -> ConvRNNBase:
    state: dict[str, Tensor] = {}
    for end, w in zip(("", "_reverse"), weights, strict=False):
        state |= {f"weight_ih_l0{end}": w["kernel"], f"weight_hh_l0{end}": w["recurrent_kernel"]}
        if sizes.bias:
            state |= {f"bias_ih_l0{end}": w["bias"], f"bias_hh_l0{end}": torch.zeros_like(w["bias"])}
    args = {"in_channels": sizes.in_channels, "kernel_size": sizes.kernel, "bias": sizes.bias}
    return fill(_layer(sizes, how, dtype, **args), state)


def _resizing(sizes: Sizes, weights: list[dict[str, Tensor]], how: Settings, dtype: torch.dtype) -> ResizingConvLSTM:
    one = (1,) * len(sizes.kernel)
    rnn = _layer(
        sizes, how, dtype, in_channels=4 * sizes.filters * len(weights), kernel_size=one,
        hidden_kernel_size=sizes.kernel, bias=False,
    )  # fmt: skip
    module = ResizingConvLSTM(
        rnn, sizes.in_channels, sizes.kernel, padding=how.padding, strides=how.strides,
        dilation_rate=how.dilation_rate, bias=sizes.bias,
    )  # fmt: skip
    state = module.state_dict()
    state["input_conv.weight"] = torch.cat([w["kernel"] for w in weights])
    if sizes.bias:
        state["input_conv.bias"] = torch.cat([w["bias"] for w in weights])
    for end, w in zip(("", "_reverse"), weights, strict=False):
        state[f"rnn.weight_hh_l0{end}"] = w["recurrent_kernel"]
    return fill(module, state)


def export(module: nn.Module, *, name: str | None = None) -> dict[str, Any]:
    """NumPy arrays by variable path, such as ``conv_lstm_cell/kernel``, for a Keras layer built alike.

    Args:
        name: the Keras layer's name, which stands in the paths of a Bidirectional; ``conv_lstm2d`` (or 1d, 3d) by
            default.
    """
    layer: ConvRNNBase | ResizingConvLSTM = expect("keras", module, ConvLSTM, ActivatedConvLSTM, ResizingConvLSTM)
    rnn = layer.rnn if isinstance(layer, ResizingConvLSTM) else layer
    one = (1,) * rnn.ndim
    reasons = unlike(rnn, num_layers=1, stride=one, dilation=one, groups=1, padding_mode="zeros")
    kernels = (layer.input_conv.kernel_size,) if isinstance(layer, ResizingConvLSTM) else tuple(rnn.kernels)
    if kernels != tuple(rnn.hidden_kernels):
        reasons += [f"the kernels {kernels[0]} of the input and {rnn.hidden_kernels[0]} of the state, and it has one"]
    refuse("keras", module, reasons)
    name = name or f"conv_lstm{rnn.ndim}d"
    arrays: dict[str, Tensor] = {}
    for place, end in enumerate(("", "_reverse")[: rnn.num_directions]):
        path = f"{('forward', 'backward')[place]}_{name}/" if rnn.bidirectional else ""
        kernel, recurrent, bias = _parts(layer, place, end)
        arrays[f"{path}conv_lstm_cell/kernel"] = kernel.movedim((0, 1), (-1, -2))
        arrays[f"{path}conv_lstm_cell/recurrent_kernel"] = recurrent.movedim((0, 1), (-1, -2))
        if bias is not None:
            arrays[f"{path}conv_lstm_cell/bias"] = bias
    return {path: value.detach().cpu().contiguous().numpy() for path, value in arrays.items()}


def _parts(module: ConvRNNBase | ResizingConvLSTM, place: int, end: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Kernel, recurrent kernel and bias of one direction, in our axes."""
    if isinstance(module, ResizingConvLSTM):
        weight, bias = module.input_conv.weight, module.input_conv.bias
        parts = [None if p is None else p.chunk(module.rnn.num_directions)[place] for p in (weight, bias)]
        return parts[0], getattr(module.rnn, f"weight_hh_l0{end}"), parts[1]  # type: ignore[return-value]
    own = module.state_dict()
    bias = one_bias(own[f"bias_ih_l0{end}"], own[f"bias_hh_l0{end}"]) if module.bias else None
    return own[f"weight_ih_l0{end}"], own[f"weight_hh_l0{end}"], bias


SOURCE = Source(
    name="keras",
    title="Keras's ConvLSTM1D, 2D and 3D, https://keras.io/api/layers/recurrent_layers/",
    key=r"(?:.*/)?recurrent_kernel(?::0)?",
    ranks=(3, 4, 5),
    knows="a recurrent convolution under a variable path of Keras's",
    load=load,
    options=OPTIONS,
    export=export,
)
