"""Datasets by their names in recipes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from .._hints import similar
from ..pretrained.typed import read
from .datasets.frame_files import ArrayFrames, FrameDataset, VideoFrames
from .datasets.labelled_sequences import LabelledDataset, LabelledSequences
from .datasets.moving_mnist import MovingFashionMNIST, MovingMNIST
from .datasets.rain import RainComposites
from .datasets.speech import FSDD, JapaneseVowels
from .datasets.video_folder import VideoFolder

Dataset = TypeVar("Dataset")
FRAME_DATASETS: dict[str, type[FrameDataset]] = {
    "frames": ArrayFrames, "video": VideoFrames, "moving_mnist": MovingMNIST,
    "moving_fashion_mnist": MovingFashionMNIST, "rain": RainComposites,
}  # fmt: skip
LABELLED_DATASETS: dict[str, type[LabelledDataset]] = {
    "sequences": LabelledSequences, "clips": VideoFolder, "fsdd": FSDD, "japanese_vowels": JapaneseVowels,
}  # fmt: skip


def to_table(dataset: FrameDataset | LabelledDataset) -> dict[str, Any]:
    """Returns the table ``[data]`` that describes a dataset, with every key that is set.

    Example:
        >>> to_table(MovingMNIST()), to_table(VideoFrames(name="street"))["channels"]
        ({'kind': 'moving_mnist', 'validation': 0.0}, 1)
    """
    kind = next(k for k, cls in {**FRAME_DATASETS, **LABELLED_DATASETS}.items() if cls is type(dataset))
    values = {f.name: getattr(dataset, f.name) for f in dataclasses.fields(dataset)}  # type: ignore[arg-type]
    return {"kind": kind, **{k: _to_plain(v) for k, v in values.items() if v is not None}}


def _to_plain(value: Any) -> Any:
    """Returns dataclasses as tables, without keys that are None, which TOML cannot express."""
    if isinstance(value, tuple):
        return tuple(_to_plain(v) for v in value)
    if dataclasses.is_dataclass(value):
        return {f.name: v for f in dataclasses.fields(value) if (v := getattr(value, f.name)) is not None}
    return value


def read_dataset(table: Mapping[str, Any], datasets: Mapping[str, type[Dataset]]) -> Dataset:
    """Returns the dataset that the table ``[data]`` of a recipe describes; its `kind` is a name in `datasets`.

    Raises:
        ValueError: the kind is unknown, or a key is missing, unknown or invalid.

    Example:
        >>> read_dataset({"kind": "moving_mnist"}, FRAME_DATASETS).title
        'Moving MNIST'
    """
    keys = dict(table)
    kind = keys.pop("kind", None)
    if not isinstance(kind, str) or kind not in datasets:
        hint = similar(kind, datasets)
        raise ValueError(f"the recipe's data.kind must be one of {', '.join(datasets)}, got {kind!r}{hint}")
    return read(datasets[kind], keys, where="data.")


def read_frame_dataset(table: Mapping[str, Any]) -> FrameDataset:
    """Returns the dataset of frames that the table ``[data]`` of a recipe describes; see :func:`read_dataset`."""
    return read_dataset(table, FRAME_DATASETS)


def read_labelled_dataset(table: Mapping[str, Any]) -> LabelledDataset:
    """Returns the labelled sequences that the table ``[data]`` of a recipe describes; see :func:`read_dataset`."""
    return read_dataset(table, LABELLED_DATASETS)
