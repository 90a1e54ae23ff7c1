"""Intervals cover the true difference as often as they claim to, and differences within noise are named as such."""

import pytest
import torch
from click.testing import CliRunner

from references.nowcast.intervals import ALL, bootstrap, compare, intervals
from tools import ROOT, recorded
from tools.docs.nowcasts import NOWCASTS, events


def event(gain, windows=5, **more):
    """Scores of an event on which the forecast is better by these gains."""
    csi = {"extrapolation": [0.3 + 0.01 * i for i in range(windows)]}
    csi["forecast"] = [value + g for value, g in zip(csi["extrapolation"], gain, strict=True)]
    methods = {m: {"CSI 2 by window": [{"5–15 min": v} for v in values]} for m, values in csi.items()}
    return {"title": f"event of {gain[0]}", **methods, **more}


def test_intervals_cover_the_mean_of_many_windows():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(100):
        values = (0.3 + torch.randn(40, generator=generator)).tolist()
        difference = bootstrap([values], samples=500, seed=seed)
        assert difference.low < difference.mean < difference.high
        covered += difference.low <= 0.3 <= difference.high
    assert 88 <= covered <= 99


def test_differences_between_events_widen_the_interval_of_all():
    narrow = bootstrap([[0.1, 0.11, 0.09]] * 4)
    wide = bootstrap([[v, v + 0.01, v - 0.01] for v in (0.0, 0.05, 0.15, 0.2)])
    assert narrow.mean == pytest.approx(wide.mean)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_gains_are_distinguished_from_noise():
    scores = {"clear": event([0.05, 0.06, 0.04, 0.05, 0.05]), "noise": event([0.05, -0.06, 0.02, -0.03, 0.01])}
    clear, noise, overall = compare(scores)
    assert clear.difference.is_distinguishable
    assert clear.difference.mean == pytest.approx(0.05)
    assert not noise.difference.is_distinguishable
    assert (overall.event, overall.reference, overall.group) == (ALL, "extrapolation", "5–15 min")
    assert overall.difference.mean == pytest.approx((0.05 - 0.002) / 2)


def test_the_reference_is_the_best_baseline_of_each_event():
    first, second = event([0.1] * 5), event([0.2] * 5)
    for scores, gain in ((first, 0.05), (second, -0.05)):
        by_window = scores["extrapolation"]["CSI 2 by window"]
        scores["S-PROG"] = {"CSI 2 by window": [{"5–15 min": w["5–15 min"] + gain} for w in by_window]}
    a, b, overall = compare({"a": first, "b": second})
    assert (a.reference, b.reference, overall.reference) == ("S-PROG", "extrapolation", "best baseline")
    assert a.difference.mean == pytest.approx(0.05)
    assert overall.difference.mean == pytest.approx((0.05 + 0.2) / 2)


def test_ensembles_are_compared_with_steps():
    ensembles = {"forecast": {"CRPS by window": [0.1, 0.2]}, "STEPS": {"CRPS by window": [0.2, 0.3]}}
    *_, comparison = compare({"a": event([0.1] * 5, ensembles=ensembles)})
    assert comparison[:4] == ("CRPS", "", "event of 0.1", "STEPS")
    assert comparison.difference.mean == pytest.approx(-0.1)


@pytest.mark.slow
def test_the_command_prints_the_recorded_scores():
    done = CliRunner().invoke(intervals, [str(ROOT / NOWCASTS)])
    assert done.exit_code == 0
    lines = [line for line in done.output.splitlines() if line.startswith("all events")]
    assert len(lines) == 9 + 36 + 1 + 3 + 6  # CSI and FSS by threshold, scale and group; MSE, CRPS, Brier, reliability
    assert list(recorded(NOWCASTS).values()) == events()
