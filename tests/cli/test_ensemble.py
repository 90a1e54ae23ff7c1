"""An ensemble from the command line: members, picture, scores."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import create_model, interop, save_pretrained
from tests.command_line import run
from tests.interop.recorded import recorded


@pytest.fixture
def irene(tmp_path):
    """Converted weights of a small IRENE, and sixteen frames of rain that moves."""
    interop.convert("irene", recorded("irene").state, tmp_path / "irene")
    y, x = np.mgrid[:40, :44]
    frames = [20 * np.exp(-((x - 8 - 1.5 * t) ** 2 + (y - 20) ** 2) / 50) for t in range(16)]
    np.save(tmp_path / "frames.npy", np.stack(frames).astype("float32"))
    return tmp_path


def test_members_are_written_and_scored_beside_extrapolation(irene):
    pytest.importorskip("pysteps", reason="the extra nowcast")
    pytest.importorskip("cv2", reason="the extra nowcast")
    text = run(
        "ensemble",
        irene / "irene",
        irene / "frames.npy",
        "-o",
        irene / "m.npy",
        "--members",
        4,
        "--horizon",
        3,
        "--compare",
    )
    assert "read frames 7 to 12 of 16, forecast 3 frames, compared with 3 observed" in text
    assert "4 members" in text
    members = np.load(irene / "m.npy")
    assert members.shape == (4, 3, 40, 44)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[-5:]}
    assert rows["CRPS"] == ["mm/h", "ensemble", "last", "frame", "extrapolation"]
    ensemble, still, moved = map(float, rows["mean"])
    assert moved < still
    truth = np.load(irene / "frames.npy")[13:16]
    apart = np.abs(members[:, None] - members[None]).mean()
    assert ensemble == pytest.approx(np.abs(members - truth).mean() - apart / 2, rel=0.01)
    run("ensemble", irene / "irene", irene / "frames.npy", "-o", irene / "n.npy", "--members", 4, "--horizon", 3)
    assert np.array_equal(np.load(irene / "n.npy"), members)


def test_an_ensemble_is_drawn_with_its_truth_and_without(irene):
    args = ("ensemble", irene / "irene", irene / "frames.npy", "--members", 3, "--threshold", 2)
    run(*args, "-o", irene / "a.png", "--horizon", 4, "--compare")
    run(*args, "-o", irene / "b.png", "--horizon", 4, "--inputs", 16)
    sizes = []
    for name in "ab":
        with Image.open(irene / f"{name}.png") as image:
            sizes.append(image.size)
    assert sizes[0][1] > sizes[1][1] > 200


def test_an_array_of_several_is_named(irene):
    with h5py.File(irene / "two.h5", "w") as file:
        file["rate"] = frames = np.load(irene / "frames.npy")
        file["other"] = np.zeros_like(frames)
    args = ("ensemble", irene / "irene", irene / "two.h5", "--members", 2, "--horizon", 2, "-o", irene / "a.npy")
    assert "name it --key" in run(*args, code=1)
    run(*args, "--key", "rate")
    run(*args[:2], irene / "frames.npy", *args[3:-1], irene / "b.npy")
    assert np.array_equal(np.load(irene / "a.npy"), np.load(irene / "b.npy"))


def test_what_will_not_do_is_told(irene, tmp_path):
    frames = irene / "frames.npy"
    assert "expected a name that ends in" in run("ensemble", irene / "irene", frames, "-o", irene / "a.gif", code=1)
    plain = create_model("convgru_forecaster", hidden_channels=2, kernel_size=3)
    save_pretrained(plain, tmp_path / "plain")
    assert "reads no noise" in run("ensemble", tmp_path / "plain", frames, "-o", irene / "a.png", code=1)
    silent = create_model("convgru_irene", num_blocks=2)
    save_pretrained(silent, tmp_path / "silent")
    told = run("ensemble", tmp_path / "silent", frames, "-o", irene / "a.png", code=1)
    assert "--recipe" in told
    assert torch.is_grad_enabled()
