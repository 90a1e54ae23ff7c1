"""The metrics of the Digit Motion weights on the clips of the demo, and of the RadHAR weights on 50 test windows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WEIGHTS
from convrnn_zoo.cli.demo import SAMPLE
from convrnn_zoo.data.datasets.moving_mnist import DIRECTIONS
from tests.helpers.command_line import run

CLIPS = SAMPLE.with_name("digit_motion.npz")
CORRECT = {
    "convgru2d_1layer.digit_motion": 170,
    "convlstm2d_bi_2layer.digit_motion": 176,
    "video_convrnn.digit_motion": 181,
}
"""Number of the 200 clips that each set of weights classifies correctly."""


@pytest.fixture(scope="module")
def clips():
    """Five test clips of every class."""
    with np.load(CLIPS) as arrays:
        return [x[:n] for x, n in zip(arrays["x"], arrays["lengths"], strict=True)], arrays["labels"]


@pytest.fixture(scope="module", params=CORRECT)
def model(request):
    return convrnn_zoo.create_model(request.param, pretrained=True)


def count_correct(model, clips, labels):
    names = WEIGHTS[f"{model.pretrained_cfg['architecture']}.digit_motion"].label_names
    return sum(p.label == names[k] for p, k in zip(model.classify(clips), labels, strict=True))


def assert_is_claimed(record, correct, known, count):
    """Compares the number of correct samples with the known one and with the accuracy of the metadata."""
    assert correct == pytest.approx(known, abs=1)  # rounding depends on the hardware
    claimed = record.metrics[0].value
    spread = 196 * (claimed / 100 * (1 - claimed / 100) / count) ** 0.5  # of so many samples, 95 %
    assert 100 * correct / count == pytest.approx(claimed, abs=spread)


def test_every_weights_tag_is_tested():
    assert {name for name in WEIGHTS if name.endswith(".digit_motion")} == set(CORRECT)


def test_accuracy_matches_the_metadata(model, clips):
    record = next(WEIGHTS[name] for name in CORRECT if name.startswith(model.pretrained_cfg["architecture"]))
    assert_is_claimed(record, count_correct(model, *clips), CORRECT[record.name], len(clips[0]))
    claimed = record.metrics[0]
    assert claimed.interval[0] < claimed.value < claimed.interval[1]


@pytest.mark.slow
def test_clips_played_backwards_move_in_the_opposite_direction(model, clips):
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    predicted = [p.label.split()[1] for p in model.classify([x[::-1].copy() for x in clips[0]])]
    truth = [opposite[list(DIRECTIONS)[k % 4]] for k in clips[1]]
    assert np.mean([a == b for a, b in zip(predicted, truth, strict=True)]) > 0.95


def test_one_frame_does_not_tell_the_direction(model, clips):
    middle = [x[len(x) // 2][None] for x in clips[0]]
    assert count_correct(model, middle, clips[1]) < 0.35 * len(clips[1])


def test_padding_does_not_change_the_answer(model, clips):
    x = torch.from_numpy(np.load(CLIPS)["x"][:8]).float()
    lengths = [len(clip) for clip in clips[0][:8]]
    assert len(set(lengths)) > 1
    model.eval()
    with torch.no_grad():
        together = model(model.normalize(x), lengths=lengths)
        alone = torch.cat([model(model.normalize(x[i, :n][None])) for i, n in enumerate(lengths)])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRECT)
def test_the_command_line_classifies_the_demos_clips(name):
    predictions = json.loads(run("predict", name, CLIPS, "--json"))
    names = [WEIGHTS[name].label_names[label] for label in np.load(CLIPS)["labels"]]
    correct = [p["prediction"] == label for p, label in zip(predictions, names, strict=True)]
    assert sum(correct) == pytest.approx(CORRECT[name], abs=1)


# ---- RadHAR ----------------------------------------------------------------------------------------------------------
RADHAR = "convlstm2d_bi_2layer.radhar_example"


def test_accuracy_of_radhar_matches_the_metadata():
    record, model = WEIGHTS[RADHAR], convrnn_zoo.create_model(RADHAR, pretrained=True)
    with np.load(Path(__file__).with_name("radhar.npz")) as sample:
        windows, labels = sample["x"].astype("float32"), sample["labels"]
    assert np.bincount(labels).tolist() == [10] * 5
    correct = [p.label == record.label_names[k] for p, k in zip(model.classify(windows), labels, strict=True)]
    assert_is_claimed(record, sum(correct), 46, 50)


def test_the_metadata_has_the_accuracy_of_radhar_on_days_that_were_not_trained_on():
    by_name = {m.name: m for m in WEIGHTS[RADHAR].metrics}
    for kind, mean in (("windows", "accuracy, unseen days"), ("recordings", "accuracy, recordings of unseen days")):
        days = [by_name[f"accuracy, {kind}, {day} June unseen"] for day in (28, 30)]
        assert by_name[mean].value == pytest.approx(np.mean([m.value for m in days]), abs=0.01)
