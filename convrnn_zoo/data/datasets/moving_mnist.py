"""Datasets that are generated from the images of MNIST.

Moving MNIST and Moving Fashion-MNIST: two objects that drift over 64×64 pixels and bounce at the walls. Digit Motion:
clips of one digit that moves left, right, up or down, labelled by digit and direction.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...values.log_mel import LogMel
from ..files import FileError, read_unpacked
from ..readers.numpy import load_npy
from .frame_dataset import FrameDataset
from .frame_sequences import CustomSequences, FrameSequences
from .labelled_sequences import Labelled, LabelledDataset, LazySequences
from .splits import resolve_path, train_count

FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
VALIDATION_SEED, TEST_SEQUENCES = 1, 10_000
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
"""Address of the four files of MNIST."""


def find_idx(path: Path, name: str, hint: str) -> Path:
    """Returns the path of the file `name` or ``name.gz`` in a directory."""
    files = [path / n for n in (name, f"{name}.gz") if (path / n).is_file()]
    if not files:
        raise FileNotFoundError(f"neither {name} nor {name}.gz is in {path}; {hint}")
    return files[0]


def read_idx(path: Path, ndim: int = 3) -> Tensor:
    """Reads an idx file, compressed or not, as bytes: images ``(N, H, W)``, or labels ``(N,)`` with ``ndim=1``.

    Reference:
        LeCun, Y., Cortes, C. and Burges, C. The MNIST database. http://yann.lecun.com/exdb/mnist/
    """
    content = read_unpacked(path)
    size = 4 + 4 * ndim
    head, values = content[:size], content[size:]
    magic, *shape = struct.unpack(f">{1 + ndim}I", head) if len(head) == size else (0,)
    if magic != 0x800 + ndim or 0 in shape:
        got = head[:4].hex(" ")
        raise FileError(f"{path}: expected an idx file of {ndim} axes, which begins 00 00 08 0{ndim}, got {got}")
    if len(values) != math.prod(shape):
        raise FileError(f"{path}: expected {math.prod(shape)} values, got {len(values)}; download it again")
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).reshape(shape)


def _to_brightness(frames: Any) -> Tensor:
    return torch.from_numpy(frames.copy()) / 255


class MovingDigits(FrameSequences):
    """Random sequences of moving images. :meth:`draw` returns ``(N, T, 1, size, size)`` in [0, 1].

    The position of an image is a point in the unit square. At the sides of the square, the image touches the walls of
    the frame. An image starts at a random position and moves by `step` per frame in a random direction. At a wall, its
    position is clamped to the square, and the component of its direction towards the wall is reversed. Where images
    overlap, the brighter pixel is visible.

    Args:
        images: images ``(N, h, w)`` of bytes (uint8). Each sequence shows a random choice of `count` images.
        length: number of frames in a sequence.
        count: number of images in a sequence.
        size: edge of a frame in pixels.
        step: length of a step in the unit square.
        seed: seed of the fixed sequences that evaluations use.

    Reference:
        Srivastava, N., Mansimov, E. and Salakhutdinov, R. (2015). Unsupervised Learning of Video Representations
        using LSTMs, section 3.1. https://arxiv.org/abs/1502.04681

    Example:
        >>> moving = MovingDigits(torch.full((3, 28, 28), 255, dtype=torch.uint8), length=20)
        >>> tuple(moving.draw(2).shape)
        (2, 20, 1, 64, 64)
    """

    is_generated = True

    def __init__(
        self, images: Tensor, length: int = 20, count: int = 2, size: int = 64, step: float = 0.1, seed: int = 0
    ) -> None:
        if images.dim() != 3 or not len(images) or max(images.shape[1:]) > size:
            raise ValueError(f"expected images (N, h, w) of at most {size}×{size} pixels, got {tuple(images.shape)}")
        self.images, self.length, self.count, self.size, self.step = images, length, count, size, step
        self._fixed = self.sample(TEST_SEQUENCES, torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return TEST_SEQUENCES

    def __getitem__(self, index: int) -> Tensor:
        """Returns one of the 10,000 fixed sequences for evaluation; the published test file has as many."""
        return self.read(self._fixed[index][None])[0]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples an image, a first position (x, y) and a direction for each object: ``(n, count, 4)`` in [0, 1)."""
        return torch.rand(n, self.count, 4, generator=generator, dtype=torch.float64)

    def read(self, sampled: Tensor) -> Tensor:
        """Generates the sequences ``(n, T, 1, size, size)`` with the sampled images, positions and directions."""
        n = len(sampled)
        image_number, x, y, angle = sampled.unbind(-1)
        which = (image_number * len(self.images)).long()
        height, width = self.images.shape[1:]
        top = (self._path(y, angle.mul(2 * math.pi).sin()) * (self.size - height)).long()
        left = (self._path(x, angle.mul(2 * math.pi).cos()) * (self.size - width)).long()
        frames = torch.zeros(n, self.length, self.size, self.size, dtype=torch.uint8)
        at = torch.arange(n)[:, None, None, None], torch.arange(self.length)[:, None, None]
        for i in range(self.count):
            rows = (top[:, i, :, None] + torch.arange(height))[..., None]
            columns = (left[:, i, :, None] + torch.arange(width))[..., None, :]
            image = self.images[which[:, i]][:, None]
            frames[(*at, rows, columns)] = torch.maximum(frames[(*at, rows, columns)], image)
        return frames.unsqueeze(2).float() / 255

    def fixed_samples(self, n: int) -> Tensor:
        """Returns the parameters of the first `n` fixed sequences for evaluation."""
        return self._fixed[:n]

    def _path(self, place: Tensor, speed: Tensor) -> Tensor:
        """Returns the positions ``(N, count, length)`` in [0, 1] along one axis, after each step."""
        places = []
        for _ in range(self.length):
            place = place + speed * self.step
            speed = torch.where((place <= 0) | (place >= 1), -speed, speed)
            place = place.clamp(0, 1)
            places.append(place)
        return torch.stack(places, dim=-1)


@dataclass(frozen=True, kw_only=True)
class MovingMNIST(FrameDataset):
    """``kind = "moving_mnist"``: sequences of two digits, generated from the idx files of MNIST.

    The published test file, ``mnist_test_seq.npy``, is accepted as the path of the data, for the test split only.

    Reference:
        http://www.cs.toronto.edu/~nitish/unsupervised_video/
    """

    title = "Moving MNIST"
    task = "video prediction"
    url = "http://yann.lecun.com/exdb/mnist/"
    license = "CC BY-SA 3.0"
    split_words = "fixed sample from the 10,000 test images; same generator as the published test file, other sample"
    valid_min = 0.0
    valid_max = 1.0
    summed_over = 64 * 64
    hint = f"get the four idx files from {MNIST} (train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz are read)"

    def load_splits(
        self, path: Path | None, splits: Sequence[str], inputs: int, horizon: int
    ) -> Sequence[FrameSequences]:
        """Returns sequences that are generated from the images of each split, or read from the published test file."""
        path, length = resolve_path(path, self.title, self.hint), inputs + horizon
        if path.suffix.lower() == ".npy":
            if list(splits) != ["test"]:
                raise FileError(f"{path} has test sequences only; to train, pass a directory of images: {self.hint}")
            array = load_npy(path)
            if array.ndim != 4 or not 0 < length <= len(array) or 0 in array.shape or array.dtype != "uint8":
                got = f"{array.dtype} {array.shape}; lower inputs or horizon, or download the file again"
                raise FileError(f"{path}: expected bytes (T, N, H, W) of {length} frames or more, got {got}")
            return [CustomSequences(LazySequences(array[:length, :, None].swapaxes(0, 1), _to_brightness))]
        sequences = []
        for split in splits:
            images = read_idx(find_idx(path, FILES["test" if split == "test" else "train"], self.hint))
            cut = train_count(len(images), self.validation)
            part = {"train": images[:cut], "validation": images[cut:], "test": images}[split]
            sequences.append(MovingDigits(part, length, seed=VALIDATION_SEED if split == "validation" else 0))
        return sequences


@dataclass(frozen=True, kw_only=True)
class MovingFashionMNIST(MovingMNIST):
    """``kind = "moving_fashion_mnist"``: as :class:`MovingMNIST`, with the images of Fashion-MNIST."""

    title = "Moving Fashion-MNIST"
    url = "https://github.com/zalandoresearch/fashion-mnist"
    license = "MIT"
    hint = "get the idx files from https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion"


# ---- Digit Motion ---------------------------------------------------------------------------------------------------
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
