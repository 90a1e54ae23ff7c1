"""Tests of ensembles from the command line: members, figures, scores."""

import json
import re

import numpy as np
import pytest
import xarray
from PIL import Image

from convrnn_zoo import create_model, interop, save_pretrained
from tests.helpers.command_line import run
from tests.helpers.interop.recorded import recorded


@pytest.fixture
def irene(tmp_path):
    """Directory with converted weights of a small IRENE and sixteen frames of moving rain."""
    interop.convert("irene", recorded("irene").state, tmp_path / "irene")
    y, x = np.mgrid[:40, :44]
    frames = [20 * np.exp(-((x - 8 - 1.5 * t) ** 2 + (y - 20) ** 2) / 50) for t in range(16)]
    np.save(tmp_path / "frames.npy", np.stack(frames).astype("float32"))
    return tmp_path


def predict(irene, output, *args, file="frames.npy", code=0):
    return run("predict", irene / "irene", irene / file, "-o", irene / output, *args, code=code)


def test_members_are_compared_with_the_observed_frames(irene):
    text = predict(irene, "m.npy", "--members", 4, "--horizon", 3, "--compare")
    assert re.search(r"7 to 12 of 16\b.*\b3 frames.*\b4 members.*\b3 observed", text)
    members = np.load(irene / "m.npy")
    assert members.shape == (4, 3, 40, 44)
    observed = np.load(irene / "frames.npy")[13:16]
    error = float(re.search(r"mean squared error (\S+),", text)[1])
    assert error == pytest.approx(np.square(members.mean(0) - observed).mean(), rel=0.01)


@pytest.mark.slow
def test_an_ensemble_is_plotted_with_and_without_observations(irene):
    args = ("--members", 3, "--probability", 2, "--horizon", 4)
    predict(irene, "a.png", *args, "--compare")
    predict(irene, "b.png", *args)
    sizes = []
    for name in "ab":
        with Image.open(irene / f"{name}.png") as image:
            sizes.append(image.size)
    assert sizes[0][1] > sizes[1][1] > 200


def test_options_of_an_ensemble_need_a_model_that_has_members(irene, tmp_path):
    assert ".png" in predict(irene, "a.gif", "--members", 2, code=1)
    assert "--members" in predict(irene, "a.npy", "--seed", 1, code=1)
    plain = create_model("convgru_forecaster", hidden_channels=2, kernel_size=3)
    save_pretrained(plain, tmp_path / "plain")
    args = (irene / "frames.npy", "-o", irene / "a.png", "--members", 2)
    assert "--members" in run("predict", tmp_path / "plain", *args, code=1)
    without_unit = create_model("convgru_irene", num_blocks=2)
    save_pretrained(without_unit, tmp_path / "without_unit")
    assert "--recipe" in run("predict", tmp_path / "without_unit", *args, code=1)


def test_members_and_probabilities_are_both_written_and_named(irene):
    network = create_model("convgru_advection", hidden_channels=(2, 3))
    save_pretrained(network, irene / "nowcast")

    def write(name, *args, code=0):
        return run(
            "predict", irene / "nowcast", irene / "frames.npy", "-o", irene / name, "--horizon", 2, *args, code=code
        )

    probable, several = ("--probability", "0.5,2"), ("--members", 4)
    write("every.npy", *probable)
    write("members.npy", *several)
    every, members = (np.load(irene / name) for name in ("every.npy", "members.npy"))
    shares = np.stack([(members >= t).mean(0) for t in (0.5, 2)], axis=1)
    assert every.shape == shares.shape == (2, 2, 40, 44)
    assert np.abs(shares - every).max() <= 0.25
    write("both.npz", *probable, *several)
    write("both.json", *probable, *several)
    text = json.loads((irene / "both.json").read_text())
    for arrays in (
        np.load(irene / "both.npz"),
        {k: np.array(text[k], "float32") for k in ("forecast", "probabilities")},
    ):
        np.testing.assert_allclose(arrays["forecast"], members, atol=1e-5)
        np.testing.assert_allclose(arrays["probabilities"], shares)
    write("both.nc", *probable, *several)
    with xarray.open_dataset(irene / "both.nc") as data:
        np.testing.assert_allclose(data["probability_of_forecast"], shares)
        np.testing.assert_allclose(data["forecast"], members, atol=1e-5)
    assert "both.npy" in write("both.npy", *probable, *several, code=1)
