"""The recurrent baselines of U-TAE for series of satellite images."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from .. import _checks as check
from ..layers import ConvRNNBase
from ..layers._run import is_traced
from ..layers.variants import Conv2dOneBiasGRU, Conv2dOneBiasLSTM
from .base import (
    DenseModel,
    Lengths,
    build_model,
    conv_norm_relu,
    map_frames,
    mask_steps,
    pack,
    register_model,
    step_mask,
    unpack,
    valid_steps,
)

Dates = Tensor | PackedSequence
"""Dates of several series: a PackedSequence without missing dates, or dates ``(N, T, …)`` and, in a graph, a mask."""


def mean_of_dates(dates: Dates, mask: Tensor | None) -> Tensor:
    """Returns the mean map ``(N, F, H, W)`` of each series over the dates that are not missing."""
    if isinstance(dates, PackedSequence):
        dates, mask = unpack(dates)
    if mask is None:
        return dates.sum(1) / dates.shape[1]
    valid = valid_steps(dates, mask)
    return torch.where(valid, dates, 0).sum(1) / valid.to(dates.dtype).sum(1)


def last_memory(rnn: ConvRNNBase, dates: Dates, mask: Tensor | None) -> Tensor:
    """Returns the top layer's last c (LSTM) or h (GRU) ``(N, F, H, W)``, concatenated over the directions."""
    _, state = rnn(dates, mask=mask)
    memory = state[-1] if len(rnn.states) > 1 else state
    top = memory[-1] if isinstance(memory, tuple) else memory[-rnn.num_directions :]
    return torch.cat(list(top), dim=1)


class ImageSeriesModel(DenseModel):
    """Base class of models that map image series ``(N, T, C, H, W)`` to logits of each pixel ``(N, K, H, W)``.

    A subclass defines :meth:`forward_dates` and what :class:`~convrnn_zoo.models.base.dense.DenseModel` requires.
    """

    def forward(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> Tensor:
        """Returns logits ``(N, K, H, W)``, or features ``(N, F, H, W)`` if `num_classes` is 0.

        Args:
            x: image series ``(N, T, C, H, W)``, or one date per series ``(N, C, H, W)``.
            lengths: number of dates of each series, for series that are padded at the end.
            mask: booleans ``(N, T)``, false for missing dates. Pass either `mask` or `lengths`.

        Raises:
            ValueError: images, lengths or mask have a wrong shape; a series has no date; or both lengths and mask are
                passed.
        """
        return self.forward_head(self.forward_features(x, lengths, mask))

    def forward_levels(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> list[Tensor]:
        lengths = self.check_images(x, lengths)
        x = x.unsqueeze(1) if x.dim() == 4 else x
        if mask is not None and lengths is not None:
            raise ValueError("lengths and mask both describe the missing dates; pass one of the two")
        is_mask = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == x.shape[:2]
        if mask is not None and not is_mask:
            raise ValueError(f"mask must be booleans (N, T) = {tuple(x.shape[:2])}, got {check.describe(mask)}")
        if mask is not None and not is_traced() and not mask.any(1).all():
            raise ValueError(f"series {int(mask.any(1).int().argmin())} has no date in its mask; leave it out")
        if x.shape[0] == 0:
            sizes = [
                (level["num_chs"], *(n // level["reduction"] for n in x.shape[-2:])) for level in self.feature_info
            ]
            return [x.new_zeros(0, *size) for size in sizes]
        if mask is None and lengths is None:
            return self.forward_dates(x, None)
        if is_traced():
            known = step_mask(x, lengths) if mask is None else mask  # type: ignore[arg-type]
            return self.forward_dates(mask_steps(x, known), known)
        if mask is None:
            return self.forward_dates(pack(x, lengths), None)  # type: ignore[arg-type]
        dates = pack_sequence([s[m] for s, m in zip(x, mask, strict=True)], enforce_sorted=False)
        return self.forward_dates(dates, None)

    def forward_dates(self, dates: Dates, mask: Tensor | None) -> list[Tensor]:
        """Returns the maps of the series, those of :meth:`forward_levels`.

        `mask` ``(N, T)`` is false for missing dates while torch compiles or exports, and None if there are none.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward_dates")


class SeriesRNN(ImageSeriesModel):
    """A recurrent layer over the dates, and a 3×3 convolution that maps its last state to the logits of each pixel."""

    fixed_args = ("kernel_size",)
    input_weights = ("rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse")
    group_patterns: ClassVar[dict[str, Any]] = {"stem": r"^rnn", "blocks": r"^head"}

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
        super().__init__(in_chans)
        self.rnn = layer(in_chans, hidden_channels, 3, batch_first=True, device=device, dtype=dtype, **layer_args)
        self.num_features = self.rnn.widths[-1] * self.rnn.num_directions
        self.reset_classifier(num_classes)

    def make_head(self, num_classes: int) -> nn.Module:
        return nn.Conv2d(self.num_features, num_classes, 3, padding=1)

    def forward_dates(self, dates: Dates, mask: Tensor | None) -> list[Tensor]:
        return [last_memory(self.rnn, dates, mask)]


UNET_GROUPS = 4
"""Number of groups of the group norms in the U-Net's encoder and in :class:`Residual`."""


class Residual(nn.Module):
    """Two blocks of a 3×3 convolution, a group norm and ReLU; the second one has a residual connection."""

    def __init__(self, in_chs: int, out_chs: int, **factory: Any) -> None:
        super().__init__()
        self.first = conv_norm_relu(in_chs, out_chs, UNET_GROUPS, **factory)
        self.second = conv_norm_relu(out_chs, out_chs, UNET_GROUPS, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.second(x)


class RecurrentUNet(ImageSeriesModel):
    """A U-Net that encodes every date, joins the maps of all dates, and decodes the result.

    A ConvLSTM joins the dates at the lowest resolution. The other resolutions use the mean over the dates. As in the
    original, the classifier ends in ReLU, so that no logit is negative. `widths` and `up_widths` are the channels of
    the encoder's and the decoder's maps, from the highest resolution to the lowest.
    """

    input_weights = ("stem.0.0.weight",)

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
        super().__init__(in_chans)
        down = check.widths("widths", list(widths), len(widths))
        up = check.widths("up_widths", list(up_widths), len(down))
        self.num_features, self.level_widths, self.reduction = up[0], up, 2 ** (len(down) - 1)
        factory: Any = {"device": device, "dtype": dtype}
        strided: Any = {"kernel_size": 4, "stride": 2, "padding": 1, **factory}
        self.stem = nn.Sequential(
            conv_norm_relu(in_chans, down[0], UNET_GROUPS, padding_mode="reflect", **factory),
            conv_norm_relu(down[0], down[0], UNET_GROUPS, padding_mode="reflect", **factory),
        )
        self.downs = nn.ModuleList(
            nn.Sequential(conv_norm_relu(in_chs, in_chs, UNET_GROUPS, **strided), Residual(in_chs, out_chs, **factory))
            for in_chs, out_chs in pairwise(down)
        )
        options: Any = {"batch_first": True, "bidirectional": bidirectional, **factory}
        self.rnn = Conv2dOneBiasLSTM(down[-1], hidden_channels, 3, **options)
        self.out = nn.Conv2d(hidden_channels * self.rnn.num_directions, up[-1], 3, padding=1, **factory)
        self.ups = nn.ModuleList(
            conv_norm_relu(in_chs, out_chs, convolution=nn.ConvTranspose2d, **strided)
            for out_chs, in_chs in pairwise(up)
        )
        pointwise: Any = {"kernel_size": 1, "padding": 0, **factory}
        self.skips = nn.ModuleList(conv_norm_relu(width, width, **pointwise) for width in down[:-1])
        self.joins = nn.ModuleList(Residual(w + skip, w, **factory) for w, skip in zip(up, down[:-1], strict=False))
        self.neck = conv_norm_relu(up[0], up[0], **factory)
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        depth = len(self.downs)
        ups = [(rf"^(?:ups|skips|joins)\.{i}\.", (2 * depth - i,)) for i in range(depth)]
        later = [(r"^(?:rnn|out)", (depth,)), *ups, (r"^neck", (2 * depth + 1,))]
        return {"stem": r"^stem", "blocks": [(r"^downs\.(\d+)", None), *later]}

    def make_head(self, num_classes: int) -> nn.Module:
        return conv_norm_relu(self.num_features, num_classes)

    def forward_dates(self, dates: Dates, mask: Tensor | None) -> list[Tensor]:
        maps = [map_frames(self.stem, dates)]
        for down in self.downs:
            maps.append(map_frames(down, maps[-1]))
        levels = [self.out(last_memory(self.rnn, maps.pop(), mask))]
        for i in reversed(range(self.removed_levels, len(self.ups))):
            skip = self.skips[i](mean_of_dates(maps.pop(), mask))
            levels.append(self.joins[i](torch.cat([self.ups[i](levels[-1]), skip], dim=1)))
        levels[-1] = self.neck(levels[-1])
        return levels[::-1]

    def remove_levels(self) -> None:
        for i in range(self.removed_levels):
            self.ups[i], self.skips[i], self.joins[i] = nn.Identity(), nn.Identity(), nn.Identity()
        self.neck = nn.Sequential()


_CFG = {"input_size": (10, 128, 128), "num_classes": 20}
_UNET_CFG = {**_CFG, "classifier": "head.0"}


@register_model(cfg=_CFG)
def utae_convlstm(pretrained: bool = False, **kwargs: Any) -> SeriesRNN:
    """A ConvLSTM over the dates of a satellite image series.

    Maps image series ``(N, T, C, H, W)`` to the logits of each pixel ``(N, K, H, W)``. `lengths` or a `mask` describe
    missing dates. A baseline of Garnot and Landrieu (2021), https://arxiv.org/abs/2107.07933. Their code also runs the
    recurrent layer over missing dates; this model skips them.
    """
    return build_model(
        partial(SeriesRNN, Conv2dOneBiasLSTM, hidden_channels=160), "utae_convlstm", pretrained, **kwargs
    )


@register_model(cfg=_CFG)
def utae_convgru(pretrained: bool = False, **kwargs: Any) -> SeriesRNN:
    """A ConvGRU with 180 channels over the dates; otherwise as :func:`utae_convlstm`."""
    return build_model(partial(SeriesRNN, Conv2dOneBiasGRU, hidden_channels=180), "utae_convgru", pretrained, **kwargs)


@register_model(cfg=_UNET_CFG, small={"widths": (4, 8), "up_widths": (4, 8), "hidden_channels": 4})
def utae_uconvlstm(pretrained: bool = False, **kwargs: Any) -> RecurrentUNet:
    """A U-Net with a ConvLSTM at its bottom; otherwise as :func:`utae_convlstm`."""
    return build_model(RecurrentUNet, "utae_uconvlstm", pretrained, **kwargs)


@register_model(cfg=_UNET_CFG, small={"widths": (4, 8), "up_widths": (4, 8), "hidden_channels": 4})
def utae_buconvlstm(pretrained: bool = False, **kwargs: Any) -> RecurrentUNet:
    """A U-Net with a 30-channel bidirectional ConvLSTM at its bottom; otherwise as :func:`utae_uconvlstm`.

    The authors' configuration of this name builds a unidirectional ConvLSTM; that model has 1,209,508 parameters.
    This model is bidirectional, as intended.
    """
    return build_model(
        partial(RecurrentUNet, hidden_channels=30, bidirectional=True), "utae_buconvlstm", pretrained, **kwargs
    )
