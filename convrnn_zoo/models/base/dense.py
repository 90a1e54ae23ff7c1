"""Base class of models with an output for every pixel."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ... import _checks as check
from .blocks import framewise
from .lengths import Lengths, check_sequences, mask_steps
from .model import HeadedModel, chosen_layers, reference_tensor


class DenseModel(HeadedModel):
    """Base class of models that read images or series of images and return an output for every pixel.

    A subclass sets `num_features` and defines :meth:`forward_levels`. A U-Net also sets `level_widths` and defines
    :meth:`remove_levels`.
    """

    ndim = 2
    num_features: int
    level_widths: Sequence[int] = ()
    """Channels of the decoder's maps of a U-Net, from the resolution of the input to the lowest."""
    removed_levels = 0
    """Number of maps of a U-Net that :meth:`prune_intermediate_layers` removed, from the highest resolution on."""
    reduction: int = 1
    """Height and width of the input must be multiples of this number."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.in_chans = check.positive_int("in_chans", in_chans)

    @property
    def head_hidden_size(self) -> int:
        """Number of channels that the head reads."""
        return self.num_features

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of each map, for timm."""
        widths = enumerate(self.level_widths or (self.num_features,))
        return [
            {"num_chs": n, "reduction": 2 ** (self.removed_levels + i), "module": "head", "index": i} for i, n in widths
        ]

    def check_images(self, x: Any, lengths: Lengths | None = None) -> Tensor | None:
        """Checks images ``(N, C, H, W)`` or series ``(N, T, C, H, W)``, and returns the checked lengths of series."""
        owner = type(self).__name__
        if isinstance(x, PackedSequence):
            raise TypeError(f"{owner} expected a tensor (N, T, C, H, W) or (N, C, H, W), got a PackedSequence; pad it")
        lengths = check_sequences(owner, x, lengths, self.ndim, self.in_chans, reference_tensor(self))
        edge, size = self.reduction, tuple(x.shape[-2:])
        if any(n % edge for n in size):
            padded = tuple(-(-n // edge) * edge for n in size)
            expected = f"{owner} expected height and width that are multiples of {edge}, got {size}"
            raise ValueError(f"{expected}; pad to {padded}, or crop")
        return lengths

    def make_head(self, num_classes: int) -> nn.Module:
        """Returns a new head, a 1×1 convolution that reads the features."""
        return nn.Conv2d(self.num_features, num_classes, 1)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the head with one of `num_classes` outputs per pixel; 0 removes it. There is no pooling."""
        if global_pool:
            raise ValueError(f"global_pool must be left out: every pixel has an output, got {global_pool!r}")
        super().reset_classifier(num_classes)
        self.head.to(reference_tensor(self))

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes the head, and the levels of a U-Net with a higher resolution than those of `indices`.

        Nothing is removed unless `prune_head` is set. Returns the indices of the same levels in what remains.
        """
        take = chosen_layers(len(self.feature_info), indices)
        if not prune_head:
            return take
        if removed := min(take):
            self.removed_levels, self.level_widths = self.removed_levels + removed, self.level_widths[removed:]
            self.num_features = self.level_widths[0]
            self.remove_levels()
        self.reset_classifier(0)
        return [index - removed for index in take]

    def remove_levels(self) -> None:
        """Removes the modules of the first `removed_levels` levels; the names of other modules stay."""
        raise NotImplementedError(f"{type(self).__name__} must define remove_levels")

    def _forward_maps(self, x: Tensor, depth: int | None, **inputs: Any) -> tuple[Tensor, list[Tensor]]:
        maps = self.forward_levels(x, **inputs)
        return maps[0], maps

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs of every pixel of images or of series."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor, *args: Any, **inputs: Any) -> Tensor:
        """Returns the features ``(…, num_features, H, W)`` that the head reads, of full size."""
        return self.forward_levels(x, *args, **inputs)[0]

    def forward_levels(self, x: Tensor, *args: Any, **inputs: Any) -> list[Tensor]:
        """Returns the features, and the further maps of the decoder of a U-Net, each half as high and wide."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_levels")

    def forward_head(self, x: Tensor, pre_logits: bool = False, lengths: Any = None) -> Tensor:
        """Returns the outputs for features ``(…, F, H, W)``, one map of outputs per frame; ignores `lengths`."""
        if pre_logits or not self.num_classes:
            return x
        return self.head(x) if x.dim() == 4 else framewise(self.head, x)


class RecurrentDenseModel(DenseModel):
    """Base class of models with an output for every pixel of every frame, and a state that continues a sequence.

    A subclass defines :meth:`run_clips`.
    """

    state_reductions: Sequence[int] = ()
    """Reduction of each recurrent layer's maps, if they are not of the size of the frames."""

    def forward(self, x: Tensor, hx: Any = None, lengths: Lengths | None = None) -> Tensor:
        """Returns the outputs of every pixel; `hx` is a state of ``forward_sequence``."""
        return self.forward_head(self.forward_features(x, hx, lengths))

    def forward_sequence(self, x: Tensor, hx: Any = None, lengths: Lengths | None = None) -> tuple[Tensor, list[Any]]:
        """Returns ``(features, state)``; pass the state as `hx` with the next frames to continue the sequence."""
        levels, state = self._run_levels(x, hx, lengths)
        return levels[0], state

    def forward_levels(self, x: Tensor, hx: Any = None, lengths: Lengths | None = None) -> list[Tensor]:
        return self._run_levels(x, hx, lengths)[0]

    def _run_levels(self, x: Tensor, hx: Any, lengths: Lengths | None) -> tuple[list[Tensor], list[Any]]:
        lengths = self.check_images(x, lengths)
        levels, state = self.run_clips(x if x.dim() == 5 else x.unsqueeze(1), hx, lengths)
        return [mask_steps(y, lengths) if x.dim() == 5 else y.squeeze(1) for y in levels], state

    def run_clips(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Any]]:
        """Returns the maps of :meth:`forward_levels` for clips ``(N, T, C, H, W)``, and the state of each layer."""
        raise NotImplementedError(f"{type(self).__name__} must define run_clips")
