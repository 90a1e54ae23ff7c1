"""Datasets by their names in recipes."""

from collections.abc import Mapping
from typing import Any

from . import _entries
from .datasets.labelled_sequences import LabelledDataset, LabelledSequences
from .datasets.speech import FSDD, JapaneseVowels
from .datasets.video_folder import VideoFolder

LABELLED_DATASETS: dict[str, type[LabelledDataset]] = {
    "sequences": LabelledSequences, "clips": VideoFolder, "fsdd": FSDD, "japanese_vowels": JapaneseVowels,
}  # fmt: skip


def sequences_of(table: Mapping[str, Any]) -> LabelledDataset:
    """Returns the dataset of labelled sequences that the table ``[data]`` of a recipe describes.

    Raises:
        ValueError: its kind is unknown, or a field is invalid.

    Example:
        >>> sequences_of({"kind": "japanese_vowels"}).title
        'JapaneseVowels'
    """
    return _entries.source_of(table, LABELLED_DATASETS, {})
