"""Video models of two papers on a VGG: GRU-RCN, and a bidirectional ConvLSTM with hidden layers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _checks as check
from .base import FrameEncoder, Lengths, build_model, map_frames, mask_steps, register_model
from .video import VideoModel, encoder_cfg, single_level_cfg


class PooledVGG(FrameEncoder):
    """A VGG of timm with a max pooling after each map, and with fc7 as its last level, a map of one pixel."""

    has_fc7 = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.widths.append(self.model.head_hidden_size)
        self.reductions = [2 * reduction for reduction in self.reductions]
        self.reductions.append(self.reductions[-1])

    def build(self, name: str, levels: tuple[int, ...], **options: Any) -> nn.Module:
        self.indices = list(levels)
        return timm.create_model(name, num_classes=0, **options)

    def level_info(self, levels: Sequence[int]) -> list[dict[str, Any]]:
        return [{**self.model.feature_info[i], "index": i} for i in levels]

    @property
    def fixed_size_reason(self) -> str | None:
        return "the encoder's fully connected layers read maps of one size" if self.has_fc7 else None

    def keep_levels(self, count: int) -> None:
        if count < len(self.widths):
            self.widths, self.reductions, self.has_fc7 = self.widths[:count], self.reductions[:count], False
            self.indices = self.model.prune_intermediate_layers(self.indices[:count])

    def maps(self, frames: Tensor) -> list[Tensor]:
        top, maps = self.model.forward_intermediates(frames, indices=self.indices)
        maps = [F.max_pool2d(m, 2) for m in maps]
        return [*maps, self.model.forward_head(top, pre_logits=True)[..., None, None]] if self.has_fc7 else maps


class GRURCN(VideoModel):
    """ConvGRUs on pool2 to pool5 and fc7 of a VGG-16, with five classifiers that are averaged.

    Args:
        hidden_channels: channels of the state at each level: one number, or a list of five.
        kernel_size: kernel of the ConvGRUs on maps; on fc7 it is 1.
        global_pool, drop_rate, **kwargs: as for :class:`~convrnn_zoo.VideoModel`, without `encoder`, `rnn`, `levels`.
    """

    encoder_class = PooledVGG
    fixed_args = ("encoder", "rnn", "levels")

    def __init__(
        self,
        hidden_channels: int | Sequence[int] = (64, 128, 256, 256, 512),
        global_pool: str | None = "last",
        drop_rate: float = 0.7,
        **kwargs: Any,
    ) -> None:
        options: Any = {"global_pool": global_pool, "drop_rate": drop_rate, "reset_after": False, **kwargs}
        super().__init__("vgg16", "convgru", (1, 2, 3, 4), hidden_channels, **options)

    def kernels(self, kernel_size: int, levels: int) -> list[int]:
        return [*super().kernels(kernel_size, levels - 1), 1]


class BiConvLSTM(VideoModel):
    """A bidirectional ConvLSTM on the last maps of a VGG-13, a 3×3 convolution, and hidden layers of the classifier.

    Args:
        encoder, levels: an image model of timm, and the one level of its maps that is read, as a list.
        hidden_channels: channels of the state of each direction.
        post_conv: channels of the 3×3 convolution (with ReLU) after the ConvLSTM.
        head_widths: widths of hidden layers (linear and ReLU) before the classifier.
        bidirectional, global_pool, **kwargs: as for :class:`~convrnn_zoo.VideoModel`, without `rnn`.
    """

    fixed_args = ("rnn",)

    def __init__(
        self,
        encoder: str = "vgg13_bn",
        levels: Sequence[int] = (4,),
        hidden_channels: int = 512,
        post_conv: int = 512,
        head_widths: Sequence[int] = (1000, 256, 10),
        bidirectional: bool = True,
        global_pool: str | None = "max",
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if len(levels) != 1:
            raise ValueError(f"levels must have one level, got {list(levels)!r}")
        factory: Any = {"device": device, "dtype": dtype}
        options: Any = {"bidirectional": bidirectional, "global_pool": global_pool, **factory, **kwargs}
        super().__init__(encoder, "convlstm", levels, hidden_channels, **options)
        width = check.positive_int("post_conv", post_conv)
        post = nn.Sequential(nn.Conv2d(self.widths[0], width, 3, padding=1, **factory), nn.ReLU())
        widths = [width, *(check.positive_int(f"head_widths[{i}]", w) for i, w in enumerate(head_widths))]
        layers = (m for sizes in pairwise(widths) for m in (nn.Linear(*sizes, **factory), nn.ReLU()))
        # Lists of one module, as state dicts have their names.
        self.posts, self.necks = nn.ModuleList([post]), nn.ModuleList([nn.Sequential(*layers)])
        self.widths, self.hidden_width, self.directions = [width], widths[-1], 1
        self.reset_classifier(num_classes)

    @property
    def head_hidden_size(self) -> int:
        return self.hidden_width

    def group_matcher(self, coarse: bool = False) -> Any:
        return self.encoder.group_matcher([("rnns", "posts"), ("necks",)], coarse)

    def make_head(self, num_classes: int) -> nn.Module:
        like = self.posts[0][0].weight  # type: ignore[index]
        return nn.Linear(self.hidden_width, num_classes, device=like.device, dtype=like.dtype)

    def _keep_maps(self, count: int, prune_head: bool) -> None:
        if prune_head:
            self.necks, self.hidden_width = nn.ModuleList([nn.Sequential()]), self.widths[0]
        super()._keep_maps(count, prune_head)

    def run_layers(
        self, x: Tensor | PackedSequence, hx: Any, depth: int | None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        [y], state = super().run_layers(x, hx, depth, mask)
        return [mask_steps(map_frames(self.posts[0], y), mask)], state

    def forward_head(self, x: Any, pre_logits: bool = False, lengths: Lengths | None = None) -> Any:
        is_frame = isinstance(x, Tensor) and x.dim() == 4
        if (pre_logits or not self.num_classes) and not self.resolve_pool(is_frame):
            return self.map_pixels(self.necks[0], x)
        return super().forward_head(x, pre_logits, lengths)

    def classify_pooled(self, pooled: Tensor, pre_logits: bool = False) -> Tensor:
        return super().classify_pooled(self.necks[0](pooled), pre_logits)


_FIVE_HEADS = {"pool_size": None, "classifier": tuple(f"head.{i}" for i in range(5))}

if hasattr(timm.models.VGG, "forward_intermediates"):  # since timm 1.0.31

    @register_model(cfg={**encoder_cfg("vgg16"), **_FIVE_HEADS})
    def gru_rcn_vgg16(pretrained: bool = False, **kwargs: Any) -> GRURCN:
        """GRU-RCN: ConvGRUs on pool2 to pool5 and fc7 of a VGG-16, with five classifiers that are averaged.

        Inputs and arguments as for :func:`video_convrnn`. After Ballas, N. et al. (2016). Delving Deeper into
        Convolutional Networks for Learning Video Representations. https://arxiv.org/abs/1511.06432
        """
        return build_model(GRURCN, "gru_rcn_vgg16", pretrained, **kwargs)


@register_model(cfg=single_level_cfg("vgg13_bn", 16), small={"hidden_channels": 2, "post_conv": 2, "head_widths": (3,)})
def biconvlstm_vgg13(pretrained: bool = False, **kwargs: Any) -> BiConvLSTM:
    """A VGG-13, a 512-channel bidirectional ConvLSTM on its last maps, a 3×3 convolution, and the maximum over time.

    Inputs and arguments as for :func:`video_convrnn`. After Hanson, A. et al. (2018). Bidirectional Convolutional LSTM
    for the Detection of Violence in Videos. https://doi.org/10.1007/978-3-030-11012-3_24. The paper's classifier reads
    all 14×14 pixels; this classifier reads their maximum, so that frames may have any size.
    """
    return build_model(BiConvLSTM, "biconvlstm_vgg13", pretrained, **kwargs)
