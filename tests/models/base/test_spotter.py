"""Spotting of words in continuous sound."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import LogMel, Spotter

RATE = 8000
SOUND = 0.3 * torch.randn(5 * RATE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = convrnn_zoo.create_model("audio_convrnn", hidden_channels=4, stem_channels=4, num_classes=3).eval()
    model.front_end = LogMel(rate=RATE)
    model.head.weight.data *= 30  # so that the probabilities of noise differ
    model.pretrained_cfg["label_names"] = ["yes", "no", "up"]
    return model


def windows(spotter, sound, size):
    return [window for piece in sound.split(size) for window in spotter.read(piece, RATE)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [137, 1600, len(SOUND)])
def test_each_window_is_classified_as_a_recording_of_its_own(model, size):
    spotter = Spotter(model, 0.5, seconds=0.5, windows=5)
    found = windows(spotter, SOUND, size)
    assert spotter.stride == 5
    samples = 24 * model.front_end.hop_length + model.front_end.size  # of 25 steps
    begins = range(0, len(SOUND) - samples + 1, 5 * model.front_end.hop_length)
    assert [round(t, 3) for t, _ in found] == [round((b + samples) / RATE, 3) for b in begins]
    for (_, probabilities), begin in zip(found, begins, strict=True):
        [expected] = model.classify_sound([SOUND[begin : begin + samples]], RATE)
        torch.testing.assert_close(probabilities.tolist(), list(expected.probabilities.values()), atol=1e-5, rtol=1e-4)


class Windows(Spotter):
    """A spotter whose windows are given: ``(seconds, class, probability)``."""

    def read(self, wave, rate):
        for seconds, i, p in wave:
            probabilities = torch.full((3,), (1 - p) / 2)
            probabilities[i] = p
            yield seconds, probabilities


def test_a_word_is_the_best_window_of_half_a_second_and_is_reported_once(model):
    spotter = Windows(model, 0.6)
    found = [(1.0, 0, 0.4), (1.1, 0, 0.7), (1.2, 1, 0.65), (1.3, 0, 0.9), (1.6, 0, 0.8)]
    assert spotter(found, RATE) == []  # the search goes on until 1.6 s
    [spot] = spotter([(1.7, 0, 0.95)], RATE)  # which is of the same word: it ends before 1.3 s and a half
    assert (spot.seconds, spot.label, round(spot.probability, 2)) == (1.3, "yes", 0.9)
    assert spotter([(1.9, 2, 0.7), (2.0, 2, 0.5)], RATE) == []
    [spot] = spotter.finish()
    assert (spot.seconds, spot.label) == (1.9, "up")
    assert spotter.finish() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "front_end", None), "front end and classes"),
        (lambda m: m.reset_classifier(0), "front end and classes"),
        (lambda m: m.train(), "training mode"),
        (lambda m: None, "pass threshold, such as 0.5"),
    ],
)
def test_models_that_cannot_spot_words_are_rejected(model, change, message):
    change(model)
    with pytest.raises(ValueError, match=message):
        Spotter(model)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.5, float("nan")])
def test_a_threshold_is_a_probability_above_0(model, threshold):
    with pytest.raises(ValueError, match="threshold must be a"):
        Spotter(model, threshold)
