"""Readers of files, and datasets of frames and of labelled sequences by the names that recipes use.

Recipes, training and predictions read data with this package, which knows none of them. To train on data in Python,
pass a map-style Dataset of frames ``(T, C, H, W)`` to :func:`convrnn_zoo.train.train`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import _checks as check
from .._typed import read
from .datasets.frame_dataset import FrameDataset, split_channels
from .datasets.frame_files import ArrayFrames, FrameFiles, VideoFrames
from .datasets.frame_sequences import (
    CroppedSequences,
    CustomSequences,
    FrameSequences,
    Window,
    split_in_time,
)
from .datasets.labelled_sequences import Labelled, LabelledDataset, LabelledSequences
from .datasets.moving_mnist import DigitMotion, MovingFashionMNIST, MovingMNIST
from .datasets.rain import RainComposites
from .datasets.speech import FSDD, JapaneseVowels
from .datasets.splits import RecipeDataset
from .datasets.video_folder import VideoFolder
from .events import voxel_grid
from .frames import DataVariable, labelled_frames, split_at_gaps
from .readers import Frames, ReadOptions, open_frames
from .readers.earthnet import MiniCube, read_minicube
from .readers.sequences import read_sound

FRAME_DATASETS: dict[str, type[FrameDataset]] = {
    "frames": ArrayFrames,
    "video": VideoFrames,
    "moving_mnist": MovingMNIST,
    "moving_fashion_mnist": MovingFashionMNIST,
    "rain": RainComposites,
}
"""Datasets of frames by the `kind` of a recipe's table `[data]`."""
LABELLED_DATASETS: dict[str, type[LabelledDataset]] = {
    "sequences": LabelledSequences,
    "clips": VideoFolder,
    "fsdd": FSDD,
    "japanese_vowels": JapaneseVowels,
    "digit_motion": DigitMotion,
}
"""Datasets of labelled sequences by the `kind` of a recipe's table `[data]`."""


def to_table(dataset: RecipeDataset) -> dict[str, Any]:
    """Returns the table ``[data]`` that describes a dataset, with every key that is not None.

    Example:
        >>> to_table(MovingMNIST()), to_table(VideoFrames(name="street"))["channels"]
        ({'kind': 'moving_mnist', 'validation': 0.0}, 1)
    """
    kinds = {cls: kind for kind, cls in {**FRAME_DATASETS, **LABELLED_DATASETS}.items()}
    if type(dataset) not in kinds:
        raise ValueError(
            f"a recipe reads a dataset by its name, and {type(dataset).__name__} has none; add it to FRAME_DATASETS or "
            "LABELLED_DATASETS of convrnn_zoo.data, or pass its splits as data"
        )
    kind = kinds[type(dataset)]
    fields: Any = dataclasses.asdict(dataset, dict_factory=lambda items: {k: v for k, v in items if v is not None})
    return {"kind": kind, **fields}


def read_dataset(table: Mapping[str, Any], datasets: Mapping[str, type[Any]] | None = None) -> Any:
    """Returns the dataset that the table ``[data]`` of a recipe describes.

    `datasets` maps each accepted value of the key ``kind`` to a class. The default is all classes of this module.

    Raises:
        ValueError: the kind is unknown, or a key is missing, unknown or invalid.

    Example:
        >>> read_dataset({"kind": "moving_mnist"}).title
        'Moving MNIST'
    """
    keys, datasets = dict(table), {**FRAME_DATASETS, **LABELLED_DATASETS} if datasets is None else datasets
    kind = check.choice("the recipe's data.kind", keys.pop("kind", None), list(datasets))
    return read(datasets[kind], keys, where="data.")


__all__ = [
    "FRAME_DATASETS", "LABELLED_DATASETS", "ArrayFrames", "CroppedSequences", "CustomSequences",
    "DataVariable", "FrameDataset", "FrameFiles", "FrameSequences", "Frames", "Labelled",
    "LabelledDataset", "LabelledSequences", "MiniCube", "ReadOptions", "VideoFolder", "VideoFrames", "Window",
    "labelled_frames", "open_frames", "read_dataset", "read_minicube", "read_sound",
    "split_at_gaps", "split_channels", "split_in_time", "to_table", "voxel_grid",
]  # fmt: skip
