"""The recurrent baselines of U-TAE for series of satellite images."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ..layers import ConvRNNBase
from ..layers import _checks as check
from ..layers.variants import Conv2dOneBiasGRU, Conv2dOneBiasLSTM
from ..pretrained.builder import build_model
from ..pretrained.registry import register_model
from .base.blocks import on_device
from .base.dense import DenseModel
from .base.lengths import Lengths, check_lengths, in_graph, pack, valid_steps


class PackedSeries(NamedTuple):
    """The dates of series without padding, as in a PackedSequence."""

    packing: PackedSequence

    def last_state(self, rnn: ConvRNNBase, dates: Tensor) -> Any:
        """Returns the state of a layer after the last date of each series."""
        return rnn(PackedSequence(dates, *self.packing[1:]))[1]

    def mean(self, dates: Tensor) -> Tensor:
        """Returns the mean of the dates of each series; unlike torch's unpacking, it works on the meta device."""
        _, sizes, _, order = self.packing
        series = int(sizes[0])  # number of series; the longest are first
        padded = [F.pad(part, (*(0, 0) * 3, 0, series - len(part))) for part in dates.split(sizes.tolist())]
        lengths = (sizes.unsqueeze(1) > torch.arange(series, device=sizes.device)).sum(0)
        mean = sum(padded[1:], padded[0]) / lengths.to(dates).reshape(-1, 1, 1, 1)
        return mean if order is None else mean[order]


class MaskedSeries(NamedTuple):
    """All dates of series with a mask, for graphs, in which no size may depend on the number of dates."""

    mask: Tensor
    """Booleans ``(N, T)``."""

    def last_state(self, rnn: ConvRNNBase, dates: Tensor) -> Any:
        """Returns the state of a layer, which does not change at missing dates."""
        return rnn.forward_layers(dates.unflatten(0, self.mask.shape), mask=self.mask)[1]

    def mean(self, dates: Tensor) -> Tensor:
        """Returns the mean of the dates of each series."""
        series = dates.unflatten(0, self.mask.shape)
        there = valid_steps(series, self.mask)
        return torch.where(there, series, 0).sum(1) / there.to(series.dtype).sum(1)


Series = PackedSeries | MaskedSeries


class ImageSeriesModel(DenseModel):
    """Base class of models from image series ``(N, T, C, H, W)`` to the logits of each pixel, ``(N, K, H, W)``.

    A subclass defines ``make_head`` and ``forward_dates``, from all dates ``(B, C, H, W)`` and a :data:`Series`, which
    assigns them to series, to features ``(N, F, H, W)``.

    Args:
        in_chans: channels of an image.
        num_features: channels of the features.
        reduction: height and width must be multiples of it.
    """

    export_inputs = ("lengths", "mask")

    def __init__(self, in_chans: int, num_features: int, reduction: int = 1) -> None:
        super().__init__()
        self.in_chans = check.positive_int("in_chans", in_chans)
        self.num_features = num_features
        self.reduction = reduction

    def forward(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns logits ``(N, K, H, W)``, or features without classes.

        Args:
            x: ``(N, T, C, H, W)``, or one date each ``(N, C, H, W)``.
            lengths: number of dates of each series, if missing dates are at its end.
            mask: booleans ``(N, T)``, false for missing dates.

        Raises:
            ValueError: images, lengths or mask of another shape, a series without a date, or both lengths and mask.
        """
        return self.forward_head(self.forward_features(x, lengths, mask))

    def forward_features(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns features ``(N, F, H, W)``; missing dates are not read."""
        x = self.check_images(x)
        x = x.unsqueeze(1) if x.dim() == 4 else x
        if mask is not None and lengths is not None:
            raise ValueError("lengths and mask both describe the missing dates; pass one of the two")
        is_mask = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == x.shape[:2]
        if mask is not None and not (is_mask and (in_graph() or mask.any(1).all())):
            raise ValueError(
                f"mask must be booleans (N, T) = {tuple(x.shape[:2])}, true at one date of each series at least, got "
                f"{check.describe(mask)}"
            )
        if x.shape[0] == 0:
            return x.new_zeros(0, self.num_features, *x.shape[-2:])
        counts = check_lengths(torch.full(x.shape[:1], x.shape[1]) if lengths is None else lengths, *x.shape[:2])
        if in_graph():
            there = valid_steps(x, counts).flatten(1) if mask is None else mask
            return self.forward_dates(x.flatten(0, 1), MaskedSeries(there))
        if mask is None:
            packed = pack(x, counts)
        else:
            packed = pack_sequence([s[m] for s, m in zip(x, mask, strict=True)], enforce_sorted=False)
        return self.forward_dates(packed.data, PackedSeries(packed))


UNET_GROUPS = 4
"""Groups of the norms of the U-Net's encoder."""


def last_memory(rnn: ConvRNNBase, dates: Tensor, series: Series) -> Tensor:
    """Returns the last state ``(N, F, H, W)`` of the top layer: c of an LSTM, h of a GRU; directions concatenated."""
    state = series.last_state(rnn, dates)
    memory = state[-1] if len(rnn.states) > 1 else state
    top = memory[-1] if isinstance(memory, tuple) else memory[-rnn.num_directions :]
    return torch.cat(list(top), dim=1)


class SeriesRNN(ImageSeriesModel):
    """A recurrent layer over the dates and a 3×3 convolution of its last state.

    Args:
        layer: class of the layer, with one bias per gate.
        in_chans, num_classes: channels of an image, and classes of a pixel.
        hidden_channels: channels of the state, or a list with one number per layer.
        device, dtype: of the parameters.
        **layer_args: options of the layer, such as `num_layers` and `bidirectional`.

    Example:
        >>> model = SeriesRNN(Conv2dOneBiasLSTM, in_chans=4, hidden_channels=6, num_classes=3)
        >>> tuple(model(torch.rand(2, 5, 4, 8, 9), lengths=[5, 3]).shape)
        (2, 3, 8, 9)
    """

    input_weights = ("rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse")

    def __init__(
        self,
        layer: type[ConvRNNBase],
        in_chans: int = 10,
        num_classes: int = 20,
        hidden_channels: int | Sequence[int] = 160,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **layer_args: Any,
    ) -> None:
        check.positive_int("in_chans", in_chans)
        rnn = layer(in_chans, hidden_channels, 3, batch_first=True, device=device, dtype=dtype, **layer_args)
        super().__init__(in_chans, rnn.widths[-1] * rnn.num_directions)
        self.rnn = rnn
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Groups parameters by depth, for layer-wise learning rates."""
        return {"stem": r"^rnn", "blocks": r"^head"}

    def make_head(self, num_classes: int) -> nn.Module:
        """Returns a 3×3 convolution."""
        return nn.Conv2d(self.num_features, num_classes, 3, padding=1)

    def forward_dates(self, dates: Tensor, series: Series) -> Tensor:
        """Returns the last state of each series."""
        return last_memory(self.rnn, dates, series)


def grouped(in_chs: int, out_chs: int, **convolution: Any) -> nn.Sequential:
    """Returns a convolution, a group norm and ReLU."""
    options = {"kernel_size": 3, "padding": 1, **convolution}
    return nn.Sequential(nn.Conv2d(in_chs, out_chs, **options), nn.GroupNorm(UNET_GROUPS, out_chs), nn.ReLU())


def batched(in_chs: int, out_chs: int, kind: type[nn.Module] = nn.Conv2d, **convolution: Any) -> nn.Sequential:
    """Returns a convolution, a batch norm and ReLU."""
    options = {"kernel_size": 3, "padding": 1, **convolution}
    return nn.Sequential(kind(in_chs, out_chs, **options), nn.BatchNorm2d(out_chs), nn.ReLU())


class Residual(nn.Module):
    """A block followed by a residual block."""

    def __init__(self, in_chs: int, out_chs: int) -> None:
        super().__init__()
        self.first, self.second = grouped(in_chs, out_chs), grouped(out_chs, out_chs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``a + second(a)`` with ``a = first(x)``."""
        a = self.first(x)
        return a + self.second(a)


class RecurrentUNet(ImageSeriesModel):
    """A U-Net on every date, a ConvLSTM over the dates of the lowest maps, and means over the dates of the others.

    As in the original, the classifier ends in ReLU, so that no logit is negative.

    Args:
        in_chans, num_classes: channels of an image, and classes of a pixel.
        widths: channels of the encoder's maps, the highest resolution first.
        up_widths: channels of the decoder's maps.
        hidden_channels: channels of the ConvLSTM's state.
        bidirectional: whether the ConvLSTM also reads the dates backward.
        device, dtype: of the parameters.

    Example:
        >>> model = RecurrentUNet(3, 5, widths=(8, 8), up_widths=(8, 8), hidden_channels=4, bidirectional=True)
        >>> tuple(model(torch.rand(2, 4, 3, 8, 8), mask=torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()).shape)
        (2, 5, 8, 8)
    """

    def __init__(
        self,
        in_chans: int = 10,
        num_classes: int = 20,
        widths: Sequence[int] = (64, 64, 64, 128),
        up_widths: Sequence[int] = (32, 32, 64, 128),
        hidden_channels: int = 64,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        down = check.widths("widths", list(widths), len(widths))
        up = check.widths("up_widths", list(up_widths), len(down))
        super().__init__(in_chans, up[0], 2 ** (len(down) - 1))
        strided: Any = {"kernel_size": 4, "stride": 2, "padding": 1}
        with on_device(device):
            self.stem = nn.Sequential(
                grouped(in_chans, down[0], padding_mode="reflect"), grouped(down[0], down[0], padding_mode="reflect")
            )
            self.downs = nn.ModuleList(
                nn.Sequential(grouped(in_chs, in_chs, **strided), Residual(in_chs, out_chs))
                for in_chs, out_chs in pairwise(down)
            )
            self.rnn = Conv2dOneBiasLSTM(down[-1], hidden_channels, 3, batch_first=True, bidirectional=bidirectional)
            self.out = nn.Conv2d(hidden_channels * self.rnn.num_directions, up[-1], 3, padding=1)
            self.ups = nn.ModuleList(
                batched(in_chs, out_chs, nn.ConvTranspose2d, **strided) for out_chs, in_chs in pairwise(up)
            )
            self.skips = nn.ModuleList(batched(width, width, kernel_size=1, padding=0) for width in down[:-1])
            self.joins = nn.ModuleList(
                Residual(out_chs + skip, out_chs) for out_chs, skip in zip(up, down[:-1], strict=False)
            )
            self.neck = batched(up[0], up[0])
        self.to(dtype=dtype)
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups parameters by depth, for layer-wise learning rates: encoder, recurrent layer, decoder."""
        depth = len(self.downs)
        ups = [(rf"^(?:ups|skips|joins)\.{i}\.", (2 * depth - i,)) for i in range(depth)]
        later = [(r"^(?:rnn|out)", (depth,)), *ups, (r"^neck", (2 * depth + 1,))]
        return {"stem": r"^stem", "blocks": [(r"^downs\.(\d+)", None), *later]}

    def make_head(self, num_classes: int) -> nn.Module:
        """Returns a 3×3 convolution with batch norm and ReLU."""
        return batched(self.num_features, num_classes)

    def forward_dates(self, dates: Tensor, series: Series) -> Tensor:
        """Returns the input of the classifier's last convolution."""
        maps = [self.stem(dates)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        y = self.out(last_memory(self.rnn, maps.pop(), series))
        for i in reversed(range(len(self.ups))):
            y = self.joins[i](torch.cat([self.ups[i](y), self.skips[i](series.mean(maps[i]))], dim=1))
        return self.neck(y)


_CFG = {"input_size": (10, 128, 128), "num_classes": 20}
_UNET_CFG = {**_CFG, "first_conv": "stem.0.0", "classifier": "head.0"}


@register_model(cfg=_CFG)
def utae_convlstm(pretrained: bool = False, **kwargs: Any) -> SeriesRNN:
    """A ConvLSTM over the dates.

    Image series ``(N, T, C, H, W)``, with `lengths` or a `mask` of the dates, to the logits of each pixel
    ``(N, K, H, W)``. A baseline of Garnot and Landrieu (2021), Panoptic Segmentation of Satellite Image Time Series
    with Convolutional Temporal Attention Networks, https://arxiv.org/abs/2107.07933. Their code also runs the recurrent
    layer over missing dates; here they are not read.

    Args:
        in_chans (10), hidden_channels (160), num_classes (20).
    """
    constructor = partial(SeriesRNN, Conv2dOneBiasLSTM, hidden_channels=160)
    return build_model(constructor, "utae_convlstm", pretrained, **kwargs)


@register_model(cfg=_CFG)
def utae_convgru(pretrained: bool = False, **kwargs: Any) -> SeriesRNN:
    """A ConvGRU with 180 channels over the dates; otherwise as :func:`utae_convlstm`."""
    constructor = partial(SeriesRNN, Conv2dOneBiasGRU, hidden_channels=180, reset_after=False)
    return build_model(constructor, "utae_convgru", pretrained, **kwargs)


@register_model(cfg=_UNET_CFG)
def utae_uconvlstm(pretrained: bool = False, **kwargs: Any) -> RecurrentUNet:
    """A U-Net with a ConvLSTM at its bottom; as :func:`utae_convlstm`.

    Args:
        in_chans (10), hidden_channels (64), widths, up_widths, num_classes (20).
    """
    return build_model(RecurrentUNet, "utae_uconvlstm", pretrained, **kwargs)


@register_model(cfg=_UNET_CFG)
def utae_buconvlstm(pretrained: bool = False, **kwargs: Any) -> RecurrentUNet:
    """A U-Net with a bidirectional ConvLSTM of 30 at its bottom; as :func:`utae_uconvlstm`.

    The authors' configuration of this name builds one direction, 1,209,508 parameters; this one builds both, as
    intended.
    """
    constructor = partial(RecurrentUNet, hidden_channels=30, bidirectional=True)
    return build_model(constructor, "utae_buconvlstm", pretrained, **kwargs)
