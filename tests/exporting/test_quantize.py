"""Quantized step files are smaller and close to the model."""

import numpy as np
import onnx
import pytest
import torch

from convrnn_zoo import ExportError, create_model, export
from convrnn_zoo.exporting import quantize
from convrnn_zoo.exporting.quantize import run_sequence
from tests.helpers.exporting.agreement import session


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    torch.manual_seed(0)
    model = create_model("convgru1d_2layer", in_chans=1, hidden_channels=32, num_classes=3).eval()
    return model, export(model, tmp_path_factory.mktemp("step") / "gru.onnx", "step")[0]


def test_a_quantized_file_is_smaller_and_close(step, tmp_path):
    model, path = step
    generator = torch.Generator().manual_seed(1)
    sequences = torch.randn(6, 12, 1, 1, 16, generator=generator).numpy()
    quantized = quantize(path, tmp_path / "gru.int8.onnx", sequences)
    assert quantized.stat().st_size < 0.5 * path.stat().st_size
    *_, (_, outputs) = run_sequence(session(quantized), sequences[0])
    with torch.no_grad():
        expected = model(torch.from_numpy(sequences[0]).transpose(0, 1)).numpy()
    difference = np.abs(outputs["output"] - expected).max()
    assert 0 < difference < 0.1 * np.abs(expected).max()
    elements = {v.name: v.type.tensor_type.elem_type for v in onnx.load(quantized).graph.input}
    assert set(elements.values()) == {onnx.TensorProto.FLOAT}  # states are not quantized


@pytest.mark.parametrize("first_float", [-1, 4, 100])
def test_convolutions_in_float32_are_counted(step, first_float, tmp_path):
    with pytest.raises((ExportError, ValueError), match="first_float"):
        quantize(step[1], tmp_path / "a.onnx", np.zeros((1, 2, 1, 1, 4), np.float32), first_float=first_float)


def test_sequences_of_another_shape_are_errors(step, tmp_path):
    with pytest.raises(ExportError, match=r"frames of .*got \[1, 1, 4, 4\]"):
        quantize(step[1], tmp_path / "a.onnx", np.zeros((1, 2, 1, 1, 4, 4), np.float32))
    assert not list(tmp_path.iterdir())


def test_sequences_in_float64_are_read(step, tmp_path):
    sequences = np.random.default_rng(0).normal(size=(2, 3, 1, 1, 8))
    a, b = (quantize(step[1], tmp_path / n, x) for n, x in (("a", sequences), ("b", sequences.astype("float32"))))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_files_without_convolutions_outside_of_loops_and_empty_calibration_are_rejected(step, tmp_path):
    with pytest.raises(ExportError, match="no frames"):
        quantize(step[1], tmp_path / "a.onnx", [])
    (sequence,) = export(step[0], tmp_path / "sequence.onnx")
    with pytest.raises(ExportError, match="the inputs lengths; export a step"):
        quantize(sequence, tmp_path / "a.onnx", np.zeros((1, 2, 1, 1, 4), np.float32))
    (sequence,) = export(step[0], tmp_path / "sequence.onnx", lengths=False)
    with pytest.raises(ExportError, match="no convolutions outside of loops"):
        quantize(sequence, tmp_path / "a.onnx", np.zeros((1, 2, 1, 1, 4), np.float32))
    assert not (tmp_path / "a.onnx").exists()
