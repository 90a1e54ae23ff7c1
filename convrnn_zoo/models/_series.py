"""What models of image series share: which dates there are, and a classifier of every pixel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ..layers import _checks as check
from ._base import ZooModel
from ._classifying import Classifier
from ._sequences import Lengths, check_lengths, pack


class ImageSeriesModel(ZooModel):
    """An image series ``(N, T, C, H, W)`` to the logits of each pixel, ``(N, K, H, W)``, whatever the number of dates.

    A subclass gives ``forward_dates``, from packed dates to features ``(N, F, H, W)``, and ``make_head``.

    Args:
        in_chans: channels of an image.
        num_features: channels of the features.
        reduction: height and width must be multiples of it.
    """

    ndim = 2
    normalize = Classifier.normalize

    def __init__(self, in_chans: int, num_features: int, reduction: int = 1) -> None:
        super().__init__()
        self.in_chans = check.positive_int("in_chans", in_chans)
        self.num_features = self.head_hidden_size = num_features
        self.reduction = reduction

    def forward_dates(self, dates: PackedSequence) -> Tensor:
        """Features of packed dates."""
        raise TypeError(f"{type(self).__name__} has no forward_dates; define it in the class")

    def make_head(self, num_classes: int) -> nn.Module:
        """A fresh classifier of every pixel."""
        raise TypeError(f"{type(self).__name__} has no make_head; define it in the class")

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of the features."""
        return [{"num_chs": self.num_features, "reduction": 1, "module": "head", "index": 0}]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, beyond the biases."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training computes segments of time again, for less memory and more time."""
        for module in self.modules():
            if module is not self and hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable  # type: ignore[assignment]

    def get_classifier(self) -> nn.Module:
        """The classifier of every pixel, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier of `num_classes`.

        Raises:
            ValueError: a pool is asked for; these models answer for every pixel.
        """
        if not check.is_int(num_classes) or num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0 (no classifier), got {num_classes!r}")
        if global_pool:
            raise ValueError(f"global_pool must be left out: every pixel has its answer, got {global_pool!r}")
        like = next(self.parameters())
        self.num_classes = num_classes
        head = self.make_head(num_classes) if num_classes else nn.Identity()
        self.head = head.to(like.device, like.dtype).train(self.training)

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
        if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:2] or not mask.any(1).all()):
            raise ValueError(
                f"mask must be booleans (N, T) = {tuple(x.shape[:2])}, true at one date of each series at least, got "
                f"{check.describe(mask)}"
            )
        if not len(x):
            return x.new_zeros(0, self.num_features, *x.shape[-2:])
        if mask is not None:
            return self.forward_dates(pack_sequence([s[m] for s, m in zip(x, mask, strict=True)], enforce_sorted=False))
        lengths = [x.shape[1]] * len(x) if lengths is None else lengths
        return self.forward_dates(pack(x, check_lengths(lengths, *x.shape[:2])))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of features."""
        return x if pre_logits else self.head(x)

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
        if any(size % self.reduction for size in x.shape[-2:]):
            raise ValueError(
                f"{owner} expected height and width that are multiples of {self.reduction}, got {tuple(x.shape[-2:])}; "
                "pad or crop the images"
            )
        check.same_kind(owner, "x", x, next(self.parameters()))
        return x.unsqueeze(1) if x.dim() == 4 else x
