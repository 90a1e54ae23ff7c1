"""Cuts the samples of the demo from the test splits of the datasets: ``python -m tools.demo_samples DIRECTORY``.

The directory contains one folder per dataset, named after it. aeon provides the vowels.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from convrnn_zoo._extras import need
from convrnn_zoo.data import FRAME_DATASETS, FrameSequences, Labelled, split_in_time
from convrnn_zoo.data.datasets.moving_mnist import DIRECTIONS, DigitMotion
from convrnn_zoo.data.datasets.rain import read_events
from convrnn_zoo.data.datasets.speech import JapaneseVowels
from convrnn_zoo.data.formats.radar import COARSEN
from references.commands import RATE, add_noise, join_words, read_noise

DEMO = Path(__file__).parents[1] / "convrnn_zoo" / "demo"


def labelled_sample(data: Labelled, per_class: int = 5) -> dict[str, Any]:
    """Returns the first `per_class` sequences of every class."""
    order = [int(i) for c in data.labels.unique() for i in (data.labels == c).nonzero()[:per_class]]
    x, lengths, labels = data.batch(order)
    return {"x": x.numpy(), "lengths": lengths.numpy(), "labels": labels.numpy()}


def rain_sample(
    directory: Path,
    event: int = 0,
    inputs: int = 4,
    length: int = 16,
    corner: tuple[int, int] = (120, 120),
    size: int = 128,
) -> dict[str, Any]:
    """Returns a square crop of an event at the start of the test split, in mm/h, with its times.

    Args:
        directory: for example the ``radar`` folder of pysteps' example data.
        event: 0 for the KNMI event, 1 for the FMI event.
        inputs: input frames before the test split.
        length: total number of frames.
        corner: first row and column, in pixels of 2 km.
        size: edge in pixels.
    """
    frames = split_in_time(read_events(directory, COARSEN)[event], "test", inputs).between(0, length)
    top, left = corner
    x = frames.read(rows=slice(top, top + size), columns=slice(left, left + size))[:, 0].numpy().astype(np.float16)
    return {"x": x, "time": np.array(frames.dates, dtype="datetime64[s]")}


def moving_sample(clips: FrameSequences) -> dict[str, Any]:
    """Returns the first sequence of the fixed evaluation set as bytes."""
    return {"x": (clips.fixed(1)[0, :, 0] * 255).byte().numpy()}


def spoken_sample(directory: Path, count: int = 8) -> Any:
    """Returns a recording of `count` test words of the Arabic Speech Commands in the noise of a washing machine."""
    sound, words = join_words(directory, limit=count)
    print(", ".join(f"{w.label} ({w.begin:.1f} s)" for w in words))
    return add_noise(sound, read_noise(directory, "washing_machine"), 15, float(sound.square().mean())).numpy()


def main(directory: Path) -> None:
    """Writes every sample whose data exist."""
    np.savez_compressed(DEMO / "japanese_vowels.npz", **labelled_sample(JapaneseVowels().load(None, "test")))
    if (folder := directory / "digit_motion").is_dir():
        clips = DigitMotion().load(folder, "test")
        every = len(DIRECTIONS) * 20  # the first test images of MNIST are the easier ones
        sample = labelled_sample(clips.subset([i for i in range(len(clips.labels)) if i % every < len(DIRECTIONS)]))
        np.savez_compressed(DEMO / "digit_motion.npz", **{**sample, "x": sample["x"].astype(np.float16)})
    if (folder := directory / "arabic").is_dir():
        need("soundfile", "sound").write(DEMO / "commands.ogg", spoken_sample(folder), RATE, subtype="VORBIS")
    for name, data in FRAME_DATASETS.items():
        if (directory / name).is_dir():
            is_rain = name == "rain"
            load = data().load
            sample = rain_sample(directory / name) if is_rain else moving_sample(load(directory / name, "test", 10, 10))
            np.savez_compressed(DEMO / f"{name}.npz", **sample)
            if is_rain:
                nowcast = rain_sample(directory / name, event=1, corner=(224, 16), size=160)
                np.savez_compressed(DEMO / "nowcast.npz", **nowcast)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
