"""Every name exports, or is rejected with the reason on the page, and every set of weights agrees in onnxruntime."""

import re

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo import ExportError, Forecaster, create_model, export, layers
from convrnn_zoo.pretrained.registry import SMALL
from tests.exporting.test_export import run_steps
from tests.helpers.exporting.agreement import largest_difference, map_size, size_multiple
from tools import exports, recorded

NAMES = [name for name in convrnn_zoo.list_models() if not name.endswith(("2layer", "3layer"))]
CHANNELS = {"audio_convrnn": 8, "sg_convlstm": 5}  # torch.export supports no map of one pixel; the mask is a channel


def export_narrow(name, path, form, format="onnx"):
    """Exports an untrained architecture with few channels; returns the model and the files, which may be none."""
    model = create_model(name, **{"in_chans": CHANNELS.get(name, 1), **SMALL[name]}).eval()
    expected = exports.files(model, form)
    if not expected.startswith("no: "):
        return model, export(model, path, form, format)
    with pytest.raises(ExportError, match=re.escape(expected.removeprefix("no: "))):
        export(model, path, form, format)
    return model, ()


def test_weight_exports_json_lists_weights_of_every_architecture():
    results = recorded(exports.MEASURED)
    assert sorted(results.keys() - {"versions"}) == exports.weights(), "run `python -m tools.exports`"
    for name in exports.weights():
        assert results[name].keys() == exports.FILES.keys(), f"run `python -m tools.exports '{name}'`"
        for result in results[name].values():
            assert "no step form" in result["error"] if "error" in result else result["bytes"] > 0
            assert result.get("difference", 0.0) <= 1e-5


@pytest.mark.slow
@pytest.mark.timeout(1800)  # convgru_advection is traced for minutes
@pytest.mark.parametrize("name", NAMES)
def test_a_name_agrees_at_other_sizes(name, tmp_path):
    model, paths = export_narrow(name, tmp_path / "a.onnx", "sequence")
    if paths and "frames" not in exports.files(model, "sequence"):
        assert largest_difference(model, *paths) < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_exports_to_torch(name, tmp_path):
    export_narrow(name, tmp_path / "a.pt2", "sequence", "torch")  # which compares the file with the model


@pytest.mark.slow
@pytest.mark.parametrize("name", convrnn_zoo.WEIGHTS)
def test_weights_agree_at_other_sizes(name, tmp_path):
    model = create_model(name, pretrained=True).eval()
    if exports.files(model, "sequence").startswith("no"):
        with pytest.raises(ExportError, match=r"no export|size=\(height"):
            export(model, tmp_path / "a.onnx")
        return
    (path,) = export(model, tmp_path / "a.onnx", encoded=isinstance(model, Forecaster))
    assert largest_difference(model, path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_the_sequence(name, tmp_path):
    model, paths = export_narrow(name, tmp_path / "a.onnx", "step")
    if len(paths) != 1 or "frames" in exports.files(model, "step"):
        return  # the two files of an encoder and a forecaster are compared as they are written
    forecaster = isinstance(model, Forecaster)
    edge = 3 if size_multiple(model) > 1 else 5
    x = torch.randn(2, 4, model.in_chans, *map_size(model, (edge,) * 3))
    actual = run_steps(paths[0], x.transpose(0, 1).numpy(), 6 if forecaster else 4, tmp_path)
    with torch.no_grad():
        expected = model(x, horizon=3) if forecaster else model(x)
    assert np.abs(actual[-expected.shape[1] :] - expected.transpose(0, 1).numpy()).max() < 1e-5


KINDS = {
    "reset before": (layers.Conv2dGRU, {"reset_after": False, "padding_mode": "circular"}),
    "reflect": (layers.Conv2dLSTM, {"padding_mode": "reflect", "num_layers": 2, "batch_first": True}),
    "per axis": (layers.Conv2dLSTM, {"padding_mode": ("reflect", "circular"), "bidirectional": True}),
    "replicate": (layers.Conv1dLSTM, {"padding_mode": "replicate", "bias": False}),
    "groups and dilation": (layers.Conv2dGRU, {"groups": 2, "dilation": 2, "hidden_kernel_size": 5}),
    "stride": (layers.Conv2dPeepholeLSTM, {"stride": (2, 3), "peephole": "channel"}),
    "three axes": (layers.Conv3dRNN, {"bidirectional": True, "nonlinearity": "relu"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_options_of_layers_export_with_their_state(kind, tmp_path):
    layer, options = KINDS[kind]
    rnn = layer(2, 4, 3, **options).eval()
    assert export(rnn, tmp_path / "a.onnx", state=True)  # which compares it at other sizes
    if not rnn.bidirectional:
        assert export(rnn, tmp_path / "step.onnx", "step")


@pytest.mark.slow
@pytest.mark.parametrize("cell", [convrnn_zoo.STLSTMCell, convrnn_zoo.TrajGRUCell, layers.Conv3dPeepholeLSTMCell])
def test_cells_export_their_step(cell, tmp_path):
    assert export(cell(2, 3, 3).eval(), tmp_path / "a.onnx", "step")
