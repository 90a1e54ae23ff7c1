"""Audio models: convolutions over the frequencies of a sound, and a convolutional RNN over time."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _checks as check
from ..layers import KINDS
from ..layers._base import Kernels, Widths
from .base import RecurrentClassifier, build_model, map_frames, mask_steps, register_model


class AudioModel(RecurrentClassifier):
    """A convolutional RNN over the frequencies of a sound, and a classifier.

    :class:`~convrnn_zoo.LogMel` returns C bands per step. They form a one-dimensional map with one channel. Two
    convolutions of 5 and of `stride` bands, each followed by ReLU, reduce this map to P = C / `stride` pixels, rounded
    up. The recurrent layers convolve over these pixels. They thus recognise a pattern of frequencies even if a voice of
    another pitch shifts it. Pools act on the steps only, and the classifier reads the features of every pixel.

    Args:
        rnn: ``"convrnn"``, ``"convlstm"``, ``"convpeepholelstm"``, ``"convgru"``, ``"minconvgru"``, ``"minconvlstm"``
            or ``"minconvexplstm"``.
        in_chans: number of bands C.
        stem_channels: channels of the two convolutions.
        stride: bands per pixel.
        hidden_channels, kernel_size, num_layers, bidirectional: of the recurrent layers.
        num_classes, global_pool, drop_rate: as for :class:`~convrnn_zoo.ConvRNNModel`.
        device, dtype: of the parameters.
        **layer_args: options of the recurrent layers, such as `dropout`.

    Shapes:
        input ``(N, T, C, 1)``, single steps ``(N, C, 1)``, or a PackedSequence. `lengths` and the output are those of
        :class:`~convrnn_zoo.ConvRNNModel` for maps of one pixel. The F features are the channels of all P pixels.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("audio_convrnn", num_classes=10)
        >>> tuple(model(torch.randn(2, 50, 40, 1), lengths=[50, 30]).shape)
        (2, 10)
    """

    ndim = 1
    group_patterns: ClassVar[dict[str, Any]] = {"stem": r"^stem", "blocks": r"^rnn\.\w+_l(\d+)"}

    def __init__(
        self,
        rnn: str = "convgru",
        in_chans: int = 40,
        stem_channels: int = 16,
        stride: int = 4,
        hidden_channels: Widths = 32,
        kernel_size: Kernels = 3,
        num_layers: int = 2,
        bidirectional: bool = False,
        num_classes: int = 0,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **layer_args: Any,
    ) -> None:
        super().__init__()
        check.choice("rnn", rnn, list(KINDS))
        self.in_chans, self.stride = check.positive_int("in_chans", in_chans), check.positive_int("stride", stride)
        width = check.positive_int("stem_channels", stem_channels)
        place: Any = {"device": device, "dtype": dtype}
        self.stem = nn.Sequential(
            nn.Conv1d(1, width, 5, padding="same", **place),
            nn.ReLU(),
            nn.Conv1d(width, width, stride, stride, **place),
            nn.ReLU(),
        )
        self.rnn = KINDS[rnn][1](
            width,
            hidden_channels,
            kernel_size,
            num_layers=num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            **place,
            **layer_args,
        )
        self.add_classifier(num_classes, global_pool, drop_rate)

    @property
    def pixels(self) -> int:  # type: ignore[override]
        """Number of pixels P of the maps that the recurrent layers read."""
        return math.ceil(self.in_chans / self.stride)

    def run_layers(
        self, x: Tensor | PackedSequence, hx: Any, depth: int | None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        if (data := x.data if isinstance(x, PackedSequence) else x).shape[-1] != 1:
            raise ValueError(
                f"{type(self).__name__} expected the bands of each step as channels of a map of one pixel, (…, "
                f"{self.in_chans}, 1), got {tuple(data.shape)}; pass what LogMel.encode returns"
            )
        x = mask_steps(x, mask)  # type: ignore[arg-type]  # the convolutions also read the padding
        outputs, state = super().run_layers(map_frames(self._encode, x), hx, depth, mask)
        return [map_frames(lambda y: y.flatten(1).unsqueeze(-1), y) for y in outputs], state

    def _encode(self, steps: Tensor) -> Tensor:
        """Returns the maps ``(B, stem_channels, P)`` of steps ``(B, C, 1)``."""
        return self.stem(F.pad(steps.transpose(1, 2), (0, -self.in_chans % self.stride)))


@register_model(cfg={"input_size": (40, 1, 1), "pool_size": (1, 1)})
def audio_convrnn(pretrained: bool = False, **kwargs: Any) -> AudioModel:
    """Convolutions over the frequencies of a log-mel spectrogram, a convolutional RNN on their maps, and a classifier.

    Input: steps ``(N, T, C, 1)`` of C bands, single steps ``(N, C, 1)``, or a PackedSequence. The structure is that of
    Arik, S. O. et al. (2017), Convolutional Recurrent Neural Networks for Small-Footprint Keyword Spotting,
    https://arxiv.org/abs/1703.05390, with two changes. The RNN is convolutional. No convolution runs over time, so that
    the model can process a stream.
    """
    return build_model(AudioModel, "audio_convrnn", pretrained, **kwargs)
