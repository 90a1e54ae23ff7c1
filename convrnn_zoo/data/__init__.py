"""Datasets of frames and of labelled sequences.

A recipe's table ``[data]`` has a ``kind``: ``frames`` (:class:`ArrayFrames`), ``video`` (:class:`VideoFrames`),
``sequences`` (:class:`LabelledSequences`), ``clips`` (:class:`VideoFolder`), or the name of a dataset of the shipped
weights. Frames from Python are any map-style Dataset of frames ``(T, C, H, W)``: see
:func:`convrnn_zoo.train.train`.
"""

from .datasets.frame_files import ArrayFrames, FrameDataset, FrameFiles, VideoFrames
from .datasets.frame_sequences import (
    CroppedSequences,
    CustomSequences,
    FrameSequence,
    FrameSequences,
    Sampling,
    Window,
    split_in_time,
)
from .datasets.labelled_sequences import Labelled, LabelledDataset, LabelledSequences
from .datasets.variables import Channels, DataVariable, split_channels
from .datasets.video_folder import VideoFolder
from .readers import Frames, ReadOptions, open_frames
from .readers.audio import read_sound
from .readers.base import split_at_gaps
from .registry import FRAME_DATASETS, LABELLED_DATASETS, read_dataset, to_table

__all__ = [
    "FRAME_DATASETS", "LABELLED_DATASETS", "ArrayFrames", "Channels", "CroppedSequences", "CustomSequences",
    "DataVariable", "FrameDataset", "FrameFiles", "FrameSequence", "FrameSequences", "Frames", "Labelled",
    "LabelledDataset", "LabelledSequences", "ReadOptions", "Sampling", "VideoFolder", "VideoFrames", "Window",
    "open_frames", "read_dataset", "read_sound", "split_at_gaps",
    "split_channels", "split_in_time", "to_table",
]  # fmt: skip
