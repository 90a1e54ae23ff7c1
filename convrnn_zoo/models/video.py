"""Video models: a timm image model on every frame, and convolutional RNNs on its feature maps; two are of papers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _checks as check
from ..layers import KINDS
from ..layers._states import split_levels
from .base import (
    Classifier,
    FrameEncoder,
    Lengths,
    ZooModel,
    build_model,
    check_pool,
    map_frames,
    mask_steps,
    reference_tensor,
    register_model,
)
from .factory import create_model


class VideoModel(Classifier):
    """An image model of timm on every frame, a convolutional RNN on each selected level of its maps, and a classifier.

    Frames of padding are not encoded. With several levels, each level has a recurrent module and a classifier. The
    probabilities are then averaged over the levels, and the logits are the logarithm of the mean.

    Args:
        encoder: an image model of timm with feature maps, such as ``"resnet18"``.
        rnn: ``"convrnn"``, ``"convlstm"``, ``"convpeepholelstm"``, ``"convgru"``, ``"minconvgru"``, ``"minconvlstm"``
            or ``"minconvexplstm"``.
        levels: levels of the maps to read, as timm's ``out_indices``.
        hidden_channels: channels of the state: one number, or a list with one number per level.
        kernel_size, num_layers, bidirectional: of every recurrent module.
        in_chans, num_classes, global_pool, drop_rate: as for :class:`~convrnn_zoo.ConvRNNModel`.
        encoder_pretrained: whether timm loads the encoder's weights; not saved with the model.
        freeze_encoder: whether the encoder is not trained.
        chunk_size: number of frames encoded at once. It limits the memory of inference, and of training if the encoder
            is frozen or gradient checkpointing is on. It changes results only through batch norms in training.
        device, dtype: of the parameters.
        **layer_args: options of the recurrent layers, such as `padding_mode`.

    Shapes:
        input ``(N, T, C, H, W)``, single frames ``(N, C, H, W)``, or a PackedSequence. `lengths` and the output are
        those of :class:`~convrnn_zoo.ConvRNNModel`, but unpooled features of several levels are a list.
    """

    ndim = 2
    has_frame_encoder = True
    unsaved_args = frozenset({"encoder_pretrained"})
    encoder_class: ClassVar[type[FrameEncoder]] = FrameEncoder

    def __init__(
        self,
        encoder: str,
        rnn: str = "convlstm",
        levels: Sequence[int] = (-1,),
        hidden_channels: int | Sequence[int] = 256,
        kernel_size: int = 3,
        num_layers: int = 1,
        bidirectional: bool = False,
        in_chans: int = 3,
        num_classes: int = 0,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        encoder_pretrained: bool = False,
        freeze_encoder: bool = False,
        chunk_size: int = 32,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **layer_args: Any,
    ) -> None:
        super().__init__()
        if isinstance(levels, str) or not isinstance(levels, Sequence):
            raise ValueError(f"levels must be a list of whole numbers, got {levels!r}")
        check.choice("rnn", rnn, list(KINDS))
        self.in_chans = check.positive_int("in_chans", in_chans)
        factory: Any = {"device": device, "dtype": dtype}
        self.encoder = self.encoder_class(
            encoder, levels, in_chans, encoder_pretrained, freeze_encoder, chunk_size, **factory
        )
        inputs, layer = self.encoder.widths, KINDS[rnn][2]
        widths = check.widths("hidden_channels", hidden_channels, len(inputs))
        options: Any = {"num_layers": num_layers, "bidirectional": bidirectional, **factory, **layer_args}
        sizes = zip(inputs, widths, self.kernels(kernel_size, len(inputs)), strict=True)
        self.rnns = nn.ModuleList(layer(*size, batch_first=True, **options) for size in sizes)
        self.directions = 2 if bidirectional else 1
        self.widths = [width * self.directions for width in widths]
        self.drop_rate, self.global_pool = check.probability("drop_rate", drop_rate), check_pool(global_pool)
        self.head_drop = nn.Dropout(drop_rate)
        cfg = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
        first = (cfg and cfg.first_conv) or ()
        modules = (first,) if isinstance(first, str) else first
        self.input_weights = tuple(f"encoder.{self.encoder.trunk()[0]}{module}.weight" for module in modules)
        self.reset_classifier(num_classes)

    def kernels(self, kernel_size: int, levels: int) -> list[int]:
        """Returns the kernel of the recurrent module of each level."""
        return [kernel_size] * levels

    @property
    def num_features(self) -> int:
        """Channels of the pooled features, concatenated over the levels."""
        return sum(self.widths)

    head_hidden_size = num_features

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of the output of each level, for timm."""
        pairs = zip(self.widths, self.encoder.reductions, strict=False)
        return [{"num_chs": w, "reduction": r, "module": f"rnns.{i}", "index": i} for i, (w, r) in enumerate(pairs)]

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        return self.encoder.group_matcher([("rnns",)], coarse)

    def no_weight_decay(self) -> set[str]:
        prefix, trunk = self.encoder.trunk()
        encoder = {f"encoder.{prefix}{name}" for name in getattr(trunk, "no_weight_decay", set)()}
        return super().no_weight_decay() | encoder

    def make_head(self, num_classes: int) -> nn.Module:
        like = reference_tensor(self.rnns)
        heads = [nn.Linear(width, num_classes, device=like.device, dtype=like.dtype) for width in self.widths]
        return heads[0] if len(heads) == 1 else nn.ModuleList(heads)

    def _keep_maps(self, count: int, prune_head: bool) -> None:
        self.rnns, self.widths = self.rnns[:count], self.widths[:count]
        self.encoder.keep_levels(count)
        if prune_head:
            self.reset_classifier(0, "")
        elif isinstance(self.head, nn.ModuleList):
            heads = self.head[:count]
            self.head = heads if count > 1 else heads[0]

    def classify_pooled(self, pooled: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits or not self.num_classes:
            return pooled
        if not isinstance(self.head, nn.ModuleList):
            return super().classify_pooled(pooled)
        levels = zip(self.head, pooled.split(self.widths, -1), strict=True)
        logits = [head(self.head_drop(y)) for head, y in levels]
        return torch.stack([x.log_softmax(-1) for x in logits]).logsumexp(0) - math.log(len(logits))

    def _features(self, outputs: list[Any]) -> Any:
        return outputs[0] if len(outputs) == 1 else outputs

    def run_layers(
        self, x: Tensor | PackedSequence, hx: Any, depth: int | None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        if isinstance(x, PackedSequence):
            maps = [PackedSequence(m, *x[1:]) for m in self.encoder(x.data)]
        else:
            x = mask_steps(x, mask)  # the encoder also reads the padding
            maps = [m.unflatten(0, x.shape[:2]) for m in self.encoder(x.flatten(0, 1))]
        outputs, states = [], []
        for m, state, rnn in zip(maps, split_levels(hx, len(maps)), self.rnns, strict=True):
            y, state = rnn(m, state, mask=mask)
            outputs.append(y)
            states.append(state)
        return outputs, self._features(states)


def encoder_cfg(encoder: str) -> dict[str, Any]:
    """Returns a cfg with the input size, mean, std and crop of timm's cfg of the encoder."""
    cfg = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    return {} if cfg is None else {key: getattr(cfg, key) for key in keys}


def single_level_cfg(encoder: str, reduction: int = 32) -> dict[str, Any]:
    """Returns the cfg of a video model that reads one map of the encoder, with 1/`reduction` of the frame's size."""
    cfg = encoder_cfg(encoder)
    return {**cfg, "pool_size": tuple(-(-size // reduction) for size in cfg["input_size"][1:])}


@register_model(cfg=single_level_cfg("resnet18"))
def resnet18_convlstm2d_bi(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 256-channel bidirectional ConvLSTM on the last maps of a ResNet-18; inputs as for :func:`video_convrnn`."""
    return build_model(
        partial(VideoModel, "resnet18", "convlstm", bidirectional=True), "resnet18_convlstm2d_bi", pretrained, **kwargs
    )


@register_model(cfg=single_level_cfg("resnet18"))
def resnet18_convgru2d(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 256-channel ConvGRU on the last maps of a ResNet-18; inputs as for :func:`video_convrnn`."""
    return build_model(partial(VideoModel, "resnet18", "convgru"), "resnet18_convgru2d", pretrained, **kwargs)


@register_model(cfg=single_level_cfg("mobilenetv3_small_100"))
def mobilenetv3_small_100_convgru2d(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 128-channel ConvGRU on the last maps of MobileNetV3-Small (smallest video model).

    Inputs and arguments as for :func:`video_convrnn`.
    """
    return build_model(
        partial(VideoModel, "mobilenetv3_small_100", "convgru", hidden_channels=128),
        "mobilenetv3_small_100_convgru2d",
        pretrained,
        **kwargs,
    )


@register_model(cfg=single_level_cfg("resnet18"))
def video_convrnn(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """Any image model of timm with any layer of the zoo; :func:`convrnn_zoo.video_model` builds it.

    Reads clips ``(N, T, C, H, W)``, frames ``(N, C, H, W)``, or a PackedSequence.
    :class:`~convrnn_zoo.models.video.VideoModel` describes arguments and output.
    """
    return build_model(partial(VideoModel, encoder="resnet18"), "video_convrnn", pretrained, **kwargs)


def video_model(encoder: str, rnn: str = "convlstm", **kwargs: Any) -> ZooModel:
    """Builds a video model from an image model of timm and a layer of the zoo.

    The model is saved, pushed and loaded like any model of the zoo, under the name ``"video_convrnn"``. Its cfg has the
    encoder's input size, mean and std, which ``timm.data.resolve_data_config`` and ``model.normalize`` use.

    Args:
        encoder, rnn, **kwargs: as for :class:`~convrnn_zoo.models.video.VideoModel`; `kwargs` may also have arguments
            of :func:`~convrnn_zoo.create_model`.

    Raises:
        ValueError: timm has no such encoder, or the encoder has no such feature maps.

    Example:
        >>> model = video_model("mobilenetv3_small_100", "convgru", hidden_channels=8, num_classes=3).eval()
        >>> tuple(model(torch.rand(1, 4, 3, 64, 64)).shape)
        (1, 3)
    """
    cfg = {**encoder_cfg(encoder), "pool_size": None}  # which depends on the levels
    overlay = {**cfg, **kwargs.pop("pretrained_cfg_overlay", {})} if timm.is_model(encoder) else {}
    return create_model("video_convrnn", encoder=encoder, rnn=rnn, pretrained_cfg_overlay=overlay, **kwargs)


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
