"""Data: kinds of frames and of labelled sequences, as torch Datasets.

A recipe's table ``[data]`` names the kind: ``frames`` (:class:`ArrayFrames`), ``video`` (:class:`VideoFrames`),
``sequences`` (:class:`OwnSequences`), ``clips`` (:class:`OwnClips`), or a data set of the shipped weights. Sequences of
frames that are made in Python are any map-style Dataset of frames ``(T, C, H, W)``: see
:func:`convrnn_zoo.train.train`.
"""

from .clip_folders import OwnClips
from .datasets.frame_sequences import (
    CroppedSequences,
    CustomSequences,
    FrameSequence,
    FrameSequences,
    Sampling,
    Window,
    split_at_gaps,
    split_in_time,
)
from .frames import FRAME_SETS, FrameSet, frames_of
from .own import ArrayFrames, OwnFrames, VideoFrames
from .recordings import Labelled, OwnSequences
from .sequences import DATA_SETS, LabelledSet, sequences_of
from .sound import read_sound
from .readers import Frames, ReadOptions, open_frames

__all__ = [
    "DATA_SETS",
    "FRAME_SETS",
    "ArrayFrames",
    "CroppedSequences",
    "CustomSequences",
    "FrameSequence",
    "FrameSequences",
    "Frames",
    "ReadOptions",
    "Sampling",
    "Window",
    "open_frames",
    "split_at_gaps",
    "split_in_time",
    "FrameSet",
    "Labelled",
    "LabelledSet",
    "OwnClips",
    "OwnFrames",
    "OwnSequences",
    "VideoFrames",
    "frames_of",
    "read_sound",
    "sequences_of",
]
