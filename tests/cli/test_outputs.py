"""Files that a command must not write."""

from pathlib import Path

import pytest

from convrnn_zoo.cli._options import check_not_input


@pytest.mark.parametrize(
    "out",
    ["a.npy", "link.npy", "images/0.png", "images/new.png", "a.zarr/b.npy", "run/config.json", "run/metadata.json"],
)
@pytest.mark.needs("symlinks")
def test_rejects_output_paths_that_are_inputs(out, tmp_path):
    for folder in ("images", "a.zarr", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a.npy").write_text("x")
    (tmp_path / "link.npy").symlink_to(tmp_path / "a.npy")
    inputs = [tmp_path / name for name in ("a.npy", "images", "a.zarr")]
    with pytest.raises(ValueError, match=f"{tmp_path / out} .*read"):
        check_not_input(tmp_path / out, inputs, str(tmp_path / "run"))
    for allowed in ("b.npy", "images/a.npy", "images/a.json", "a.png", "run/scores.json"):
        check_not_input(tmp_path / allowed, inputs, str(tmp_path / "run"))
    check_not_input(tmp_path / "config.json", [], "convgru_forecaster.rain")
    check_not_input(Path("config.json"), [])


def test_a_forecast_is_not_written_among_the_arrays_that_are_read(tmp_path):
    (tmp_path / "radar").mkdir()
    (tmp_path / "radar" / "a.nc").write_text("x")
    for name in ("forecast.npy", "forecast.NC", "scores.csv"):
        with pytest.raises(ValueError, match=f"{tmp_path / 'radar' / name} .*read"):
            check_not_input(tmp_path / "radar" / name, [tmp_path / "radar"])


def test_a_model_in_the_home_directory_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"config\.json .*read"):
        check_not_input(tmp_path / "run" / "config.json", [], "~/run")
