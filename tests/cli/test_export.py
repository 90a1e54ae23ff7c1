"""``convrnn-zoo export``."""

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

import convrnn_zoo
from convrnn_zoo.cli._group import cli
from convrnn_zoo.exporting.quantize import run_sequence
from tests.helpers.command_line import run


@pytest.fixture
def saved(tmp_path):
    """A directory with a small model."""
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    convrnn_zoo.save_pretrained(model, tmp_path / "gru")
    return tmp_path / "gru"


def test_the_file_computes_one_step(saved, tmp_path):
    path = tmp_path / "gru.onnx"
    lines = run("export", saved, "-o", path, "--form", "step", "--quiet").splitlines()
    assert lines[-1].startswith(f"{path}: 0.")  # torch may log lines of its own before
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input", "h_l0_in", "pool_in", "steps_in"]


def test_the_suffix_selects_the_format(saved, tmp_path):
    run("export", saved, "-o", tmp_path / "gru.pt2", "--no-lengths")
    x = torch.randn(2, 5, 1, 8)
    expected = convrnn_zoo.from_pretrained(saved)(x)
    torch.testing.assert_close(torch.export.load(tmp_path / "gru.pt2").module()(input=x)[0], expected)
    text = run("export", saved, "-o", tmp_path / "gru.txt", code=2)
    assert ".onnx, .pt2 or .pte" in text
    assert "gru.txt" in text


@pytest.mark.slow
def test_the_parts_are_printed_to_standard_error_unless_quiet(saved, tmp_path):
    options = ["export", str(saved), "-o", str(tmp_path / "gru.onnx"), "--form", "step"]
    done = CliRunner().invoke(cli, options)
    parts = done.stderr.splitlines()
    assert len(parts) == 3
    assert [word in part for word, part in zip(("tracing", "ONNX", "comparing"), parts, strict=True)] == [True] * 3
    assert len(done.stdout.splitlines()) == 1
    assert CliRunner().invoke(cli, [*options, "--quiet"]).stderr == ""


@pytest.mark.slow
def test_int8_files_are_calibrated_on_recordings(tmp_path):
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=32, num_classes=2).eval()
    convrnn_zoo.save_pretrained(model, tmp_path / "gru")
    (tmp_path / "recordings").mkdir()
    recordings = np.random.default_rng(0).normal(size=(40, 9, 1, 8)).astype(np.float32)
    for i, recording in enumerate(recordings):
        np.save(tmp_path / "recordings" / f"{i}.npy", recording)
    path, exact = tmp_path / "int8.onnx", tmp_path / "exact.onnx"
    run("export", tmp_path / "gru", "-o", path, "--int8", tmp_path / "recordings", "--quiet")
    run("export", tmp_path / "gru", "-o", exact, "--form", "step", "--quiet")
    assert path.stat().st_size < 0.7 * exact.stat().st_size
    *_, (_, outputs) = run_sequence(onnxruntime.InferenceSession(path), recordings[0][:, None])
    expected = model(torch.from_numpy(recordings[:1])).detach().numpy()
    assert 0 < np.abs(outputs["output"] - expected).max() < 0.1 * np.abs(expected).max()
    text = run("export", tmp_path / "gru", "-o", tmp_path / "a.pt2", "--int8", tmp_path / "recordings", code=2)
    assert "--int8" in text


@pytest.mark.slow
def test_int8_files_are_calibrated_on_frames(tmp_path):
    frames = np.random.default_rng(0).gamma(0.5, 2, (12, 33, 40)).astype(np.float32)
    np.save(tmp_path / "radar.npy", frames)
    path = tmp_path / "rain.onnx"
    run("export", "convgru_forecaster.rain", "-o", path, "--int8", tmp_path / "radar.npy", "--quiet")
    assert path.stat().st_size < 1.1e6
    model = convrnn_zoo.from_pretrained("convgru_forecaster.rain")
    frames = frames[:4, :32]
    *_, (_, outputs) = run_sequence(onnxruntime.InferenceSession(path), frames[:, None, None])
    expected = model.forecast(frames)
    assert np.abs(outputs["output"][0, :, 0] - expected).max() < 0.2 * expected.max()


def test_an_option_of_another_model_names_itself(saved, tmp_path):
    assert "horizon" in run("export", saved, "-o", tmp_path / "gru.onnx", "--horizon", 3, code=1)
    assert not (tmp_path / "gru.onnx").exists()


def test_every_option_has_help():
    command = cli.get_command(None, "export")
    assert all(option.help for option in command.params if option.param_type_name == "option")
