"""Every name exports as listed in exports.json, and every set of weights agrees in onnxruntime."""

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo import ExportError, Forecaster, create_model, export, layers
from tests.exporting.test_export import run_steps
from tests.helpers.exporting.agreement import largest_difference, map_size, size_multiple
from tests.helpers.registry import slow_unless
from tools import exports, recorded

RECORD = recorded(exports.NAMES)


def test_exports_json_lists_all_names():
    missing = RECORD.keys() ^ set(exports.names())
    assert not missing, (
        f"run `python -m tools.exports names {' '.join(missing)}`: CONTRIBUTING.md, Add an architecture, step 7"
    )
    assert list(RECORD) == list(exports.names()), "run `python -m tools.exports names`"
    assert all(results.keys() == exports.WAYS.keys() for results in RECORD.values())


def test_weight_exports_json_lists_weights_of_every_architecture():
    results = recorded(exports.OF_WEIGHTS)
    assert sorted(results.keys() - {"versions"}) == exports.weights(), "run `python -m tools.exports weights`"
    for name in exports.weights():
        assert results[name].keys() == exports.FILES.keys(), f"run `python -m tools.exports weights '{name}'`"
        for result in results[name].values():
            assert "no step form" in result["error"] if "error" in result else result["bytes"] > 0
            assert result.get("difference", 0.0) <= 1e-5


ENCODERS = ("rvm", "mobilenetv3_large", "mobilenetv3_small")  # those of ResNets and VGGs stay


@pytest.mark.parametrize("name", slow_unless(lambda name: not name.startswith(ENCODERS), RECORD))
def test_rejections_match_exports_json(name):
    for way, result in RECORD[name].items():
        why = exports.claimed(name, way)
        tried = ("NAME.", "error: the exported file does not run")  # detected only by running it
        assert result == why if why else result.startswith(tried)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # convgru_advection is traced for minutes
@pytest.mark.parametrize("name", RECORD)
def test_a_name_exports_as_recorded(name):
    assert exports.attempt(name) == RECORD[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, results in RECORD.items() if results["sequence"] == "NAME.onnx"])
def test_a_name_agrees_at_other_sizes(name, tmp_path):
    model = exports.narrow(name)
    (path,) = export(model, tmp_path / "a.onnx")
    assert largest_difference(model, path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", convrnn_zoo.WEIGHTS)
def test_weights_agree_at_other_sizes(name, tmp_path):
    model = create_model(name, pretrained=True).eval()
    if RECORD.get(name.partition(".")[0], {}).get("sequence", "").startswith("error"):
        with pytest.raises(ExportError, match=r"no export|size=\(height"):
            export(model, tmp_path / "a.onnx")
        return
    (path,) = export(model, tmp_path / "a.onnx", encoded=isinstance(model, Forecaster))
    assert largest_difference(model, path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, results in RECORD.items() if results["step"] == "NAME.onnx"])
def test_steps_equal_the_sequence(name, tmp_path):
    model = exports.narrow(name)
    (path,) = export(model, tmp_path / "a.onnx", "step")
    forecaster = isinstance(model, Forecaster)
    edge = 3 if size_multiple(model) > 1 else 5
    x = torch.randn(2, 4, model.in_chans, *map_size(model, (edge,) * 3))
    actual = run_steps(path, x.transpose(0, 1).numpy(), 6 if forecaster else 4, tmp_path)
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
