"""What models of image series share: which dates there are, and a classifier of every pixel."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ...layers import ConvRNNBase
from ...layers import _checks as check
from .dense import DenseModel
from .masked import run_masked
from .sequences import Lengths, check_lengths, in_graph, pack, valid_steps


class PackedSeries(NamedTuple):
    """Dates as torch packs them: those that there are, and no others."""

    packing: PackedSequence

    def last_state(self, rnn: ConvRNNBase, dates: Tensor) -> Any:
        """The state of a layer behind the last date of each series."""
        return rnn(PackedSequence(dates, *self.packing[1:]))[1]

    def mean(self, dates: Tensor) -> Tensor:
        """The mean of the dates of each series; unlike torch's unpacking it needs no values, as on the meta device."""
        _, sizes, _, order = self.packing
        series = int(sizes[0])  # how many have a first date; the longest stand in front
        padded = [F.pad(part, (*(0, 0) * 3, 0, series - len(part))) for part in dates.split(sizes.tolist())]
        lengths = (sizes.unsqueeze(1) > torch.arange(series, device=sizes.device)).sum(0)
        mean = sum(padded[1:], padded[0]) / lengths.to(dates).reshape(-1, 1, 1, 1)
        return mean if order is None else mean[order]


class MaskedSeries(NamedTuple):
    """The same in a graph, in which no size may depend on how many dates there are: all of them, and a mask."""

    mask: Tensor
    """Booleans ``(N, T)``."""

    def last_state(self, rnn: ConvRNNBase, dates: Tensor) -> Any:
        """The state of a layer, which stays as it is where there is no date."""
        return run_masked(rnn, dates.unflatten(0, self.mask.shape), None, self.mask)[1]

    def mean(self, dates: Tensor) -> Tensor:
        """The mean of the dates of each series."""
        series = dates.unflatten(0, self.mask.shape)
        there = valid_steps(series, self.mask)
        return torch.where(there, series, 0).sum(1) / there.to(series.dtype).sum(1)


Series = PackedSeries | MaskedSeries


class ImageSeriesModel(DenseModel):
    """An image series ``(N, T, C, H, W)`` to the logits of each pixel, ``(N, K, H, W)``, whatever the number of dates.

    A subclass gives ``forward_dates``, from all dates in a row ``(B, C, H, W)`` and a :data:`Series`, which knows whose
    they are, to features ``(N, F, H, W)``, and ``make_head``.

    Args:
        in_chans: channels of an image.
        num_features: channels of the features.
        reduction: height and width must be multiples of it.
    """

    def __init__(self, in_chans: int, num_features: int, reduction: int = 1) -> None:
        super().__init__()
        self.in_chans = check.positive_int("in_chans", in_chans)
        self.num_features = num_features
        self.reduction = reduction

    def forward(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits ``(N, K, H, W)``, or features where there are no classes.

        Args:
            x: ``(N, T, C, H, W)``, or one date each ``(N, C, H, W)``.
            lengths: how many dates each series has, where those that are missing stand at its end.
            mask: booleans ``(N, T)``, true where there is a date, wherever those that are missing stand.

        Raises:
            ValueError: images, lengths or mask of another shape, a series without a date, or both lengths and mask.
        """
        return self.forward_head(self.forward_features(x, lengths, mask))

    def forward_features(self, x: Tensor, lengths: Lengths | None = None, mask: Tensor | None = None) -> Tensor:
        """Features ``(N, F, H, W)``; dates that are missing are never read."""
        x = self._check_images(x)
        if mask is not None and lengths is not None:
            raise ValueError("lengths and mask both say which dates there are; pass one of the two")
        is_mask = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == x.shape[:2]
        if mask is not None and not (is_mask and (in_graph() or mask.any(1).all())):
            raise ValueError(
                f"mask must be booleans (N, T) = {tuple(x.shape[:2])}, true at one date of each series at least, got "
                f"{check.describe(mask)}"
            )
        if x.shape[0] == 0:
            return x.new_zeros(0, self.num_features, *x.shape[-2:])
        taken = check_lengths(torch.full(x.shape[:1], x.shape[1]) if lengths is None else lengths, *x.shape[:2])
        if in_graph():
            there = valid_steps(x, taken).flatten(1) if mask is None else mask
            return self.forward_dates(x.flatten(0, 1), MaskedSeries(there))
        if mask is None:
            packed = pack(x, taken)
        else:
            packed = pack_sequence([s[m] for s, m in zip(x, mask, strict=True)], enforce_sorted=False)
        return self.forward_dates(packed.data, PackedSeries(packed))

    def _check_images(self, x: object) -> Tensor:
        owner = type(self).__name__
        if not isinstance(x, Tensor) or x.dim() not in (4, 5):
            raise ValueError(
                f"{owner} expected image series (N, T, C, H, W) or one date each (N, C, H, W), got "
                f"{check.describe(x)}; add the missing axes, first N, then T"
            )
        if x.shape[-3] != self.in_chans:
            raise ValueError(
                f"{owner} expected {self.in_chans} channels at axis -3, got {tuple(x.shape)}; permute it, or build "
                f"with in_chans={x.shape[-3]}"
            )
        if x.dim() == 5 and not x.shape[1]:
            raise ValueError(f"{owner} expected at least one date a series, got {tuple(x.shape)}; drop empty series")
        if any(not size or size % self.reduction for size in x.shape[-2:]):
            raise ValueError(
                f"{owner} expected height and width that are multiples of {self.reduction}, got {tuple(x.shape[-2:])}; "
                "pad or crop the images"
            )
        check.same_kind(owner, "x", x, next(self.parameters()))
        return x.unsqueeze(1) if x.dim() == 4 else x
