"""Exported files agree with the models and name their inputs and outputs; other exports are rejected."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import convrnn_zoo
from convrnn_zoo import ExportError, create_model, export, layers
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.exporting.spec import next_states
from convrnn_zoo.layers._conv import Geometry, same_conv
from tests.helpers.exporting.agreement import read_metadata, session

VOWELS, RAIN = "convlstm1d_bi_1layer.japanese_vowels", "convgru_forecaster.rain"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pool"),
    [("convgru1d_1layer", {}), ("convlstm1d_bi_1layer", {"global_pool": "last"}), ("utae_convgru", {})],
)
def test_lengths_that_a_sequence_cannot_have_give_nan(name, pool, tmp_path):
    options = {"state": True} if name != "utae_convgru" and not pool else {}
    model = create_model(name, in_chans=2, hidden_channels=3, num_classes=2, **pool).eval()
    (path,) = export(model, tmp_path / "a.onnx", **options)
    (program,) = export(model, tmp_path / "a.pt2", format="torch", **options)
    run = torch.export.load(program).module()
    x = torch.randn(2, 5, 2, *(7, 6)[: model.ndim], generator=torch.Generator().manual_seed(0))
    states = {i.name: torch.zeros(2, 3, 7) for i in session(path).get_inputs() if i.name.endswith("_in")}
    for length in (6, 0, -3, -(2**40), 5, 1):
        inputs = {"input": x, "lengths": torch.tensor([length, 2]), **states}
        with torch.no_grad():
            expected = model(x, lengths=[min(max(length, 1), 5), 2])
            every = session(path).run(None, {k: v.numpy() for k, v in inputs.items()}), run(**inputs)
        for outputs in every:
            np.testing.assert_allclose(outputs[0][1], expected[1], atol=1e-5)
            if 1 <= length <= 5:
                np.testing.assert_allclose(outputs[0][0], expected[0], atol=1e-5)
            else:
                assert all(np.isnan(np.asarray(output)[0]).all() for output in outputs)


@pytest.fixture(scope="module")
def vowels(tmp_path_factory):
    model = create_model(VOWELS, pretrained=True).eval()
    return model, export(model, tmp_path_factory.mktemp("vowels") / "vowels.onnx", state=True)[0]


@pytest.fixture(scope="module")
def rain(tmp_path_factory):
    model = create_model(RAIN, pretrained=True).eval()
    return model, export(model, tmp_path_factory.mktemp("rain") / "rain.onnx", "step", encoded=True)


# ---- the sequence form ------------------------------------------------------------------------------------------


def test_names_sizes_and_metadata(vowels):
    model, path = vowels
    run = session(path)
    state = ["batch", 32, "length"]
    assert {i.name: i.shape for i in run.get_inputs()} == {
        "input": ["batch", "time", 12, "length"],
        "lengths": ["batch"],
        **{f"{s}_l0{end}_in": state for end in ("", "_reverse") for s in "hc"},
    }
    assert [o.name for o in run.get_outputs()] == [
        "output",
        *(f"{s}_l0{e}_out" for e in ("", "_reverse") for s in "hc"),
    ]
    assert run.get_outputs()[0].shape == ["batch", 9]
    metadata, cfg = read_metadata(path), model.pretrained_cfg
    assert (metadata["name"], metadata["licence"], metadata["form"]) == (VOWELS, "mit", "sequence")
    assert json.loads(metadata["classes"]) == list(cfg["label_names"])
    assert json.loads(metadata["mean"]) == list(cfg["mean"])
    assert json.loads(metadata["std"]) == list(cfg["std"])


def test_graph_has_one_scan_per_direction_and_no_local_paths(vowels):
    graph = onnx.load(vowels[1])
    assert [n.op_type for n in graph.graph.node if n.op_type in ("Scan", "Loop", "If")] == ["Scan", "Scan"]
    text = graph.SerializeToString()
    assert b".py" not in text
    assert str(Path(torch.__file__).parent).encode() not in text


# ---- the step form ----------------------------------------------------------------------------------------------
def run_steps(path, frames, steps, directory):
    """Returns the outputs of drive.py for frames ``(T, N, C, *S)``, in a process without torch."""
    np.save(directory / "frames.npy", frames)
    script = Path(__file__).parents[1] / "helpers" / "exporting" / "drive.py"
    subprocess.run([sys.executable, script, path, "frames.npy", "out.npy", str(steps)], cwd=directory, check=True)
    return np.load(directory / "out.npy")


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["avg", "", "max", "last"])
def test_steps_equal_the_sequence(pool, tmp_path):
    model = create_model("convlstm2d_2layer", in_chans=1, hidden_channels=[3, 4], num_classes=5, global_pool=pool)
    (path,) = export(model.eval(), tmp_path / "step.onnx", "step")
    x = torch.randn(2, 6, 1, 5, 7)
    outputs = run_steps(path, x.transpose(0, 1).numpy(), 6, tmp_path)
    with torch.no_grad():
        for t in range(6):
            expected = model(x[:, : t + 1])
            assert np.abs(outputs[t] - (expected if pool else expected[:, -1]).numpy()).max() < 1e-5
    assert not [n for n in onnx.load(path).graph.node if n.op_type in ("Scan", "Loop", "If")]


@pytest.mark.slow
def test_a_forecaster_steps_through_encoder_and_forecaster(rain):
    model, files = rain
    encoder, forecaster = map(session, files)
    assert [f.name for f in files] == ["rain.encoder.onnx", "rain.forecaster.onnx"]
    states = json.loads(read_metadata(files[0])["state"])
    assert [s["name"] for s in states] == ["h_l0", "h_l1"]
    assert states[0]["shape"] == ["batch", 64, "height/4", "width/4"]
    x = 3 * torch.rand(2, 5, 1, 12, 20)
    state = {f"{s['name']}_in": np.zeros((2, 64, 3, 5), np.float32) for s in states}
    for frame in x.unbind(1):
        state = dict(zip(state, encoder.run(None, {"input": frame.numpy(), **state}), strict=True))
    outputs = []
    for _ in range(4):
        y, *new = forecaster.run(None, state)
        state = dict(zip(state, new, strict=True))
        outputs.append(y)
    with torch.no_grad():
        assert np.abs(np.stack(outputs, 1) - model(x, horizon=4).numpy()).max() < 1e-5


@pytest.mark.slow
def test_min_map_size_includes_the_hidden_kernel(tmp_path):
    cell = layers.Conv1dGRUCell(1, 2, 3, hidden_kernel_size=9, padding_mode="reflect").eval()
    (path,) = export(cell, tmp_path / "cell.onnx", "step")
    x = torch.randn(2, 1, 5)  # the smallest that can be mirrored by four
    (output, _) = session(path).run(None, {"input": x.numpy(), "h_l0_in": np.zeros((2, 2, 5), np.float32)})
    with torch.no_grad():
        assert np.abs(output - cell(x).numpy()).max() < 1e-5


# ---- programs of torch, half precision, the command ----------------------------------------------------------------
def test_torch_programs_have_input_names_and_dynamic_sizes(tmp_path):
    layer = layers.Conv1dGRU(2, 3, 3, reset_after=False).eval()
    (path,) = export(layer, tmp_path / "gru.pt2", format="torch", state=True, dtype=torch.float64)
    again = torch.export.load(path).module()
    x, h = torch.randn(7, 4, 2, 9).double(), torch.randn(1, 4, 3, 9).double()
    with torch.no_grad():
        y, end = again(input=x, h_l0_in=h[0])
        expected, last = layer.double()(x, h)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(end, last[0])


# ---- images, clips and series ---------------------------------------------------------------------------------------


SERIES = create_model("utae_convgru", in_chans=2, hidden_channels=3, num_classes=4).eval()


@pytest.mark.slow
@pytest.mark.parametrize("mask", [False, True])
def test_missing_dates_are_not_read(mask, tmp_path):
    (path,) = export(SERIES, tmp_path / "a.onnx", mask=mask)
    x = torch.randn(2, 5, 2, 6, 7)
    there = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0]] if mask else [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    spoilt = torch.where(there.reshape(2, 5, 1, 1, 1), x, torch.nan).numpy()
    inputs = {"mask": there.numpy()} if mask else {"lengths": there.sum(1).numpy()}
    (output,) = session(path).run(None, {"input": spoilt, **inputs})
    with torch.no_grad():
        expected = SERIES(x, mask=there)
    assert np.abs(output - expected.numpy()).max() < 1e-5


# ---- rejected exports -----------------------------------------------------------------------------------------------
GRU = create_model("convgru1d_1layer", in_chans=1, hidden_channels=3)


@pytest.mark.parametrize(
    ("model", "name", "options", "named"),
    [
        (GRU, "a.pt2", {}, r"'onnx'.*a\.pt2"),
        (GRU, "a.onnx", {"form": "steps"}, "form.*'steps'"),
        (GRU, "a.onnx", {"format": "tf"}, "format.*'tf'"),
        (GRU, "a.onnx", {"horizon": 3}, "horizon.*ConvRNNModel"),
        (GRU, "a.onnx", {"encoded": True}, "encoded.*ConvRNNModel"),
        (GRU, "a.onnx", {"form": "step", "lengths": True}, "lengths.*sequence"),
        (GRU, "a.onnx", {"dtype": torch.bfloat16}, "'onnx'.*bfloat16"),
        (create_model("convgru1d_bi_1layer"), "a.onnx", {"form": "step"}, "bidirectional.*step"),
        (create_model("convgru1d_1layer", learn_initial_state=True), "a.onnx", {"form": "step"}, "learn_initial_state"),
        (create_model("convgru1d_1layer", learn_initial_state=True), "a.onnx", {"state": True}, "learn_initial_state"),
        (layers.Conv1dGRU(1, 2, 3, learn_initial_state=True), "a.onnx", {"state": True}, "learn_initial_state"),
        (
            create_model("convgru_forecaster", hidden_channels=3, learn_initial_state=True),
            "a.onnx",
            {"form": "step"},
            "learn_initial_state",
        ),
        (create_model("convgru_forecaster", hidden_channels=3), "a.onnx", {"state": True}, "Forecaster.*state"),
        (GRU, "a.onnx", {"size": (8, 8)}, "size.*ConvRNNModel"),
        (GRU, "a.onnx", {"mask": True}, "mask.*ConvRNNModel"),
        (create_model("predrnn", hidden_channels=3, layer_norm=True), "a.onnx", {}, "PredRNN with norms.*no export"),
        (convrnn_zoo.STLSTMCell(1, 2, 3, norm_size=4), "a.onnx", {"form": "step"}, "STLSTMCell with norms.*no export"),
        (create_model("mau", hidden_channels=3), "a.onnx", {}, "MAU has no export"),
        (SERIES, "a.onnx", {"form": "step"}, "SeriesRNN.*step"),
        (SERIES, "a.onnx", {"state": True}, "SeriesRNN.*state"),
        (SERIES, "a.onnx", {"mask": True, "lengths": True}, "lengths and mask"),
        (create_model("bcdunet_d3", widths=(4, 4)), "a.onnx", {"lengths": True}, "BCDUNet.*lengths"),
        (layers.Conv1dGRUCell(1, 2, 3), "a.onnx", {}, "Conv1dGRUCell.*step"),
        (layers.Conv1dGRU(1, 2, 3), "a.onnx", {"lengths": True}, "lengths"),
        (torch.nn.Linear(2, 2), "a.onnx", {}, "Linear"),
        (torch.nn.Identity(), "a.onnx", {}, "dtype"),
        (create_model("convgru1d_1layer", device="meta"), "a.onnx", {}, "meta"),
    ],
)
def test_rejects_unsupported_exports_and_writes_nothing(model, name, options, named, tmp_path):
    with pytest.raises(ValueError, match=named) as error:
        export(model, tmp_path / name, **options)
    assert isinstance(error.value, ExportError) or options.keys() & {"form", "format"}
    assert not list(tmp_path.iterdir())


def test_custom_models_have_the_support_of_their_base(tmp_path):
    class Still(convrnn_zoo.Forecaster):
        def __init__(self):
            super().__init__(1, 2, 1)
            self.head = torch.nn.Conv2d(1, 1, 1)

    assert make_spec(Still(), "sequence").graphs
    with pytest.raises(ExportError, match=r"Still .*no step form"):
        export(Still(), tmp_path / "a.onnx", "step")


@pytest.mark.slow
def test_rejects_files_that_differ_from_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr("convrnn_zoo.exporting.backend.TOLERANCES", {torch.float32: 0.0})
    with pytest.raises(ExportError, match=r"differs .* of output"):
        export(GRU, tmp_path / "a.onnx", "step")
    assert not list(tmp_path.iterdir())


def test_old_torch_rejects_loops_and_names_the_required_version(tmp_path, monkeypatch):
    monkeypatch.setattr("convrnn_zoo.exporting.graph.MIN_TORCH", (99, 0))
    with pytest.raises(ExportError, match=r"99\.0.*step"):
        export(GRU, tmp_path / "a.onnx")


@pytest.mark.slow
def test_custom_cells_export_their_step(tmp_path):
    class Decaying(layers.Conv1dRNNCell):
        in_place = None

        def step(self, gates, state, extra):
            return (0.5 * state[0] + gates.tanh(),)

    (path,) = export(Decaying(1, 2, 3).eval(), tmp_path / "own.onnx", "step")
    assert session(path).get_inputs()[1].shape == ["batch", 2, "length"]


def test_a_strided_convolution_takes_open_sizes():
    geometry = Geometry((2, 3), (1, 1), 1, ("zeros", "zeros"), explicit_padding=True)
    weight = torch.randn(3, 2, 3, 3)

    class Conv(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return same_conv(x, weight, None, geometry)

    sizes = {2: torch.export.Dim("height", min=2, max=100), 3: torch.export.Dim("width", min=2, max=100)}
    program = torch.export.export(Conv(), (torch.randn(1, 2, 6, 7),), dynamic_shapes=(sizes,))
    x = torch.randn(1, 2, 9, 8)
    torch.testing.assert_close(program.module()(x), same_conv(x, weight, None, geometry))


# ---- specifications ----------------------------------------------------------------------------------------------
def test_pools_of_a_step_in_half_precision_are_exact_over_many_steps():
    torch.manual_seed(0)
    model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=4, num_classes=2).bfloat16().eval()
    graph = make_spec(model, "step").graphs[""]
    x = torch.randn(1, 600, 1, 3).bfloat16()
    values = graph.zero_states({"batch": 1, "length": 3})
    with torch.no_grad():
        for frame in x.unbind(1):
            outputs = dict(zip([t.name for t in graph.outputs], graph.module(input=frame, **values), strict=True))
            values = next_states(outputs)
    assert values["steps_in"].item() == 600
    assert values["pool_in"].abs().max() <= 1  # a mean, which does not grow with the number of steps
    torch.testing.assert_close(outputs["output"], model(x), atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [64, (64,), (64.0, 64.0), (0, 0), (-8, 8), (64, 64, 64)])
def test_the_fixed_size_is_checked(size):
    model = create_model("convgru_advection", hidden_channels=(2, 3)).eval()
    if size == 64:  # for both axes
        assert make_spec(model, "sequence", size=size)
        return
    with pytest.raises((ValueError, TypeError), match="size"):
        make_spec(model, "sequence", size=size)
