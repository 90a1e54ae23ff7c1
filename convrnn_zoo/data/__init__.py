"""Data: kinds of frames and of labelled sequences, as torch Datasets.

A recipe's table ``[data]`` names the kind: ``frames`` (:class:`ArrayFrames`), ``video`` (:class:`VideoFrames`),
``sequences`` (:class:`OwnSequences`), ``clips`` (:class:`OwnClips`), or a data set of the shipped weights. Sequences of
frames that are made in Python are any map-style Dataset of frames ``(T, C, H, W)``: see
:func:`convrnn_zoo.train.train`.
"""

from .clip_folders import OwnClips
from .clips import Clip, Clips, Given
from .datasets.frame_sequences import (
    CroppedSequences,
    Sampling,
    Window,
    split_at_gaps,
    split_in_time,
)
from .frames import FRAME_SETS, FrameSet, frames_of
from .own import ArrayFrames, OwnFrames, VideoFrames
from .readers import Frames, ReadOptions, open_frames
from .recordings import Labelled, OwnSequences
from .sequences import DATA_SETS, LabelledSet, sequences_of
from .sound import read_sound

__all__ = [
    "DATA_SETS",
    "FRAME_SETS",
    "ArrayFrames",
    "Clip",
    "Clips",
    "CroppedSequences",
    "FrameSet",
    "Frames",
    "Given",
    "Labelled",
    "LabelledSet",
    "OwnClips",
    "OwnFrames",
    "OwnSequences",
    "ReadOptions",
    "Sampling",
    "VideoFrames",
    "Window",
    "frames_of",
    "open_frames",
    "read_sound",
    "sequences_of",
    "split_at_gaps",
    "split_in_time",
]
