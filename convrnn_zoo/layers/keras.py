"""Layers for options of Keras's ConvLSTM that the core family lacks, such as activations and input-only strides."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _checks as check
from ._base import ConvRNNBase
from .lstm import Conv1dLSTM, Conv2dLSTM, Conv3dLSTM, LSTMEquations

KERAS_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid_keras2": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "hard_sigmoid_keras3": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "relu": torch.relu,
    "linear": lambda x: x,
    "softsign": F.softsign,
}
"""Keras's activations by name. Keras 3 changed the slope of ``hard_sigmoid`` from 1/5 to 1/6."""


class ActivatedConvLSTM(LSTMEquations, ConvRNNBase):
    """A :class:`~convrnn_zoo.layers.ConvLSTM` with other activations.

    `recurrent_activation` replaces the sigmoid of the gates, and `activation` the tanh of candidate and output. Both
    are names in :data:`KERAS_ACTIVATIONS`. All other arguments but `norm` are those of
    :class:`~convrnn_zoo.layers.ConvLSTM`.

    Example:
        >>> rnn = ActivatedConv1dLSTM(2, 3, kernel_size=3, recurrent_activation="hard_sigmoid_keras2")
        >>> output, (h_n, c_n) = rnn(torch.randn(5, 1, 2, 8))
        >>> tuple(output.shape)
        (5, 1, 3, 8)
    """

    options: ClassVar = {
        "activation": tuple(KERAS_ACTIVATIONS),
        "recurrent_activation": ("sigmoid", *(name for name in KERAS_ACTIVATIONS if name != "sigmoid")),
    }
    in_place = None
    activation: str
    recurrent_activation: str

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Computes the equations of ConvLSTM with the two activations."""
        act, gate = KERAS_ACTIVATIONS[self.activation], KERAS_ACTIVATIONS[self.recurrent_activation]
        _, c = state
        i, f, g, o = gates.chunk(4, dim=1)
        c = gate(f) * c + gate(i) * act(g)
        return gate(o) * act(c), c


class ActivatedConv1dLSTM(ActivatedConvLSTM):
    ndim = 1


class ActivatedConv2dLSTM(ActivatedConvLSTM):
    ndim = 2


class ActivatedConv3dLSTM(ActivatedConvLSTM):
    ndim = 3


ACTIVATED = {cls.ndim: cls for cls in ActivatedConvLSTM.__subclasses__()}


class ResizingConvLSTM(nn.Module):
    """A ConvLSTM whose input convolution has a padding, strides or dilation of its own, as in Keras.

    The output map may be smaller than the input map, which no layer of the core family supports. The module applies
    the input convolution, then a layer whose own input convolution is the identity. The outputs equal those of Keras.

    Args:
        rnn: layer without bias, with an input kernel of size 1. Its input channels are the gates of all its directions.
        in_channels, kernel_size: arguments of the input convolution.
        padding: ``"valid"`` or ``"same"``, with the meaning that Keras gives them.
        strides, dilation_rate: arguments of the input convolution, one number for each spatial axis.
        bias: whether the gates have a bias.

    Shapes:
        As `rnn`, but a spatial axis of n pixels becomes ``(n - d (k - 1) - 1) // s + 1`` with ``"valid"`` and
        ``⌈n / s⌉`` with ``"same"``, for kernel size k, stride s and dilation d. States have the size of the output.

    References:
        Keras, ConvLSTM2D. https://keras.io/api/layers/recurrent_layers/conv_lstm2d/

    Example:
        >>> from convrnn_zoo.layers import Conv2dLSTM
        >>> rnn = Conv2dLSTM(12, 3, kernel_size=1, hidden_kernel_size=3, bias=False)  # 12 are the 4 gates of 3 channels
        >>> layer = ResizingConvLSTM(rnn, 2, (3, 3), padding="valid", strides=(2, 2), dilation_rate=(1, 1), bias=True)
        >>> output, (h_n, c_n) = layer(torch.randn(5, 1, 2, 9, 9))
        >>> tuple(output.shape)
        (5, 1, 3, 4, 4)
    """

    def __init__(
        self,
        rnn: ConvRNNBase,
        in_channels: int,
        kernel_size: Sequence[int],
        *,
        padding: str,
        strides: Sequence[int],
        dilation_rate: Sequence[int],
        bias: bool,
    ) -> None:
        super().__init__()
        self.padding, like = check.choice("padding", padding, ("valid", "same")), next(rnn.parameters())
        self.input_conv = getattr(nn, f"Conv{rnn.ndim}d")(
            in_channels,
            rnn.in_channels,
            kernel_size,
            tuple(strides),
            0,
            tuple(dilation_rate),
            bias=bias,
            device=like.device,
            dtype=like.dtype,
        )
        self.rnn = rnn
        rows = torch.eye(rnn.in_channels, device=like.device, dtype=like.dtype).chunk(rnn.num_directions)
        for end, identity in zip(("", "_reverse"), rows, strict=False):
            name = f"weight_ih_l0{end}"
            delattr(rnn, name)  # a buffer, which no optimizer changes
            rnn.register_buffer(name, identity[(...,) + (None,) * rnn.ndim].clone())

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Returns ``(output, (h_n, c_n))``, as :class:`~convrnn_zoo.layers.ConvLSTM` does."""
        if isinstance(input, PackedSequence):
            return self.rnn(input._replace(data=self._gates(input.data)), hx)
        lead = input.dim() - self.rnn.ndim - 1  # time and batch, or only time
        return self.rnn(self._gates(input.flatten(0, lead - 1)).unflatten(0, input.shape[:lead]), hx)

    def _gates(self, x: Tensor) -> Tensor:
        conv = self.input_conv
        if self.padding == "same":
            x = F.pad(x, same_pads(x.shape[2:], conv.kernel_size, conv.stride, conv.dilation))
        return conv(x)


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Returns the padding of Keras's ``padding="same"`` for maps of these sizes, as the argument of ``F.pad``.

    Example:
        >>> same_pads((5, 8), (3, 3), (1, 2), (1, 1))
        [0, 1, 1, 1]
    """
    axes = zip(sizes, kernel, strides, dilation, strict=True)
    missing = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in axes]
    return [p for m in reversed(missing) for p in (m // 2, m - m // 2)]


def keras_conv_lstm(
    in_channels: int,
    filters: int,
    kernel_size: Sequence[int],
    *,
    padding: str = "valid",
    strides: Sequence[int] = (),
    dilation_rate: Sequence[int] = (),
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    use_bias: bool = True,
    bidirectional: bool = False,
    dtype: torch.dtype | None = None,
) -> Any:
    """Returns the batch-first layer that computes a ConvLSTM of Keras.

    It is a :class:`ConvLSTM` if the equations are the same, an :class:`ActivatedConvLSTM` for other activations, and a
    :class:`ResizingConvLSTM` for ``padding="valid"``, strides or dilation. A second bias, which Keras does not have, is
    zero.

    Example:
        >>> keras_conv_lstm(3, 2, (3, 3), padding="same")
        Conv2dLSTM(3, 2, kernel_size=(3, 3), batch_first=True)
    """
    ndim, directions = len(kernel_size), 1 + bidirectional
    one = (1,) * ndim
    geometry: dict[str, Any] = {
        "padding": padding,
        "strides": tuple(strides) or one,
        "dilation_rate": tuple(dilation_rate) or one,
    }
    is_core = set(geometry.values()) == {"same", one}
    args: dict[str, Any] = {"in_channels": in_channels, "kernel_size": tuple(kernel_size), "bias": use_bias}
    if not is_core:
        args = {"in_channels": 4 * filters * directions, "kernel_size": 1, "bias": False}
        args["hidden_kernel_size"] = tuple(kernel_size)
    activations = {"activation": activation, "recurrent_activation": recurrent_activation}
    is_activated = tuple(activations.values()) != ("tanh", "sigmoid")
    classes: Any = ACTIVATED if is_activated else {1: Conv1dLSTM, 2: Conv2dLSTM, 3: Conv3dLSTM}
    rnn = classes[ndim](
        out_channels=filters,
        batch_first=True,
        bidirectional=bidirectional,
        dtype=dtype,
        **args,
        **(activations if is_activated else {}),
    )
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if name.startswith("bias_hh"):
                parameter.zero_()
    return rnn if is_core else ResizingConvLSTM(rnn, in_channels, kernel_size, bias=use_bias, **geometry)


def keras_variables(module: Any) -> list[dict[str, Tensor]]:
    """Returns, for each direction, our parameters ``(out, in, k…)`` by the names of Keras's variables.

    Keras and this package order the gates equally. Our second bias, which Keras does not have, is called ``bias_hh``.
    """
    is_resizing = isinstance(module, ResizingConvLSTM)
    rnn = module.rnn if is_resizing else module
    directions = []
    for i, end in enumerate(("", "_reverse")[: rnn.num_directions]):
        names = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih", "bias_hh": "bias_hh"}
        parameters = {role: getattr(rnn, f"{name}_l0{end}", None) for role, name in names.items()}
        if is_resizing:
            conv = {"kernel": module.input_conv.weight, "bias": module.input_conv.bias}
            parameters |= {role: p if p is None else p.chunk(rnn.num_directions)[i] for role, p in conv.items()}
        directions.append({role: p.detach() for role, p in parameters.items() if p is not None})
    return directions
