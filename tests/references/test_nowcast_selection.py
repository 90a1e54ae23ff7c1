"""Settings of the nowcast are selected by the CSI on windows outside training, the same for all methods."""

import pytest
import torch
from click.testing import CliRunner

from references.nowcast import selection
from references.nowcast.calibration import HeldOut
from references.nowcast.verification import Window


def window(minutes=15.0, height=8, width=12):
    """Rain of 1 mm/h in the right half, in which one pixel is never known."""
    frames = torch.zeros(4 + int(60 // minutes), height, width)
    frames[..., width // 2 :] = 1.0
    frames[:, 0, -1] = torch.nan
    return HeldOut(Window(frames[:4], frames[4:]), minutes)


def all_wet(frames, horizon, minutes):
    """Forecasts rain everywhere from 30 minutes on."""
    wet = torch.arange(1, horizon + 1)[:, None, None] * minutes >= 30
    return torch.where(wet, 1.0, frames[-1].nan_to_num(0)).expand(horizon, *frames.shape[1:])


@pytest.mark.parametrize("minutes", [5.0, 6.0, 10.0, 15.0])
def test_the_csi_is_that_of_the_groups_of_lead_times_over_known_pixels(minutes):
    scores = selection.score(all_wet, [window(minutes)] * 2)
    assert set(scores) == {(0.5, group) for group in ("5–15 min", "20–30 min", "35–60 min")}  # 2 mm/h never occur
    assert scores[0.5, "5–15 min"] == 1
    assert scores[0.5, "35–60 min"] == pytest.approx(47 / 95)


def test_a_window_is_cut_to_its_wettest_square(monkeypatch):
    monkeypatch.setattr(selection, "EDGE", 4)
    monkeypatch.setattr(selection, "STRIDE", 2)
    frames = torch.zeros(6, 4, 20)
    frames[:, 1:3, 13:16] = torch.tensor([2.0, 3.0, 4.0])
    inputs, truth = selection.wettest(Window(frames[:4], frames[4:]))
    assert (inputs.shape, truth.shape) == ((4, 4, 4), (2, 4, 4))
    assert inputs[-1].sum() == 18
    small = selection.wettest(Window(frames[:4, :, :3], frames[4:, :, :3]))
    assert small.inputs.shape == (4, 4, 3)


def test_the_command_lists_the_mean_csi_by_place(tmp_path, monkeypatch):
    def still(frames, horizon):
        return frames[-1:].expand(horizon, -1, -1)

    class Wet:
        def forecast(self, frames, horizon, minutes):
            return all_wet(frames, horizon, minutes)

    monkeypatch.setattr(selection, "BASELINES", ("still",))
    monkeypatch.setattr(selection, "pysteps_methods", lambda minutes: {"still": still})
    monkeypatch.setattr(selection, "load_windows", lambda directory: {"here": [window()], "there": [window(5.0)]})
    monkeypatch.setattr(selection, "load_nowcast", lambda name: Wet())
    done = CliRunner().invoke(selection.main, ["a.nowcast", "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    mean = (1 + 2 * 47 / 95) / 3
    rows = [line.split() for line in done.output.splitlines()]
    assert rows[1] == ["here", "1.0000", f"{mean:.4f}"]
    assert [row[0] for row in rows[2:]] == ["there", "mean"]
    assert rows[2][1] == "1.0000"
