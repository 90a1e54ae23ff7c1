"""Robust Video Matting and its recurrent decoder: ConvGRUs on half of the channels at every scale."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks as check
from ..layers._states import split_levels
from ..layers.variants import Conv2dOneBiasGRU
from .base import (
    FrameEncoder,
    Lengths,
    RecurrentDenseModel,
    build_model,
    constants,
    conv_norm_relu,
    framewise,
    mask_steps,
    reference_tensor,
    register_model,
    with_padding,
    without_padding,
)


class LiteASPP(nn.Module):
    """LR-ASPP of MobileNetV3 (https://arxiv.org/abs/1905.02244): a 1×1 convolution with an attention over channels."""

    def __init__(self, in_chs: int, out_chs: int, **factory: Any) -> None:
        super().__init__()
        self.map = conv_norm_relu(in_chs, out_chs, kernel_size=1, padding=0, bias=False, **factory)
        self.weight = nn.Conv2d(in_chs, out_chs, 1, bias=False, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``map(x) · sigmoid(weight(mean of x over all pixels))``."""
        return self.map(x) * self.weight(F.adaptive_avg_pool2d(x, 1)).sigmoid()


class HalfGRU(nn.Module):
    """A ConvGRU on the second half of the channels; the first half is not changed."""

    def __init__(self, width: int, **factory: Any) -> None:
        super().__init__()
        half = width // 2
        self.rnn = Conv2dOneBiasGRU(half, half, 3, batch_first=True, **factory)

    def forward(self, x: Tensor, hx: Tensor | None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns clips of the same shape as `x` ``(N, T, C, H, W)``, and the state after them."""
        still, moving = x.chunk(2, dim=2)
        inputs, mask = without_padding(moving, lengths)
        y, state = self.rnn(inputs, hx, mask=mask)
        return torch.cat([still, with_padding(y, x)], dim=2), state


def upsample_join(join: nn.Module, y: Tensor, *maps: Tensor) -> Tensor:
    """Upsamples `y` by 2, crops it to the size of the last of `maps`, and applies `join` to the result and `maps`."""
    height, width = maps[-1].shape[-2:]
    y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
    if isinstance(height, torch.SymInt):  # a slice would restrict an exported program to sizes that are cropped
        y = y.index_select(-2, torch.arange(height, device=y.device))
        y = y.index_select(-1, torch.arange(width, device=y.device))
    else:
        y = y[..., :height, :width]
    return join(torch.cat([y, *maps], 1))


class RecurrentDecoderModel(RecurrentDenseModel):
    """An image model of timm on every frame, and a recurrent decoder with an output for every pixel of every frame.

    LR-ASPP reads the encoder's last map. Then a ConvGRU reads half of the channels at each scale: 1/16, 1/8, 1/4 and
    1/2 of the size. Each scale after 1/16 joins the upsampled map of the previous scale, the encoder's map, and the
    frame averaged to that scale. Two convolutions at full size give the features; the encoder has no map of this size.

    Args:
        encoder: an image model of timm whose levels 0, 1, 2 and -1 (dilated) have 1/2, 1/4, 1/8 and 1/16 of the size.
        num_classes: outputs per pixel: 4 for a foreground and its alpha, 1 for a mask, or classes; 0 for features.
        aspp_channels: channels of LR-ASPP.
        widths: channels of the decoder at 1/8, 1/4, 1/2 and full size.
        in_chans, encoder_pretrained, freeze_encoder, chunk_size, device, dtype: see :class:`~convrnn_zoo.VideoModel`.

    Shapes:
        clips ``(N, T, C, H, W)`` or frames ``(N, C, H, W)`` of at least 16×16 to outputs ``(N, T, K, H, W)`` or
        ``(N, K, H, W)``. With `lengths` ``(N,)``, the state is that after each clip's end; features of padding are 0.

    Example:
        >>> model = RecurrentDecoderModel("mobilenetv3_small_100", num_classes=1).eval()
        >>> first, state = model.forward_sequence(torch.rand(1, 2, 3, 64, 64))
        >>> tuple(model(torch.rand(1, 3, 3, 64, 64), state).shape)
        (1, 3, 1, 64, 64)
    """

    unsaved_args = frozenset({"encoder_pretrained"})
    has_frame_encoder = True
    encoder_class: ClassVar[type[FrameEncoder]] = FrameEncoder

    def __init__(
        self,
        encoder: str,
        in_chans: int = 3,
        num_classes: int = 0,
        aspp_channels: int = 128,
        widths: tuple[int, ...] = (80, 40, 32, 16),
        encoder_pretrained: bool = False,
        freeze_encoder: bool = False,
        chunk_size: int = 32,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans)
        sizes = [check.positive_int("aspp_channels", aspp_channels), *check.widths("widths", list(widths), 4)]
        if odd := [size for size in sizes[:4] if size % 2]:
            raise ValueError(f"aspp_channels and the first three widths must be even, got {odd}")
        factory: Any = {"device": device, "dtype": dtype}
        self.encoder = self.encoder_class(
            encoder,
            (0, 1, 2, -1),
            in_chans,
            encoder_pretrained,
            freeze_encoder,
            chunk_size,
            output_stride=16,
            **factory,
        )
        if (ratios := self.encoder.reductions) != [2, 4, 8, 16]:
            got = f"got {ratios} of {encoder}; take one such as mobilenetv3_large_100"
            raise ValueError(f"encoder expected reductions [2, 4, 8, 16] of levels 0, 1, 2 and the last, {got}")
        *skips, top = self.encoder.widths
        self.aspp = LiteASPP(top, sizes[0], **factory)
        inputs = zip(sizes, [*reversed(skips), 0], strict=False)
        self.joins = nn.ModuleList(
            conv_norm_relu(size + skip + in_chans, out_chs, bias=False, **factory)
            for (size, skip), out_chs in zip(inputs, sizes[1:], strict=True)
        )
        self.grus = nn.ModuleList(HalfGRU(size, **factory) for size in sizes[:4])
        self.last = conv_norm_relu(sizes[-1], sizes[-1], bias=False, **factory)
        self.num_features, self.level_widths = sizes[-1], sizes[::-1]
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        scales = [(f"grus.{i}", f"joins.{i}") for i in range(4)]
        return self.encoder.group_matcher([("aspp",), *scales, ("last",)], coarse)

    def run_clips(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Any]]:
        x = mask_steps(x, lengths)  # the encoder also reads the padding
        *skips, top = [m.unflatten(0, x.shape[:2]) for m in self.encoder(x.flatten(0, 1))]
        frames = [x]
        for _ in skips:
            frames.append(framewise(partial(F.avg_pool2d, kernel_size=2, ceil_mode=True), frames[-1]))
        scales = [*zip(reversed(skips), reversed(frames[1:]), strict=True), (x,)]
        y, states, levels = framewise(self.aspp, top), [], []
        for i, (gru, before) in enumerate(zip(self.grus, split_levels(hx, len(self.grus)), strict=True)):
            y, state = gru(y, before, lengths)
            states.append(state)
            levels.append(y)
            if i < len(self.joins):
                y = framewise(partial(upsample_join, self.joins[i]), y, *scales[i])
        if len(self.joins) == len(self.grus):
            levels.append(framewise(self.last, y))
        return levels[::-1], states

    def remove_levels(self) -> None:
        remaining = len(self.level_widths)
        self.grus, self.joins, self.last = self.grus[:remaining], self.joins[: remaining - 1], nn.Sequential()


class MattingEncoder(FrameEncoder):
    """MobileNetV3-Large or ResNet-50 as in the code of Robust Video Matting, on frames with values from 0 to 1.

    MobileNetV3 differs from timm's model in three ways. It normalizes frames by ImageNet's mean and standard deviation.
    It also dilates the first block of the last stage. Its batch norms add 1e-3 to the variance.
    """

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        trunk: Any = self.trunk()[1]
        self.is_mobilenet = hasattr(trunk, "blocks") and hasattr(trunk.blocks[5][0], "conv_dw")
        if not self.is_mobilenet and not self.name.startswith("resnet50"):
            raise ValueError(f"encoder must be resnet50 or a MobileNetV3, got {self.name!r}")
        if not self.is_mobilenet:
            return
        for module in trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3
        first = trunk.blocks[5][0].conv_dw
        first.dilation, first.padding = (2, 2), tuple(k - 1 for k in first.kernel_size)

    def encode(self, frames: Tensor) -> list[Tensor]:
        if not self.is_mobilenet:
            return super().encode(frames)
        channels = [i % 3 for i in range(frames.shape[1])]
        mean, std = (constants([v[i] for i in channels], frames)[:, None, None] for v in (self.mean, self.std))
        return super().encode((frames - mean) / std)


class GuidedFilter(nn.Module):
    r"""Deep guided filter (https://arxiv.org/abs/1803.05619): enlarges an output with the large frame as its guide.

    At every pixel, the large output is a linear function of the large frame. Below, x is the small frame with the mean
    of its channels as a further channel, y is the output for it, and ``*`` is the element-wise product. M is a 3×3
    convolution of each channel, initialized as the mean; f is three 1×1 convolutions:

    .. math::
        A &= f(M(x * y) - M(x) * M(y),\ M(x * x) - M(x) * M(x),\ features) \\
        b &= M(y) - A * M(x)

    A and b are upsampled bilinearly. The large output is ``A * X + b``, where X is the large frame with its mean.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.box_filter = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        nn.init.constant_(self.box_filter.weight, 1 / 9)
        pixelwise: Any = {"kernel_size": 1, "padding": 0, "bias": False}
        first, second = (conv_norm_relu(n, width, **pixelwise) for n in (2 * channels + width, width))
        self.conv = nn.Sequential(*first, *second, nn.Conv2d(width, channels, 1))

    def forward(self, frame: Tensor, small: Tensor, y: Tensor, features: Tensor) -> Tensor:
        """Enlarges the outputs `y` for the `small` frame to the size of `frame`; `features` have the small size."""
        large, x = (torch.cat([f, f.mean(1, keepdim=True)], 1) for f in (frame, small))
        mean_x, mean_y, mean_xy, mean_xx = map(self.box_filter, (x, y, x * y, x * x))
        a = self.conv(torch.cat([mean_xy - mean_x * mean_y, mean_xx - mean_x * mean_x, features], 1))
        b = mean_y - a * mean_x
        a, b = (F.interpolate(m, frame.shape[-2:], mode="bilinear", align_corners=False) for m in (a, b))
        return a * large + b


class RobustVideoMatting(RecurrentDecoderModel):
    """The network of Robust Video Matting: :class:`RecurrentDecoderModel` with the authors' variant of the encoder.

    Frames have values from 0 to 1. The first three outputs of a pixel are the colours of the foreground minus those of
    the frame. The fourth output is the opacity of the foreground, alpha. :meth:`matte` returns foreground and alpha. It
    can run the network on smaller copies of the frames; a :class:`GuidedFilter` then enlarges the outputs.

    Args:
        encoder, **kwargs: as for :class:`RecurrentDecoderModel`.
        refiner: whether the model has a guided filter, which only :meth:`matte` uses.
    """

    encoder_class = MattingEncoder

    def __init__(self, encoder: str, refiner: bool = False, **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        self.refiner = None
        if check.boolean("refiner", refiner):
            self.refiner = GuidedFilter(self.in_chans + 1, self.num_features).to(reference_tensor(self))

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        take = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if prune_head:
            self.refiner = None
        return take

    def matte(
        self, x: Tensor, hx: Any = None, lengths: Lengths | None = None, downsample_ratio: float = 1.0
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Returns ``(foreground, alpha, state)``: colours and opacity of the person, and the state to continue from.

        Args:
            x, hx, lengths: as for :meth:`forward_sequence`.
            downsample_ratio: factor by which frames are resized for the network. The authors advise a longer side of
                256 to 512 pixels, such as a ratio of 0.25 for 1920×1080. The refiner restores the size.

        Raises:
            ValueError: the ratio is not in (0, 1], or is below 1 without a refiner; or `num_classes` is not ``C + 1``.
        """
        outputs = self.in_chans + 1
        if self.num_classes != outputs:
            raise ValueError(f"matte expected num_classes={outputs}, with the alpha, got {self.num_classes}")
        if not 0 < downsample_ratio <= 1:
            raise ValueError(f"downsample_ratio must be above 0 and at most 1, got {downsample_ratio}")
        if downsample_ratio < 1 and self.refiner is None:
            hint = "build the model with refiner=True and weights of one, or resize the frames"
            raise ValueError(f"downsample_ratio={downsample_ratio} needs a refiner; {hint}")
        lengths = self.check_images(x, lengths)
        x = mask_steps(x, lengths)  # the refiner also reads the padding
        if x.dim() == 4:
            foreground, alpha, state = self.matte(x.unsqueeze(1), hx, None, downsample_ratio)
            return foreground.squeeze(1), alpha.squeeze(1), state
        small = x
        if downsample_ratio < 1:
            options: Any = {"mode": "bilinear", "align_corners": False, "recompute_scale_factor": False}
            small = framewise(partial(F.interpolate, scale_factor=downsample_ratio, **options), x)
        features, state = self.forward_sequence(small, hx, lengths)
        y = self.forward_head(features)
        if downsample_ratio < 1 and self.refiner is not None:
            y = framewise(self.refiner, x, small, y, features)
        foreground, alpha = y.split([self.in_chans, 1], 2)
        return (foreground + x).clamp(0, 1), alpha.clamp(0, 1), state


RVM_CFG = {"input_size": (3, 224, 224), "num_classes": 4}


@register_model(cfg=RVM_CFG, small={"aspp_channels": 4, "widths": (4, 4, 4, 4)})
def rvm_mobilenetv3(pretrained: bool = False, **kwargs: Any) -> RobustVideoMatting:
    """Robust Video Matting: foreground and alpha of a person in a video, without a green screen.

    Maps clips ``(N, T, 3, H, W)`` to ``(N, T, 4, H, W)``. The values of clips are from 0 to 1, and
    :class:`~convrnn_zoo.models.rvm.RobustVideoMatting` describes the outputs. Lin et al. 2022,
    https://arxiv.org/abs/2108.11515. 3,747,808 parameters without the guided filter and the authors' segmentation head.
    """
    return build_model(partial(RobustVideoMatting, "mobilenetv3_large_100"), "rvm_mobilenetv3", pretrained, **kwargs)


@register_model(cfg=RVM_CFG, small={"aspp_channels": 4, "widths": (4, 4, 4, 4)})
def rvm_resnet50(pretrained: bool = False, **kwargs: Any) -> RobustVideoMatting:
    """Robust Video Matting with ResNet-50, otherwise as :func:`rvm_mobilenetv3`; 26,889,636 parameters.

    Lin et al. 2022, https://arxiv.org/abs/2108.11515.
    """
    return build_model(
        partial(RobustVideoMatting, "resnet50", aspp_channels=256, widths=(128, 64, 32, 16)),
        "rvm_resnet50",
        pretrained,
        **kwargs,
    )
