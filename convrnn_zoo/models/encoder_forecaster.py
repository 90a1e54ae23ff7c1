"""Encoder–forecasters of Shi et al. 2015, with any layer: ``…_forecaster`` and ``convlstm_shi2015_…``."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks as check
from ..layers import Conv2dGRU, Conv2dLSTM, Conv2dPeepholeLSTM, Conv2dRNN, ConvRNNBase
from ..layers._base import Kernels, Widths
from ..layers._run import Maps
from ..layers._states import LayerStates, check_encoded
from ..layers.variants import Conv2dOneBiasPeepholeLSTM
from .base import FRAME_CFG, EncoderForecaster, Shuffle, Unshuffle, build_model, framewise, register_model, stage


class ConvRNNForecaster(EncoderForecaster):
    """The encoder–forecaster of Shi et al. 2015 with any layer, on patches or after strided convolutions.

    The layers of the encoder read the input frames. Each layer of the forecaster starts from the state of the encoder's
    layer with the same number and runs for `horizon` steps. The first layer reads a constant and the known (static and
    future) inputs. Each later layer reads the output of the previous layer. A 1×1 convolution over the outputs of all
    these layers gives the frames.

    Args:
        layer: class of the layers, such as :class:`~convrnn_zoo.layers.Conv2dLSTM`.
        hidden_channels: channels of the state: one number, or a list with one number per layer.
        kernel_size: input-to-state kernel: an int, a tuple with one int per axis, or a list with one tuple per layer.
        num_layers: number of layers of the encoder; the forecaster has as many.
        hidden_kernel_size: state-to-state kernel, in the same forms; `kernel_size` by default.
        patch_size: edge in pixels of the patches that frames are folded into.
        strides: strides of convolutions before the encoder, and of transposed convolutions after the forecaster; none
            by default.
        stem_channels: channels of the strided convolutions; by default those of the first layer.
        in_chans, horizon, num_classes, out_chans, static_chans, future_chans: as for :class:`~convrnn_zoo.Forecaster`.
        device, dtype: of the parameters.
        **layer_args: options of the layer, such as `bias`, `padding_mode` or `peephole`. `variational_dropout` does not
            drop the constant and known inputs of the forecaster.

    Example:
        >>> from convrnn_zoo.layers import Conv2dGRU
        >>> model = ConvRNNForecaster(Conv2dGRU, hidden_channels=[8, 4], kernel_size=3, strides=(2, 2))
        >>> tuple(model(torch.rand(2, 5, 1, 16, 24), horizon=3).shape)
        (2, 3, 1, 16, 24)
    """

    encoder_modules = ("stem", "encoder")
    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^stem",
        "encoder": r"^encoder\.\w+_l(\d+)",
        "first": r"^first",
        "rest": r"^rest\.\w+_l(\d+)",
        "head": r"^head",
    }

    def __init__(
        self,
        layer: type[ConvRNNBase],
        in_chans: int = 1,
        hidden_channels: Widths = 64,
        kernel_size: Kernels = 5,
        num_layers: int = 2,
        hidden_kernel_size: Kernels | None = None,
        patch_size: int = 1,
        strides: Sequence[int] = (),
        stem_channels: int | None = None,
        horizon: int = 10,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        out_chans: int | None = None,
        static_chans: int = 0,
        future_chans: int = 0,
        **layer_args: Any,
    ) -> None:
        for option in ("bidirectional", "batch_first"):
            if layer_args.get(option):
                raise ValueError(f"{option} must be left out: a forecaster runs forward in time, axis 0 of its layers")
        reduction = check.positive_int("patch_size", patch_size)
        for i, stride in enumerate(strides):
            reduction *= check.positive_int(f"strides[{i}]", stride)
        super().__init__(in_chans, horizon, reduction, num_classes, out_chans, static_chans, future_chans)
        num_layers = check.positive_int("num_layers", num_layers)
        widths = check.widths("hidden_channels", hidden_channels, num_layers)
        kernels = check.kernels("kernel_size", kernel_size, 2, num_layers)
        hidden = kernels
        if hidden_kernel_size is not None:
            hidden = check.kernels("hidden_kernel_size", hidden_kernel_size, 2, num_layers)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        stem = widths[0] if stem_channels is None else check.positive_int("stem_channels", stem_channels)

        down: list[nn.Module] = [Unshuffle(patch_size)]
        up: list[nn.Module] = []
        in_chs, out_chs = (in_chans + self.known_chans) * patch_size**2, sum(widths)
        for stride in strides:  # with a kernel of stride + 2 and padding 1, sizes divide exactly
            down += stage(nn.Conv2d, in_chs, stem, stride + 2, stride, 1, **factory)
            in_chs = stem
        for stride in reversed(strides):
            up += stage(nn.ConvTranspose2d, out_chs, stem, stride + 2, stride, 1, **factory)
            out_chs = stem
        self.num_features = out_chs
        self.stem = nn.Sequential(*down)

        def layers(in_chs: int, first: int, last: int, kernels: list[tuple[int, ...]], **options: Any) -> ConvRNNBase:
            sizes: Any = {"num_layers": last - first}
            if hidden_kernel_size is not None or not layer.is_linear:
                sizes["hidden_kernel_size"] = hidden[first:last]
            return layer(in_chs, widths[first:last], kernels, **sizes, **factory, **options)

        self.encoder = layers(in_chs, 0, num_layers, kernels, **layer_args)
        layer_args.pop("learn_initial_state", None)  # the forecaster starts from the encoder's last state
        single = {key: value for key, value in layer_args.items() if key != "dropout"}  # dropout acts between layers
        first_args = {**single, "bias": False}
        if "variational_dropout" in single:  # the first layer reads a constant in place of a bias
            first_args["variational_dropout"] = (0.0, self.encoder.variational_dropout[1])
        self.first = layers(1 + self.known_chans * reduction**2, 0, 1, [(1, 1)], **first_args)
        self.rest = None
        if num_layers > 1:
            options = layer_args if num_layers > 2 else single
            self.rest = layers(widths[0], 1, num_layers, kernels[1:], **options)
        up += [nn.Conv2d(out_chs, self.out_chans * patch_size**2, 1, **factory), Shuffle(patch_size)]
        self.head = nn.Sequential(*up)

    def encode(self, x: Tensor, state: Any = None, known: Tensor | None = None) -> Any:
        return self.encoder(framewise(self.stem, self.join_known(x, known).transpose(0, 1)), state)[1]

    def decode_sequence(self, state: Any, horizon: int, known: Tensor | None = None) -> tuple[Tensor, Any]:
        states = state if isinstance(state, LayerStates) else self._check_state(state)
        y, new = self.first(self.first_input(states[0][0], horizon, known), LayerStates(states[:1]))
        outputs = [y]
        if self.rest is not None:
            if self.encoder.dropout:
                y = F.dropout(y, self.encoder.dropout, self.training)
            others, last = self.rest.forward_layers(y, LayerStates(states[1:]))
            outputs += others
            new = LayerStates([*new, *last])
        return framewise(self.head, torch.cat(outputs, dim=2)).transpose(0, 1), new

    def _check_state(self, state: Any) -> list[Maps]:
        """Returns the states of each layer; raises ValueError unless they are those that :meth:`encode` returns."""
        names = len(self.encoder.states)
        parts = state if names > 1 else (state,)  # for each of h and c, one tensor per layer
        several = isinstance(parts, (tuple, list)) and all(isinstance(part, (tuple, list)) for part in parts)
        is_valid = several and [len(part) for part in parts] == [self.encoder.num_layers] * names
        check_encoded(type(self).__name__, state, is_valid)
        return self.encoder._unpack_state(state, parts[0][0], None, False)


@register_model(cfg=FRAME_CFG)
def convgru_forecaster(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """An encoder–forecaster of Conv2dGRU layers of any widths and kernels, on patches or strided convolutions.

    Maps frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``; height and width are multiples of the product of
    `patch_size` and all `strides`. Shi et al. 2015, section 3.3, https://arxiv.org/abs/1506.04214.
    """
    return build_model(partial(ConvRNNForecaster, Conv2dGRU, patch_size=4), "convgru_forecaster", pretrained, **kwargs)


@register_model(cfg=FRAME_CFG)
def convlstm_forecaster(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """:func:`convgru_forecaster` with Conv2dLSTM layers; Shi et al. 2015, https://arxiv.org/abs/1506.04214."""
    return build_model(
        partial(ConvRNNForecaster, Conv2dLSTM, patch_size=4), "convlstm_forecaster", pretrained, **kwargs
    )


@register_model(cfg=FRAME_CFG)
def convpeepholelstm_forecaster(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """:func:`convgru_forecaster` with Conv2dPeepholeLSTM layers; Shi et al. 2015, https://arxiv.org/abs/1506.04214."""
    return build_model(
        partial(ConvRNNForecaster, Conv2dPeepholeLSTM, patch_size=4),
        "convpeepholelstm_forecaster",
        pretrained,
        **kwargs,
    )


@register_model(cfg=FRAME_CFG)
def convrnn_forecaster(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """:func:`convgru_forecaster` with Conv2dRNN layers; Shi et al. 2015, https://arxiv.org/abs/1506.04214."""
    return build_model(partial(ConvRNNForecaster, Conv2dRNN, patch_size=4), "convrnn_forecaster", pretrained, **kwargs)


# ---- the networks of Shi et al. 2015 ---------------------------------------------------------------------------
_9x9 = {"kernel_size": 9, "hidden_kernel_size": 1}


def _shi2015(name: str, pretrained: bool, kwargs: dict[str, Any], **sizes: Any) -> ConvRNNForecaster:
    """Builds a network of Shi et al. 2015 with one bias per gate and one peephole weight per channel."""
    options = {"num_layers": len(sizes["hidden_channels"]), "patch_size": 4, "peephole": "channel", **sizes}
    return build_model(partial(ConvRNNForecaster, Conv2dOneBiasPeepholeLSTM, **options), name, pretrained, **kwargs)


@register_model(cfg=FRAME_CFG)
def convlstm_shi2015_mnist_5x5_256(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """The encoder–forecaster of Shi et al. 2015, table 1, Moving MNIST, 5x5-256: 13,524,496 parameters.

    ConvLSTM layers on patches of 4×4 pixels, with one peephole weight per channel. The name states the input-to-state
    kernel and the channels of each layer. The state-to-state kernel is 5×5, or 1×1 if the input-to-state kernel is 9×9.
    Inputs are those of :func:`convgru_forecaster`; the outputs are logits for the paper's cross-entropy.
    https://arxiv.org/abs/1506.04214. Published, 10 input and 10 forecast frames: cross-entropy 3887.94 per sequence.
    """
    return _shi2015("convlstm_shi2015_mnist_5x5_256", pretrained, kwargs, hidden_channels=[256])


@register_model(cfg=FRAME_CFG)
def convlstm_shi2015_mnist_5x5_128_128(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """Variant 5x5-128-128 of :func:`convlstm_shi2015_mnist_5x5_256` (Shi et al. 2015, table 1): 10,042,896 parameters.

    https://arxiv.org/abs/1506.04214. Published, 10 input and 10 forecast frames: cross-entropy 3733.56 per sequence.
    """
    return _shi2015("convlstm_shi2015_mnist_5x5_128_128", pretrained, kwargs, hidden_channels=[128, 128])


@register_model(cfg=FRAME_CFG)
def convlstm_shi2015_mnist_5x5_128_64_64(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """Variant 5x5-128-64-64 of :func:`convlstm_shi2015_mnist_5x5_256` (Shi et al. 2015, table 1): 7,585,296 parameters.

    https://arxiv.org/abs/1506.04214. Published, 10 input and 10 forecast frames: cross-entropy 3670.85 per sequence.
    """
    return _shi2015("convlstm_shi2015_mnist_5x5_128_64_64", pretrained, kwargs, hidden_channels=[128, 64, 64])


@register_model(cfg=FRAME_CFG)
def convlstm_shi2015_mnist_9x9_128_128(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """Variant 9x9-128-128 of :func:`convlstm_shi2015_mnist_5x5_256` (Shi et al. 2015, table 1): 11,550,224 parameters.

    https://arxiv.org/abs/1506.04214. Published, 10 input and 10 forecast frames: cross-entropy 4782.84 per sequence.
    """
    return _shi2015("convlstm_shi2015_mnist_9x9_128_128", pretrained, kwargs, hidden_channels=[128, 128], **_9x9)


@register_model(cfg=FRAME_CFG)
def convlstm_shi2015_mnist_9x9_128_64_64(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """Variant 9x9-128-64-64 of :func:`convlstm_shi2015_mnist_5x5_256` (Shi et al. 2015, table 1): 8,830,480 parameters.

    https://arxiv.org/abs/1506.04214. Published, 10 input and 10 forecast frames: cross-entropy 4231.50 per sequence.
    """
    return _shi2015("convlstm_shi2015_mnist_9x9_128_64_64", pretrained, kwargs, hidden_channels=[128, 64, 64], **_9x9)


@register_model(cfg={**FRAME_CFG, "input_size": (1, 100, 100)})
def convlstm_shi2015_radar(pretrained: bool = False, **kwargs: Any) -> ConvRNNForecaster:
    """Shi et al. 2015, table 2, radar echoes over Hong Kong, 3x3-64-3x3-64: 896,260 parameters.

    Like :func:`convlstm_shi2015_mnist_5x5_256`, but with 3×3 kernels, patches of 2×2 pixels and a horizon of 15.
    https://arxiv.org/abs/1506.04214. Published, 5 input and 15 forecast frames at intervals of 6 minutes: Rainfall-MSE
    1.420, CSI .577, FAR .195, POD .660, correlation .908.
    """
    sizes: Any = {"hidden_channels": [64, 64], "kernel_size": 3, "patch_size": 2, "horizon": 15}
    return _shi2015("convlstm_shi2015_radar", pretrained, kwargs, **sizes)
