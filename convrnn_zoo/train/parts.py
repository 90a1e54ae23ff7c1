"""The training part of a split, by which an evaluation notices that the data are no longer those of the training."""

import hashlib
import logging
from typing import Any

from ..data import CroppedSequences, Labelled

logger = logging.getLogger(__name__)


def identify_part(part: Any) -> str:
    """Returns a checksum of the names of recordings, or of the files and times of frames; empty if there are none."""
    names = list(part.names) if isinstance(part, Labelled) else []
    if isinstance(part, CroppedSequences):
        for frames in part.files:
            name = frames.name if len(part.files) > 1 else ""  # one file may be renamed
            names.append(f"{name} {frames.dates[0] if frames.is_dated else frames.start} {len(frames)}")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12] if names else ""


def warn_if_other_part(metadata: Any, data: Any, part: Any) -> None:
    """Logs a warning if the training part of a dataset is not the one that weights with this metadata were trained on.

    Where the recipe lists the files of the test part, other training data do not change it.
    """
    trained = metadata.training_part if metadata else ""
    if trained and isinstance(getattr(data, "split", None), str) and identify_part(part) not in ("", trained):
        logger.warning(
            "these are not the data of the training: their training part is another one, so that data which were "
            "trained on can be in the test part, and the scores too good; list test files in the recipe's data.split"
        )
