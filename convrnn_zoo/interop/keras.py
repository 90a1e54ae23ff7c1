"""ConvLSTM1D, 2D and 3D of Keras, alone or in Bidirectional: channels last, gates i, f, c, o, one bias.

https://keras.io/api/layers/recurrent_layers/conv_lstm2d/
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..layers import KINDS, ConvLSTM, ConvRNNBase
from ._checkpoint import ForeignCheckpoint
from ._entries import expect, one_bias, refuse, unlike
from ._keras_arrays import take_layer
from ._keras_config import OPTIONS, settings
from ._keras_layers import ACTIVATED, ActivatedConvLSTM, ResizingConvLSTM
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
    ndim, directions = len(sizes.kernel), len(sizes.arrays)
    how = settings(checkpoint, sizes.name, ndim, directions == 2, given)
    plain = how.padding == "same" and set(how.strides + how.dilation_rate) == {1}
    args: dict[str, Any] = {"in_channels": sizes.in_channels, "kernel_size": sizes.kernel, "bias": sizes.bias}
    if not plain:
        rows = 4 * sizes.filters * directions
        args = {"in_channels": rows, "kernel_size": 1, "hidden_kernel_size": sizes.kernel, "bias": False}
    rnn = (ACTIVATED if how.activations else KINDS["convlstm"])[ndim](
        out_channels=sizes.filters, batch_first=True, bidirectional=directions == 2, dtype=sizes.dtype,
        **args, **how.activations,
    )  # fmt: skip
    made: Any = rnn if plain else ResizingConvLSTM(
        rnn, sizes.in_channels, sizes.kernel, padding=how.padding, strides=how.strides,
        dilation_rate=how.dilation_rate, bias=sizes.bias,
    )  # fmt: skip
    for ours, theirs in zip(_variables(made), sizes.arrays, strict=True):
        for role, value in theirs.items():
            ours[role].copy_(value.movedim((-1, -2), (0, 1)) if role != "bias" else value)
        if "zero" in ours:
            ours["zero"].zero_()
    return made


def _variables(module: Any) -> list[dict[str, Tensor]]:
    """Keras's variables of each direction as they lie in our parameters, ``(out, in, k…)``; gates are in one order.

    Where a gate has our two biases, the second stands beside as ``zero``.
    """
    resizing = isinstance(module, ResizingConvLSTM)
    rnn = module.rnn if resizing else module
    found = []
    for place, end in enumerate(("", "_reverse")[: rnn.num_directions]):
        names = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih", "zero": "bias_hh"}
        ours = {role: getattr(rnn, f"{name}_l0{end}", None) for role, name in names.items()}
        if resizing:
            conv = {"kernel": module.input_conv.weight, "bias": module.input_conv.bias}
            ours |= {role: p if p is None else p.chunk(rnn.num_directions)[place] for role, p in conv.items()}
        found.append({role: p.detach() for role, p in ours.items() if p is not None})
    return found


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
    arrays: dict[str, Any] = {}
    for side, ours in zip(("forward", "backward"), _variables(layer), strict=False):
        path = f"{side}_{name}/conv_lstm_cell" if rnn.bidirectional else "conv_lstm_cell"
        if "zero" in ours:
            ours["bias"] = one_bias(ours["bias"], ours.pop("zero"))
        for role, value in ours.items():
            value = value.movedim((0, 1), (-1, -2)) if role != "bias" else value
            arrays[f"{path}/{role}"] = value.cpu().clone(memory_format=torch.contiguous_format).numpy()
    return arrays


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
