"""Datasets of frames and of labelled sequences.

A recipe's table ``[data]`` has a ``kind``: ``frames`` (:class:`ArrayFrames`), ``video`` (:class:`VideoFrames`),
``sequences`` (:class:`LabelledSequences`), ``clips`` (:class:`VideoFolder`), or the name of a dataset of the shipped
weights. Frames from Python are any map-style Dataset of frames ``(T, C, H, W)``: see
:func:`convrnn_zoo.train.train`.
"""

from .clips import Clip, Clips, Given
from .datasets.frame_sequences import (
    CroppedSequences,
    Sampling,
    Window,
    split_at_gaps,
    split_in_time,
)
from .datasets.labelled_sequences import Labelled, LabelledDataset, LabelledSequences
from .datasets.video_folder import VideoFolder
from .frames import FRAME_SETS, FrameSet, frames_of
from .own import ArrayFrames, OwnFrames, VideoFrames
from .readers import Frames, ReadOptions, open_frames
from .readers.audio import read_sound
from .registry import LABELLED_DATASETS, sequences_of

__all__ = [
    "FRAME_SETS",
    "LABELLED_DATASETS",
    "ArrayFrames",
    "Clip",
    "Clips",
    "CroppedSequences",
    "FrameSet",
    "Frames",
    "Given",
    "Labelled",
    "LabelledDataset",
    "LabelledSequences",
    "OwnFrames",
    "ReadOptions",
    "Sampling",
    "VideoFolder",
    "VideoFrames",
    "Window",
    "frames_of",
    "open_frames",
    "read_sound",
    "sequences_of",
    "split_at_gaps",
    "split_in_time",
]
