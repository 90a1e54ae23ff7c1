"""The small real samples that the demo carries, cut from the data sets' test splits."""

from pathlib import Path
from typing import Any

from .._extras import need
from .frames import FRAME_SETS, Clips
from .radar import COARSEN, part_of, read_events


def rain_sample(directory: Path, inputs: int = 4, length: int = 16, corner: int = 120, size: int = 128) -> Any:
    """A square in the middle of KNMI's range at the start of the test split, in mm/h, with the times of the day.

    Args:
        directory: such as the ``radar`` of pysteps' example data.
        inputs: frames before the test split, which a forecast reads.
        length: frames in all.
        corner: first row and column, in pixels of 2 km.
        size: edge in pixels.
    """
    numpy = need("numpy", "cli")
    frames, times = part_of(read_events(directory, COARSEN)[0], "test", inputs)
    place = slice(corner, corner + size)
    return {
        "x": frames[:length, place, place].numpy().astype(numpy.float16),
        "labels": numpy.array([f"{t:%H:%M}" for t in times[:length]]),
    }


def moving_sample(directory: Path, name: str = "moving_fashion_mnist", length: int = 20) -> Any:
    """The first sequence that every evaluation sees, as bytes."""
    clips: Clips = FRAME_SETS[name].load(directory, "test", 0)
    return {"x": (clips.fixed(1, length)[0, :, 0] * 255).byte().numpy()}
