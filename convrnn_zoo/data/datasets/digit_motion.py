"""Digit Motion: clips of one MNIST digit that moves left, right, up or down, labelled by digit and direction."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...values.log_mel import LogMel
from ..files import FileError
from .labelled_sequences import Labelled, LabelledDataset, LazySequences
from .moving_mnist import FILES, MNIST, find_idx, read_idx
from .splits import resolve_path

LABEL_FILES = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
SEEDS = {"train": 0, "test": 1}
MAX_IMAGES = {"train": 2400, "test": 400}
"""Maximum number of images of each digit in a split."""
SIZE, LENGTHS = 16, (3, 5, 7)
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Rows and columns by which a digit moves per frame."""


def draw_clip(digits: Tensor, steps: Tensor, lengths: Tensor, middles: Tensor, index: int) -> Tensor:
    """Returns a clip ``(T, 1, 16, 16)`` in which the image ``digits[index]`` moves; `digits` is ``(N, 8, 8)``.

    The clip has ``lengths[index]`` frames, an odd number. The image moves by ``steps[index]`` (rows and columns) per
    frame, and its top left corner is at ``middles[index]`` in the middle frame.
    """
    length, size = int(lengths[index]), digits.shape[-1]
    frames = torch.zeros(length, 1, SIZE, SIZE)
    for t in range(length):
        top, left = (middles[index] + (t - length // 2) * steps[index]).tolist()
        frames[t, 0, top : top + size, left : left + size] = digits[index]
    return frames


@dataclass(frozen=True)
class DigitMotion(LabelledDataset):
    """Digit Motion: clips ``(T, 1, 16, 16)`` of one MNIST digit that moves one pixel per frame; T is 3, 5 or 7.

    Each of the 40 classes is a digit and a direction, such as ``"3 left"``. Each image is shrunk to 8×8 pixels and
    appears in one clip, always inside the frame. The first 2,400 training images and the first 400 test images of each
    digit are used. If the rarest digit has fewer images, its number of images is rounded down to a multiple of four and
    used for every digit. All classes are therefore equally frequent.

    The position in the middle frame has the same distribution for all directions. A classifier that sees only this
    frame therefore has an expected accuracy of at most 25 %. Playing a clip backwards gives the opposite direction.
    """

    title = "Digit Motion"
    task = "video classification"
    url = "http://yann.lecun.com/exdb/mnist/"
    license = "CC BY-SA 3.0"
    split_words = "clips of test images of MNIST"
    label_names = tuple(f"{digit} {direction}" for digit in range(10) for direction in DIRECTIONS)

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads the idx files of MNIST at `path`, and generates the clips of a split with a fixed seed."""
        part = "test" if split == "test" else "train"
        hint = f"get the four idx files from {MNIST}"
        path = resolve_path(path, self.title, hint)
        images = read_idx(find_idx(path, FILES[part], hint))
        file = find_idx(path, LABEL_FILES[part], hint)
        digits = read_idx(file, ndim=1)
        if len(digits) != len(images) or int(digits.max()) > 9 or images.shape[1:] != (28, 28):
            got = f"{len(digits)} labels up to {int(digits.max())} for images {tuple(images.shape)}"
            raise FileError(f"{file}: expected labels from 0 to 9 of images (N, 28, 28), got {got}; {hint}")
        rarest = int(torch.bincount(digits, minlength=10).min())
        count = min(rarest, MAX_IMAGES[part]) // len(DIRECTIONS) * len(DIRECTIONS)
        if not count:
            raise FileError(f"{file}: expected at least four images of every digit, one for each direction; {hint}")
        selected = torch.cat([(digits == digit).nonzero().flatten()[:count] for digit in range(10)])
        direction = torch.arange(len(selected)) % len(DIRECTIONS)
        generator = torch.Generator().manual_seed(SEEDS[part])
        half = max(LENGTHS) // 2
        small = F.avg_pool2d(images[selected, None, 2:-2, 2:-2].float() / 255, 3)[:, 0]
        lengths = torch.tensor(LENGTHS)[torch.randint(len(LENGTHS), (len(selected),), generator=generator)]
        middles = torch.randint(half, SIZE - small.shape[-1] - half + 1, (len(selected), 2), generator=generator)
        steps = torch.tensor(list(DIRECTIONS.values()))[direction]
        clips = LazySequences(range(len(selected)), partial(draw_clip, small, steps, lengths, middles))
        labels = digits[selected].long() * len(DIRECTIONS) + direction
        return self.select_split(Labelled(clips, labels, self.label_names), split)
