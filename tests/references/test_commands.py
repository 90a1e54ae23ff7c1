"""The programs that measure the spotter and write the data of the smartwatch."""

import numpy as np
import pytest
import torch

from convrnn_zoo import Spot
from references import commands

RATE = commands.RATE


@pytest.fixture
def folder(tmp_path):
    """A folder like that of the Arabic Speech Commands: two words, four recordings each, and noise."""
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "background_noise").mkdir()
    for name in commands.NOISES:
        noise = 0.1 * torch.randn(3 * RATE, generator=generator)
        soundfile.write(tmp_path / "background_noise" / f"{name}.wav", noise.numpy(), RATE)
    rows = ["file,class"]
    for word in ("yes", "no"):
        (tmp_path / "dataset" / word).mkdir(parents=True)
        for i in range(4):
            rows.append(f"dataset/{word}/{i}.wav,{word}")
            soundfile.write(tmp_path / "dataset" / word / f"{i}.wav", np.full(RATE, 0.5), RATE)
    (tmp_path / "test.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_words_are_joined_with_gaps_and_noise(folder):
    sound, words = commands.join_words(folder)
    assert sorted(w.label for w in words) == ["no"] * 4 + ["yes"] * 4
    for before, word in zip([None, *words], words, strict=False):
        assert 0.5 <= word.begin - (before.end if before else 0) <= 2
        assert word.end - word.begin == pytest.approx(1)
        assert sound[int(word.begin * RATE) + 2 : int(word.end * RATE) - 2].min() > 0.49
    noise = commands.read_noise(folder, "boiler")
    added = commands.add_noise(sound, noise, 10, speech_power=0.25) - sound
    assert 10 * np.log10(0.25 / float(added.square().mean())) == pytest.approx(10, abs=0.2)


def test_spots_are_counted():
    words = [
        commands.Word(1, 2, "yes"),
        commands.Word(4, 5, "no"),
        commands.Word(6, 7, "up"),
        commands.Word(9, 10, "up"),
    ]
    spots = [
        Spot(2.1, "yes", 0.9),
        Spot(3.6, "up", 0.9),
        Spot(4.9, "yes", 0.9),
        Spot(6.9, "no", 0.5),
        Spot(7.4, "up", 1),
    ]
    expected = {"words": 4, "found": 2, "confused": 1, "missed": 1, "false": 1}
    assert commands.count_words(spots, words) == expected
