"""``convrnn-zoo export``."""

import onnxruntime
import pytest
import torch
from click.testing import CliRunner

import convrnn_zoo
from convrnn_zoo_command.group import cli
from tests.helpers.command_line import run


@pytest.fixture
def saved(tmp_path):
    """A directory with a small model."""
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    convrnn_zoo.save_pretrained(model, tmp_path / "gru")
    return tmp_path / "gru"


@pytest.mark.slow
def test_the_file_computes_one_step(saved, tmp_path):
    path = tmp_path / "gru.onnx"
    lines = run("export", saved, "-o", path, "--form", "step", "--quiet").splitlines()
    assert lines[-1].startswith(f"{path}: 0.")  # torch may log lines of its own before
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input", "h_l0_in", "pool_in", "steps_in"]


@pytest.mark.slow
def test_the_suffix_selects_the_format(saved, tmp_path):
    run("export", saved, "-o", tmp_path / "gru.pt2", "--no-lengths")
    x = torch.randn(2, 5, 1, 8)
    expected = convrnn_zoo.from_pretrained(saved)(x)
    torch.testing.assert_close(torch.export.load(tmp_path / "gru.pt2").module()(input=x)[0], expected)
    text = run("export", saved, "-o", tmp_path / "gru.txt", code=2)
    assert ".onnx or .pt2" in text
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


def test_an_option_of_another_model_names_itself(saved, tmp_path):
    assert "horizon" in run("export", saved, "-o", tmp_path / "gru.onnx", "--horizon", 3, code=1)
    assert not (tmp_path / "gru.onnx").exists()
