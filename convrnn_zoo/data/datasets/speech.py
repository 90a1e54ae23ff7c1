"""Speech datasets: the training data of shipped weights."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ..._extras import need
from ...values.log_mel import LogMel
from ..files import check_exists, list_dir
from ..readers.sequences import encode_sound, read_ts
from .labelled_sequences import Labelled, LabelledDataset
from .splits import resolve_path


@dataclass(frozen=True)
class JapaneseVowels(LabelledDataset):
    """JapaneseVowels: 12 cepstral coefficients per step, as maps of one pixel ``(T, 12, 1)`` with T from 7 to 29.

    The classes are nine speakers. The splits are the official ones: 270 recordings for training and 370 for the test.
    """

    title = "JapaneseVowels"
    task = "audio classification"
    url = "https://archive.ics.uci.edu/dataset/128/japanese+vowels"
    license = "CC BY 4.0"
    split_words = "official test split"
    label_names = tuple(f"speaker {i}" for i in range(1, 10))

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads ``JapaneseVowels_TRAIN.ts`` or ``JapaneseVowels_TEST.ts`` in `path`, by default in the package aeon."""
        name = f"JapaneseVowels_{'TEST' if split == 'test' else 'TRAIN'}.ts"
        if path is None:
            path = Path(need("aeon.datasets", "data").__path__[0], "data", "JapaneseVowels")
        fix = "run: pip install 'convrnn-zoo[data]', or get it from https://timeseriesclassification.com"
        check_exists(path / name, fix)
        recordings = read_ts(path / name)
        sequences = [r.values.unsqueeze(-1) for r in recordings]
        labels = torch.tensor([int(r.label) - 1 for r in recordings])
        return self.select_split(Labelled(sequences, labels, self.label_names), split)


@dataclass(frozen=True)
class FSDD(LabelledDataset):
    """Free Spoken Digit Dataset: English digits of 0.14 to 2.28 s by six speakers, as features ``(T, 40, 1)``.

    The test split has 300 recordings: the first five of each digit by each speaker. The training split has the other
    2,700 recordings. The group of a recording is its speaker.
    """

    title = "FSDD"
    task = "audio classification"
    url = "https://github.com/Jakobovski/free-spoken-digit-dataset"
    license = "CC BY-SA 4.0"
    split_words = "official test split"
    label_names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads files such as ``7_george_12.wav`` in `path`, or in the folder ``recordings`` of `path`."""
        hint = f"git clone {self.url}"
        path = resolve_path(path, self.title, hint)
        folder = path / "recordings" if (path / "recordings").is_dir() else path
        files = sorted(list_dir(folder)) if folder.is_dir() else []
        names = [(m, f) for f in files if (m := re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", f.name))]
        names = [(m, file) for m, file in names if (int(m[3]) < 5) == (split == "test")]
        if not names:
            raise FileNotFoundError(f"{folder} contains no file such as 7_george_12.wav; {hint}")
        front_end = front_end or LogMel(rate=8000)
        labels, groups = torch.tensor([int(m[1]) for m, _ in names]), tuple(m[2] for m, _ in names)
        sequences = [encode_sound(file, front_end) for _, file in names]
        return self.select_split(Labelled(sequences, labels, self.label_names, groups, front_end), split)
