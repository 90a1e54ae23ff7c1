"""Simple baselines next to the shipped weights."""

import pytest
import torch

from benchmarks.baselines import baseline_rows, order_frames, pool_frames, score_baselines, strongest
from convrnn_zoo import WEIGHTS, Metric
from convrnn_zoo.data import Labelled


def make_clips(count, seed):
    """Returns clips of one pixel that turns from 0 to 1, or from 1 to 0: only the order tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    lengths = torch.randint(6, 14, (count,), generator=generator).tolist()
    ramps = [torch.linspace(0, 1, n)[:, None, None] for n in lengths]
    noise = [0.01 * torch.randn(n, 1, 1, generator=generator) for n in lengths]
    clips = [(x.flip(0) if k else x) + e for x, k, e in zip(ramps, labels, noise, strict=True)]
    return Labelled(clips, labels, ("up", "down"), ("",) * count)


@pytest.mark.slow  # aeon compiles MiniRocket
@pytest.mark.filterwarnings("ignore")  # of aeon's packages
def test_only_baselines_that_read_the_order_tell_a_ramp_from_its_reverse():
    scores = score_baselines(make_clips(60, 0), make_clips(60, 1))
    assert scores["logistic regression, frames in order"] == scores["MiniRocket"] == 100
    assert max(scores[name] for name in ("logistic regression", "random forest", "gradient boosting")) < 75


def test_pooled_frames_are_means_and_deviations_and_ordered_ones_keep_the_ends():
    data = Labelled([torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]])], torch.tensor([0]), ("a",), ("",))
    assert pool_frames(data).tolist() == [[2, 4, 1, 2]]
    ordered = order_frames(data)[0]
    assert ordered.shape == (2, 12)
    assert ordered[:, 0].tolist() == [1, 2]
    assert ordered[:, -1].tolist() == [3, 6]


def test_the_strongest_baseline_of_an_accuracy_is_the_highest():
    metric = Metric("accuracy", 90, "", "", baselines={"random forest": 80, "MiniRocket": 85, "middle frame only": 99})
    assert strongest(metric) == ("MiniRocket", 85)
    with pytest.raises(ValueError, match="convlstm1d"):
        strongest(Metric("accuracy", 90, "convlstm1d", ""))


def test_every_shipped_set_has_a_baseline_and_those_that_lose_are_examples():
    rows = baseline_rows()
    assert {row[0] for row in rows} == set(WEIGHTS)
    losing = {name for name, *_, is_better in rows if not is_better}
    assert losing == {
        "convgru1d_bi_2layer.watch_example",
        "convlstm2d_bi_2layer.radhar_example",
        "convlstm1d_bi_1layer.japanese_vowels",  # one of 370 recordings
    }
