"""Video models: a timm image model on every frame, and convolutional RNNs on its feature maps."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..layers import KINDS
from ..layers import _checks as check
from ..pretrained.builder import build_model
from ..pretrained.factory import create_model
from ..pretrained.registry import register_model
from .base.blocks import on_device
from .base.classifier import Classifier
from .base.encoder import PRE_LOGITS, FrameEncoder
from .base.lengths import check_pool, map_frames, mask_steps, split_state
from .base.model import ZooModel, reference_tensor


class VideoModel(Classifier):
    """An image model of timm on every frame, a convolutional RNN on each selected level of its maps, and a classifier.

    Frames of padding are not encoded. With several levels, each level has a recurrent module and a classifier. The
    probabilities are then averaged over the levels, and the logits are the logarithm of the mean.

    Args:
        encoder: an image model of timm with feature maps, such as ``"resnet18"``.
        rnn: ``"convrnn"``, ``"convlstm"``, ``"convpeepholelstm"``, ``"convgru"``, ``"minconvgru"``, ``"minconvlstm"``
            or ``"minconvexplstm"``.
        levels: levels of the maps to read, as timm's ``out_indices``. The last may be ``"pre_logits"``: the features
            before the encoder's classifier.
        level_pool: edge of a max pooling after each map; 1 for none.
        hidden_channels: channels of the state: one number, or a list with one number per level.
        kernel_size, num_layers, bidirectional: of every recurrent module; on ``"pre_logits"`` the kernel is 1.
        post_conv: channels of a 3×3 convolution (with ReLU) after each recurrent module; 0 for none.
        head_widths: widths of hidden layers (linear and ReLU) before the classifier.
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

    def __init__(
        self, encoder: str, rnn: str = "convlstm", levels: Sequence[int | str] = (-1,), level_pool: int = 1,
        hidden_channels: int | Sequence[int] = 256, kernel_size: int = 3, num_layers: int = 1,
        bidirectional: bool = False, post_conv: int = 0, head_widths: Sequence[int] = (), in_chans: int = 3,
        num_classes: int = 0, global_pool: str | None = None, drop_rate: float = 0.0,
        encoder_pretrained: bool = False, freeze_encoder: bool = False, chunk_size: int = 32,
        device: torch.device | str | None = None, dtype: torch.dtype | None = None, **layer_args: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(levels, str) or not isinstance(levels, Sequence):
            raise ValueError(f"levels must be a list of whole numbers, got {levels!r}")
        check.choice("rnn", rnn, list(KINDS))
        widths, layer = check.widths("hidden_channels", hidden_channels, len(levels)), KINDS[rnn][2]
        self.in_chans = check.positive_int("in_chans", in_chans)
        with on_device(device):
            self.encoder = FrameEncoder(
                encoder, levels, in_chans, encoder_pretrained, freeze_encoder, chunk_size, level_pool
            )
        place: Any = {"device": device, "dtype": dtype}
        options: Any = {"num_layers": num_layers, "bidirectional": bidirectional, **place, **layer_args}
        kernels = (1 if level == PRE_LOGITS else kernel_size for level in levels)
        sizes = zip(self.encoder.widths, widths, kernels, strict=True)
        self.rnns = nn.ModuleList(layer(*size, batch_first=True, **options) for size in sizes)
        outs = [w * (2 if bidirectional else 1) for w in widths]
        post_conv = post_conv and check.positive_int("post_conv", post_conv)
        self.posts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(out, post_conv, 3, padding=1, **place), nn.ReLU()) if post_conv else nn.Identity()
            for out in outs
        )
        self.widths = [post_conv or out for out in outs]
        hidden = [check.positive_int(f"head_widths[{i}]", w) for i, w in enumerate(head_widths)]
        self.necks = nn.ModuleList(
            nn.Sequential(*(m for pair in pairwise([out, *hidden]) for m in (nn.Linear(*pair, **place), nn.ReLU())))
            for out in self.widths
        )
        self.hidden, self.has_hidden_layers = hidden[-1:] * len(levels) or self.widths, bool(hidden)
        self.directions = 2 if bidirectional and not post_conv else 1
        self.drop_rate, self.global_pool = check.probability("drop_rate", drop_rate), check_pool(global_pool)
        self.head_drop = nn.Dropout(drop_rate)
        self.encoder.to(dtype=dtype)
        cfg = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
        first = (cfg and cfg.first_conv) or ()
        modules = (first,) if isinstance(first, str) else first
        self.input_weights = tuple(f"encoder.{self.encoder.trunk()[0]}{module}.weight" for module in modules)
        self.reset_classifier(num_classes)

    unsaved_args = frozenset({"encoder_pretrained"})

    @property
    def recurrent_levels(self) -> tuple[int, ...]:
        """Level of the encoder that each recurrent module reads."""
        return tuple(range(len(self.rnns)))

    @property
    def num_features(self) -> int:
        """Channels of the pooled features, concatenated over the levels."""
        return sum(self.widths)

    @property
    def head_hidden_size(self) -> int:
        """Number of channels that the classifiers of all levels read, after the hidden layers if there are any."""
        return sum(self.hidden)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of the output of each level, for timm."""
        pairs = zip(self.widths, self.encoder.reductions, strict=False)
        return [{"num_chs": w, "reduction": r, "module": f"rnns.{i}", "index": i} for i, (w, r) in enumerate(pairs)]

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        return self.encoder.group_matcher([("rnns", "posts"), ("necks",)], coarse)

    def no_weight_decay(self) -> set[str]:
        prefix, trunk = self.encoder.trunk()
        encoder = {f"encoder.{prefix}{name}" for name in getattr(trunk, "no_weight_decay", set)()}
        return super().no_weight_decay() | encoder

    def make_head(self, num_classes: int) -> nn.Module:
        like = reference_tensor(self.rnns)
        heads = [nn.Linear(width, num_classes, device=like.device, dtype=like.dtype) for width in self.hidden]
        return heads[0] if len(heads) == 1 else nn.ModuleList(heads)

    def _keep_maps(self, count: int, prune_head: bool) -> None:
        for name in ("rnns", "posts", "necks", "widths", "hidden"):
            setattr(self, name, getattr(self, name)[:count])
        self.encoder.keep_levels(count)
        if prune_head:
            self.necks = nn.ModuleList(nn.Sequential() for _ in self.necks)
            self.hidden, self.has_hidden_layers = self.widths, False
            self.reset_classifier(0, "")
        elif isinstance(self.head, nn.ModuleList):
            heads = self.head[:count]
            self.head = heads if count > 1 else heads[0]

    def classify_pooled(self, pooled: Tensor, pre_logits: bool = False) -> Tensor:
        levels = [neck(y) for neck, y in zip(self.necks, pooled.split(self.widths, -1), strict=True)]
        if pre_logits or not self.num_classes:
            return torch.cat(levels, dim=-1)
        heads = self.head if isinstance(self.head, nn.ModuleList) else [self.head]
        logits = [head(self.head_drop(y)) for head, y in zip(heads, levels, strict=True)]
        if len(logits) == 1:
            return logits[0]
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
        for m, state, rnn, post in zip(maps, split_state(hx, len(maps)), self.rnns, self.posts, strict=True):
            y, state = rnn(m, state, mask=mask)
            outputs.append(mask_steps(map_frames(post, y), mask))
            states.append(state)
        return outputs, self._features(states)


def encoder_cfg(encoder: str) -> dict[str, Any]:
    """Returns a cfg with the input size, mean, std and crop of timm's cfg of the encoder."""
    cfg = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    return {} if cfg is None else {key: getattr(cfg, key) for key in keys}


def _single_level_cfg(encoder: str, reduction: int = 32) -> dict[str, Any]:
    """Returns the cfg of a video model that reads one map of the encoder, with 1/`reduction` of the frame's size."""
    cfg = encoder_cfg(encoder)
    return {**cfg, "pool_size": tuple(-(-size // reduction) for size in cfg["input_size"][1:])}


_FIVE_HEADS = {"pool_size": None, "classifier": tuple(f"head.{i}" for i in range(5))}

if hasattr(timm.models.VGG, "forward_intermediates"):  # since timm 1.0.31

    @register_model(cfg={**encoder_cfg("vgg16"), **_FIVE_HEADS})
    def gru_rcn_vgg16(pretrained: bool = False, **kwargs: Any) -> VideoModel:
        """GRU-RCN: ConvGRUs on pool2 to pool5 and fc7 of a VGG-16, with five classifiers that are averaged.

        Inputs and arguments as for :func:`video_convrnn`. After Ballas, N. et al. (2016). Delving Deeper into
        Convolutional Networks for Learning Video Representations. https://arxiv.org/abs/1511.06432
        """
        constructor = partial(
            VideoModel, "vgg16", "convgru", levels=(1, 2, 3, 4, "pre_logits"), level_pool=2, reset_after=False,
            hidden_channels=(64, 128, 256, 256, 512), global_pool="last", drop_rate=0.7,
        )  # fmt: skip
        return build_model(constructor, "gru_rcn_vgg16", pretrained, **kwargs)


@register_model(cfg=_single_level_cfg("vgg13_bn", 16))
def biconvlstm_vgg13(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A VGG-13, a 512-channel bidirectional ConvLSTM on its last maps, a 3×3 convolution, and the maximum over time.

    Inputs and arguments as for :func:`video_convrnn`. After Hanson, A. et al. (2018). Bidirectional Convolutional LSTM
    for the Detection of Violence in Videos. https://doi.org/10.1007/978-3-030-11012-3_24. The paper's classifier reads
    all 14×14 pixels; this classifier reads their maximum, so that frames may have any size.
    """
    constructor = partial(
        VideoModel, "vgg13_bn", "convlstm", levels=(4,), hidden_channels=512, bidirectional=True, post_conv=512,
        global_pool="max", head_widths=(1000, 256, 10),
    )  # fmt: skip
    return build_model(constructor, "biconvlstm_vgg13", pretrained, **kwargs)


@register_model(cfg=_single_level_cfg("resnet18"))
def resnet18_convlstm2d_bi(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 256-channel bidirectional ConvLSTM on the last maps of a ResNet-18; inputs as for :func:`video_convrnn`."""
    constructor = partial(VideoModel, "resnet18", "convlstm", bidirectional=True)
    return build_model(constructor, "resnet18_convlstm2d_bi", pretrained, **kwargs)


@register_model(cfg=_single_level_cfg("resnet18"))
def resnet18_convgru2d(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 256-channel ConvGRU on the last maps of a ResNet-18; inputs as for :func:`video_convrnn`."""
    return build_model(partial(VideoModel, "resnet18", "convgru"), "resnet18_convgru2d", pretrained, **kwargs)


@register_model(cfg=_single_level_cfg("mobilenetv3_small_100"))
def mobilenetv3_small_100_convgru2d(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """A 128-channel ConvGRU on the last maps of MobileNetV3-Small (smallest video model).

    Inputs and arguments as for :func:`video_convrnn`.
    """
    constructor = partial(VideoModel, "mobilenetv3_small_100", "convgru", hidden_channels=128)
    return build_model(constructor, "mobilenetv3_small_100_convgru2d", pretrained, **kwargs)


@register_model(cfg=_single_level_cfg("resnet18"))
def video_convrnn(pretrained: bool = False, **kwargs: Any) -> VideoModel:
    """Any image model of timm with any layer of the zoo; :func:`convrnn_zoo.video_model` builds it.

    Reads clips ``(N, T, C, H, W)``, frames ``(N, C, H, W)``, or a PackedSequence.

    Args:
        those of :class:`~convrnn_zoo.models.video.VideoModel`, which also describes the output.
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
