"""Words of the Arabic Speech Commands in long recordings: found words, false alarms and latency of spotting weights.

``python -m references.commands audio_convrnn.arabic_commands --data DIR --speech FSDD``, where DIR is the folder of
https://github.com/abdulkaderghandoura/arabic-speech-commands-dataset and FSDD that of
https://github.com/Jakobovski/free-spoken-digit-dataset, measures

* the words that a :class:`~convrnn_zoo.Spotter` finds in one long recording: all test recordings in random order, with
  gaps of half a second to two seconds and the noise of a washing machine;
* the words per hour that it finds in noise alone, and in English digits, which it should not find;
* the time that it takes for 20 ms of sound.

None of the noise, and no English, was used in training.
"""

import csv
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor

from convrnn_zoo import Spot, Spotter, from_pretrained
from convrnn_zoo.cli._options import data_option
from convrnn_zoo.data import read_sound

RATE, GAP = 16000, (0.5, 2.0)
NOISES = ("washing_machine", "boiler")


class Word(NamedTuple):
    """A word in a long recording, with the seconds at which its recording begins and ends."""

    begin: float
    end: float
    label: str


def read_noise(data: Path, name: str) -> Tensor:
    """Returns a recording of noise."""
    return read_sound(data / "background_noise" / f"{name}.wav", rate=RATE)[0]


def join_words(data: Path, split: str = "test", limit: int | None = None) -> tuple[Tensor, list[Word]]:
    """Returns the recordings of a split in random order with gaps of silence between them, and their words."""
    with (data / f"{split}.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    shuffled = random.Random(0)
    shuffled.shuffle(rows)
    pieces, words, samples = [], [], 0
    for row in rows[:limit]:
        gap, (wave, _) = int(shuffled.uniform(*GAP) * RATE), read_sound(data / row["file"], rate=RATE)
        words.append(Word((samples + gap) / RATE, (samples + gap + len(wave)) / RATE, row["class"]))
        pieces += [torch.zeros(gap), wave]
        samples += gap + len(wave)
    return torch.cat([*pieces, torch.zeros(int(GAP[0] * RATE))]), words


def add_noise(sound: Tensor, noise: Tensor, ratio: float, speech_power: float) -> Tensor:
    """Adds a noise that is repeated, at a signal-to-noise ratio in decibels."""
    repeated = noise.repeat(len(sound) // len(noise) + 1)[: len(sound)]
    return sound + repeated * (speech_power / 10 ** (ratio / 10) / float(noise.square().mean())) ** 0.5


def count_words(spots: Sequence[Spot], words: Sequence[Word]) -> dict[str, int]:
    """Counts the words that were found, taken for another word and missed, and the spots without a word.

    A spot belongs to a word if its window, of one second, has its middle within the recording of the word.
    """
    found: set[int] = set()
    confused: set[int] = set()
    false = 0
    for spot in spots:
        inside = [i for i, w in enumerate(words) if w.begin <= spot.seconds - 0.5 <= w.end]
        false += not inside
        for i in inside:
            (found if words[i].label == spot.label else confused).add(i)
    confused -= found
    missed = len(words) - len(found) - len(confused)
    return {"words": len(words), "found": len(found), "confused": len(confused), "missed": missed, "false": false}


def spot_all(model: Any, sound: Tensor, threshold: float | None = None) -> list[Spot]:
    """Returns the words in a sound, which is read in pieces of a second."""
    spotter = Spotter(model, threshold)
    return [*(spot for piece in sound.split(RATE) for spot in spotter(piece, RATE)), *spotter.finish()]


def count_alarms(model: Any, sound: Tensor, threshold: float | None = None) -> dict[str, float]:
    """Returns the number of words in a sound that has none, its minutes, and the number per hour."""
    count, hours = len(spot_all(model, sound, threshold)), len(sound) / RATE / 3600
    return {"false": count, "minutes": round(60 * hours, 1), "per hour": round(count / hours, 1)}


def measure_latency(model: Any, sound: Tensor, threshold: float | None = None) -> dict[str, float]:
    """Returns the median and the 95th percentile of the processor time, in milliseconds, for 20 ms of sound."""
    spotter, times = Spotter(model, threshold), []
    for piece in sound[: 30 * RATE].split(RATE // 50):
        start = time.process_time()
        spotter(piece, RATE)
        times.append(1000 * (time.process_time() - start))
    return {"median": round(statistics.median(times), 2), "95 %": round(statistics.quantiles(times, n=20)[-1], 2)}


@click.command()
@click.argument("weights")
@data_option
@click.option("--speech", type=click.Path(path_type=Path), help="Directory of the Free Spoken Digit Dataset.")
@click.option("--threshold", type=float, help="Lowest probability of a word [default: that of the weights].")
@click.option("--limit", type=int, help="Number of test recordings to join [default: all].")
def main(weights: str, data: Path, speech: Path | None, threshold: float | None, limit: int | None) -> None:
    """Measure the spotter with WEIGHTS, and print the results as JSON."""
    torch.set_num_threads(1)
    model = from_pretrained(weights)
    result: dict[str, Any] = {"threshold": Spotter(model, threshold).threshold}
    sound, words = join_words(data, limit=limit)
    spoken = torch.cat([sound[int(w.begin * RATE) : int(w.end * RATE)] for w in words])
    power, noise = float(spoken.square().mean()), read_noise(data, NOISES[0])
    result["minutes"] = round(len(sound) / RATE / 60, 1)
    for name, audio in (
        ("words in silence", sound),
        ("words in noise, 20 dB", add_noise(sound, noise, 20, power)),
        ("words in noise, 10 dB", add_noise(sound, noise, 10, power)),
    ):
        result[name] = count_words(spot_all(model, audio, threshold), words)
    for name in NOISES:
        result[f"alarms, {name}"] = count_alarms(model, read_noise(data, name), threshold)
    if speech is not None:
        folder = speech / "recordings" if (speech / "recordings").is_dir() else speech
        waves = [read_sound(file, rate=RATE)[0] for file in sorted(folder.glob("*.wav"))]
        order = random.Random(0).sample(waves, len(waves))
        gaps = [piece for wave in order for piece in (wave, torch.zeros(RATE // 4))]
        result["alarms, English digits"] = count_alarms(model, torch.cat(gaps), threshold)
    result["ms for 20 ms of sound"] = measure_latency(model, sound, threshold)
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
