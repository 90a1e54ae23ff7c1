"""The reliability of a nowcast is measured on what training excludes, over known pixels."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from references.nowcast import calibration
from references.nowcast.calibration import Reliability, calibrate, held_out_windows, measure, worst_difference
from references.nowcast.mrms import CodedEvent, encode_rate
from references.nowcast.train import PLACES


class Constant:
    """A nowcast that is 30 % sure of rain everywhere."""

    def probabilities(self, frames, thresholds, horizon, minutes):
        self.called_with = tuple(thresholds), minutes
        return torch.full((horizon, len(thresholds), *frames.shape[1:]), 0.3)


@pytest.fixture
def archive(tmp_path):
    """Dry rain where training looks; 30 % of 0.7 mm/h elsewhere, and a part that is never known."""
    rate = torch.zeros(24, 10, PLACES["test"][0] + 400)
    wet = torch.rand(24, 10, 400, generator=torch.Generator().manual_seed(0)) < 0.3
    rate[..., PLACES["test"][0] :] = 0.7 * wet
    rate[:, 0] = torch.nan
    np.savez(tmp_path / "mrms-a.npz", rate=encode_rate(rate).numpy(), time=[f"00{2 * i:02d}00" for i in range(24)])
    return tmp_path


def test_places_outside_training_are_measured(archive):
    model = Constant()
    (by_threshold,) = measure(model, archive).values()
    assert model.called_with == ((0.5, 2.0, 5.0), 6.0)
    half = by_threshold["0.5"]
    assert half["count"][3] == 3 * 4 * 9 * 400  # windows, lead times, known rows, columns
    assert half["observed"][3] == pytest.approx(0.3, abs=0.01)
    assert abs(worst_difference(half)) < 0.01
    assert worst_difference(by_threshold["2"]) == pytest.approx(-0.3)
    assert [n for i, n in enumerate(half["count"]) if i != 3] == [0] * 9


def test_the_command_prints_and_writes_the_results(archive, monkeypatch):
    monkeypatch.setattr(calibration, "create_model", lambda *_, **__: torch.nn.Identity())
    monkeypatch.setattr(torch.nn.Identity, "probabilities", Constant().probabilities.__func__, raising=False)
    out = archive / "out.json"
    done = CliRunner().invoke(calibrate, ["a.nowcast", "--data", str(archive), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "United States, other region, 2 mm/h: -0.300" in done.output
    assert json.loads(out.read_text(encoding="utf-8"))["United States, other region"]["2"]["observed"][3] == 0


def test_long_events_give_windows_of_an_hour():
    event = CodedEvent(torch.zeros(22, 2, 2, dtype=torch.uint8), 5.0)
    windows = list(held_out_windows([event]))
    assert [(len(w.inputs), len(w.truth), minutes) for w, minutes in windows] == [(4, 12, 5.0)] * 2


def test_bins_without_enough_pixels_do_not_count():
    reliability = Reliability()
    reliability.add(torch.full((2000,), 0.15), torch.zeros(2000), 1.0)
    reliability.add(torch.full((5,), 1.0), torch.zeros(5), 1.0)
    assert worst_difference(reliability.to_json()) == pytest.approx(-0.15)
