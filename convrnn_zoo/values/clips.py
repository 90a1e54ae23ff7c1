"""Frames that a classifier of clips reads: their size, and the frames of a clip that are left out."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._typed import field


@dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """Selection and size of the frames of a clip, as in training.

    Example:
        >>> tuple(ClipSampling(size=30, frame_stride=2, max_frames=3).apply(torch.zeros(9, 3, 60, 90)).shape)
        (3, 3, 30, 30)
    """

    size: int | None = field(
        None,
        ge=1,
        le=4096,
        description="edge of the square frames in pixels. The shorter side of each frame is resized to `size`, then "
        "the frame is center-cropped. Without `size`, all clips must have frames of the same size.",
    )
    frame_stride: int = field(1, ge=1, le=10**6, description="read every n-th frame, beginning with the first.")
    max_frames: int | None = field(None, ge=1, le=10**6, description="maximum number of frames to read from each clip.")

    @property
    def frames(self) -> slice:
        """Slice of the frames that are read from each clip."""
        return slice(None, None if self.max_frames is None else self.max_frames * self.frame_stride, self.frame_stride)

    def apply(self, clip: Tensor) -> Tensor:
        """Returns the frames that are read from a clip ``(T, C, H, W)``, resized and cropped."""
        frames = clip[self.frames]
        return frames if self.size is None else resize_and_crop(frames, self.size)


def resize(frames: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resizes frames ``(T, C, H, W)`` to `size` (height, width), bilinear with antialiasing; uint8 stays uint8."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    resized = []
    for part in frames.split(max(1, min(64, 2**24 // math.prod(size)))):
        y = F.interpolate(part.float(), size, mode="bilinear", antialias=True)
        resized.append(y.round().clamp(0, 255).byte() if frames.dtype == torch.uint8 else y)
    return torch.cat(resized)


def resize_and_crop(frames: Tensor, edge: int) -> Tensor:
    """Resizes the shorter side of frames ``(T, C, H, W)`` to `edge`, then center-crops the frames to a square."""
    height, width = frames.shape[-2:]
    size = tuple(max(edge, round(side * edge / min(height, width))) for side in (height, width))
    top, left = ((side - edge) // 2 for side in size)
    return resize(frames, size)[..., top : top + edge, left : left + edge]
