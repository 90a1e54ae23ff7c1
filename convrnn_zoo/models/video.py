"""Named video models: encoders of timm's with convolutional RNNs behind them, and the builder of others."""

from functools import partial
from typing import Any

import timm

from ..pretrained.builder import register
from ..pretrained.factory import create_model
from ._video import VideoModel
from .base.model import ZooModel

GENERIC = "video_convrnn"

_DOC = """{title}

Clips ``(N, T, C, H, W)``, frames ``(N, C, H, W)``, or a PackedSequence; see
:class:`~convrnn_zoo.models._video.VideoModel` for the forms of the output and for all options.{reference}

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (3), hidden_channels, num_classes (0), drop_rate, global_pool, encoder_pretrained (False; True loads the
    encoder's weights through timm), freeze_encoder (False), chunk_size (32), and the options of the recurrent layer.

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", num_classes=4, device="meta")
    >>> tuple(model(torch.rand(2, 3, 3, 64, 64, device="meta")).shape), model.num_features
    ((2, 4), {features})
"""


def cfg_of(encoder: str, prefix: str = "encoder.model.model.") -> dict[str, Any]:
    """timm's description of the data that an encoder was trained on: its sizes, mean, std and crop.

    Args:
        encoder: name of an image model of timm's.
        prefix: prefix of the encoder's modules in the model, for ``first_conv``.
    """
    known = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    if known is None:
        return {}
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    first = (known.first_conv,) if isinstance(known.first_conv, str) else known.first_conv or ()
    return {**{key: getattr(known, key) for key in keys}, "first_conv": tuple(prefix + name for name in first)}


def _register(
    name: str,
    title: str,
    features: int,
    encoder: str,
    build: Any,
    *,
    reduction: int | None = 32,
    heads: int = 1,
    of: str = "",
) -> None:
    """`reduction` is that of the maps, from which their size follows; None where several levels have no common one."""
    cfg = cfg_of(encoder, "encoder.model." if heads > 1 else "encoder.model.model.")
    register(
        __name__,
        name,
        build,
        doc=_DOC.format(title=title, name=name, features=features, reference=of and f" {of}"),
        cfg={
            **cfg,
            "pool_size": reduction and tuple(-(-size // reduction) for size in cfg["input_size"][1:]),
            "classifier": "head" if heads == 1 else tuple(f"head.{i}" for i in range(heads)),
        },
    )


if hasattr(timm.models.VGG, "forward_intermediates"):  # in timm 1.0.30 it has none yet
    _register(
        "gru_rcn_vgg16",
        "GRU-RCN: ConvGRUs on pool2 to pool5 and fc7 of a VGG-16, the probabilities of five classifiers averaged.",
        1216,
        "vgg16",
        partial(
            VideoModel, "vgg16", "convgru", levels=(1, 2, 3, 4, "pre_logits"), level_pool=2, reset_after=False,
            hidden_channels=(64, 128, 256, 256, 512), global_pool="last", drop_rate=0.7,
        ),
        reduction=None,
        heads=5,
        of="After\nBallas, N. et al. (2016). Delving Deeper into Convolutional Networks for Learning Video "
        "Representations.\nhttps://arxiv.org/abs/1511.06432",
    )  # fmt: skip
_register(
    "biconvlstm_vgg13",
    "A bidirectional ConvLSTM of 512 on the last maps of a VGG-13, a 3×3 convolution, and the maximum over time.",
    512,
    "vgg13_bn",
    partial(
        VideoModel, "vgg13_bn", "convlstm", levels=(4,), hidden_channels=512, bidirectional=True, post_conv=512,
        global_pool="max", head_widths=(1000, 256, 10),
    ),
    reduction=16,
    of="After\nHanson, A. et al. (2018). Bidirectional Convolutional LSTM for the Detection of Violence in Videos.\n"
    "https://doi.org/10.1007/978-3-030-11012-3_24. The paper's classifier reads every pixel of 14×14, this one their\n"
    "maximum, so that frames may have any size.",
)  # fmt: skip
_register(
    "resnet18_convlstm2d_bi",
    "A bidirectional ConvLSTM of 256 on the last maps of a ResNet-18.",
    512,
    "resnet18",
    partial(VideoModel, "resnet18", "convlstm", bidirectional=True),
)
_register(
    "resnet18_convgru2d",
    "A ConvGRU of 256 on the last maps of a ResNet-18.",
    256,
    "resnet18",
    partial(VideoModel, "resnet18", "convgru"),
)
_register(
    "mobilenetv3_small_100_convgru2d",
    "A ConvGRU of 128 on the last maps of a MobileNetV3-Small: the lightest.",
    128,
    "mobilenetv3_small_100",
    partial(VideoModel, "mobilenetv3_small_100", "convgru", hidden_channels=128),
)
_register(
    GENERIC,
    "Any image model of timm's with any layer of the zoo behind it; :func:`convrnn_zoo.video_model` makes it.",
    256,
    "resnet18",
    partial(VideoModel, encoder="resnet18"),
)


def video_model(encoder: str, rnn: str = "convlstm", **kwargs: Any) -> ZooModel:
    """A video model of your own: an image model of timm's on every frame, layers of the zoo behind it.

    It is saved, pushed and loaded as any model of the zoo, under the name ``"video_convrnn"``. Its cfg has the size,
    mean and std of the encoder's, so that ``timm.data.resolve_data_config`` and ``model.normalize`` are right for it.

    Args:
        encoder: an image model of timm's that offers feature maps; ``timm.list_models()`` lists them.
        rnn: ``"convrnn"``, ``"convlstm"``, ``"convpeepholelstm"`` or ``"convgru"``.
        **kwargs: see :class:`~convrnn_zoo.models._video.VideoModel`, and those of
            :func:`~convrnn_zoo.create_model`.

    Raises:
        ValueError: timm has no such encoder, or it offers no such feature maps.

    Example:
        >>> model = video_model("mobilenetv3_small_100", "convgru", hidden_channels=8, num_classes=3).eval()
        >>> tuple(model(torch.rand(1, 4, 3, 64, 64)).shape)
        (1, 3)
    """
    prefix = "encoder.model." if "pre_logits" in kwargs.get("levels", ()) else "encoder.model.model."
    own = {**cfg_of(encoder, prefix), "pool_size": None}  # which depends on the levels
    overlay = {**own, **kwargs.pop("pretrained_cfg_overlay", {})} if timm.is_model(encoder) else {}
    return create_model(GENERIC, encoder=encoder, rnn=rnn, pretrained_cfg_overlay=overlay, **kwargs)
