"""ConvLSTM1D, 2D and 3D of Keras, alone or in Bidirectional: channels last, gates i, f, c, o, one bias.

https://keras.io/api/layers/recurrent_layers/conv_lstm2d/
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvLSTM, ConvRNNBase
from ._checkpoint import ForeignCheckpoint
from ._entries import expect, fill, one_bias, refuse, unlike
from ._keras_arrays import Sizes, take_layer
from ._keras_config import OPTIONS, Settings, settings
from ._keras_layers import ACTIVATED, PLAIN, ActivatedConvLSTM, ResizingConvLSTM
from ._source import Source


def load(checkpoint: ForeignCheckpoint, *, layer: str | None = None, **given: Any) -> nn.Module:
    """A ConvLSTM layer, or Bidirectional around one, as a batch-first ConvLSTM of ours with channels first.

    A ``.keras`` and a whole model's ``.h5`` say how their layers were built. Arrays alone do not: there `padding`
    and `recurrent_activation` must be given, and the rest is Keras's default unless given; see :data:`KERAS`.
    What is given goes before what the file says.

    The layer is :class:`~convrnn_zoo.layers.Conv2dLSTM` (or 1d, 3d) where that can say the same; with other
    activations an :class:`ActivatedConvLSTM`; with ``padding="valid"``, strides or dilation, which in Keras the input's
    convolution alone has, a :class:`ResizingConvLSTM`. Dropout and regularizers act in training and are left out.

    Args:
        layer: the layer's name, where the file has several, or other layers with weights beside it.
    """
    sizes = take_layer(checkpoint, layer)
    how = settings(checkpoint, sizes.name, len(sizes.kernel), len(sizes.arrays) == 2, given)
    weights = [{role: _ours(role, v) for role, v in direction.items()} for direction in sizes.arrays]
    plain = how.padding == "same" and set(how.strides + how.dilation_rate) == {1}
    return (_plain if plain else _resizing)(sizes, weights, how)


def _ours(role: str, value: Tensor) -> Tensor:
    """Kernels ``(k…, in, out)`` as ``(out, in, k…)``; the gates are in our order already."""
    return value.movedim((-1, -2), (0, 1)) if role != "bias" else value


def _layer(sizes: Sizes, how: Settings, **args: Any) -> ConvRNNBase:
    ndim = len(sizes.kernel)
    activations: dict[str, Any] = how.activations()
    made = (ACTIVATED if activations else PLAIN)[ndim]
    return made(
        out_channels=sizes.filters, batch_first=True, bidirectional=len(sizes.arrays) == 2, dtype=sizes.dtype,
        **activations, **args,
    )  # fmt: skip


def _plain(sizes: Sizes, weights: list[dict[str, Tensor]], how: Settings) -> ConvRNNBase:
    state: dict[str, Tensor] = {}
    for end, w in zip(("", "_reverse"), weights, strict=False):
        state |= {f"weight_ih_l0{end}": w["kernel"], f"weight_hh_l0{end}": w["recurrent_kernel"]}
        if sizes.bias:
            state |= {f"bias_ih_l0{end}": w["bias"], f"bias_hh_l0{end}": torch.zeros_like(w["bias"])}
    args = {"in_channels": sizes.in_channels, "kernel_size": sizes.kernel, "bias": sizes.bias}
    return fill(_layer(sizes, how, **args), state)


def _resizing(sizes: Sizes, weights: list[dict[str, Tensor]], how: Settings) -> ResizingConvLSTM:
    one = (1,) * len(sizes.kernel)
    rnn = _layer(
        sizes, how, in_channels=4 * sizes.filters * len(weights), kernel_size=one,
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
    state = module.state_dict()
    bias = one_bias(state[f"bias_ih_l0{end}"], state[f"bias_hh_l0{end}"]) if module.bias else None
    return state[f"weight_ih_l0{end}"], state[f"weight_hh_l0{end}"], bias


KERAS = Source(
    name="keras",
    title="Keras's ConvLSTM1D, 2D and 3D, https://keras.io/api/layers/recurrent_layers/",
    key=r"(?:.*/)?recurrent_kernel(?::0)?",
    ranks=(3, 4, 5),
    knows="a recurrent convolution under a variable path of Keras's",
    load=load,
    options=OPTIONS,
    export=export,
)
