"""Model repositories of Triton: the configuration follows the published schema and describes the file."""

import numpy as np
import onnx
import pytest
import torch

from convrnn_zoo import ExportError, Preprocessing, create_model, export, export_triton
from convrnn_zoo.exporting.triton import configuration
from convrnn_zoo.layers import Conv1dGRU
from tests.helpers.command_line import run
from tests.helpers.exporting.agreement import session
from tests.helpers.exporting.triton_schema import published_schema


@pytest.fixture(scope="module")
def read():
    """Function that parses a configuration by the published schema, in which an unknown field is an error."""
    schema = published_schema()
    from google.protobuf import text_format

    return lambda path: text_format.Parse(path.read_text(encoding="utf-8"), schema.ModelConfig())


def serve(config, path, requests):
    """Runs requests of one sequence as the server does: it keeps the states, and clients see the other tensors."""
    run, states = session(path), {}
    states = {s.input_name: np.zeros((1, *s.initial_state[0].dims), np.float32) for s in config.sequence_batching.state}
    names = [o.name for o in run.get_outputs()]
    for request in requests:
        result = dict(zip(names, run.run(None, {**request, **states}), strict=True))
        states = {s.input_name: result[s.output_name] for s in config.sequence_batching.state}
        assert all(list(states[s.input_name].shape[1:]) == list(s.dims) for s in config.sequence_batching.state)
        yield {o.name: result[o.name] for o in config.output}


def tiny_rain():
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=[4, 4], kernel_size=3, horizon=3).eval()
    model.preprocessing = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
    return model


@pytest.mark.slow
def test_a_forecaster_forecasts_after_each_frame_of_a_sequence(read, tmp_path):
    model = tiny_rain()
    path = export_triton(model, tmp_path, name="rain", sizes={"height": 16, "width": 24})
    assert path == tmp_path / "rain" / "config.pbtxt"
    config = read(path)
    assert (config.name, config.backend, config.max_batch_size) == ("rain", "onnxruntime", 8)
    types = published_schema().DataType
    assert [(i.name, types.Name(i.data_type), list(i.dims)) for i in config.input] == [
        ("input", "TYPE_FP32", [1, 16, 24])
    ]
    assert [(o.name, list(o.dims)) for o in config.output] == [("output", [3, 1, 16, 24])]
    assert [s.input_name for s in config.sequence_batching.state] == ["h_l0_in", "h_l1_in", "seen_in"]
    assert all(s.initial_state[0].zero_data for s in config.sequence_batching.state)
    assert config.parameters["unit"].string_value == "mm/h"
    rain = 5 * torch.rand(4, 1, 1, 16, 24)
    rain[..., :3] = torch.nan
    results = serve(config, path.parent / "1" / "model.onnx", [{"input": frame.numpy()} for frame in rain])
    for t, result in enumerate(results):
        expected = model.forecast(rain[: t + 1, 0], 3, inputs="all").numpy()
        np.testing.assert_allclose(result["output"][0], expected, atol=1e-4)


@pytest.mark.slow
def test_a_classifier_keeps_its_pool_on_the_server(read, tmp_path):
    model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    path = export_triton(model, tmp_path, sizes={"length": 8})
    assert path.parent.name == "convgru1d_1layer"
    config = read(path)
    x = torch.randn(1, 5, 1, 8)
    *_, last = serve(config, path.parent / "1" / "model.onnx", [{"input": f.numpy()} for f in x.unbind(1)])
    with torch.no_grad():
        np.testing.assert_allclose(last["output"], model(x), atol=1e-5)
    assert all(s.dims for s in config.sequence_batching.state)  # the server has no states without dimensions


@pytest.mark.slow
def test_a_model_that_reads_both_ways_has_no_states_on_the_server(read, tmp_path):
    model = create_model("convgru1d_bi_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    config = read(export_triton(model, tmp_path, name="both"))
    assert not config.HasField("sequence_batching")
    assert [(i.name, list(i.dims), i.HasField("reshape")) for i in config.input] == [
        ("input", [-1, 1, -1], False), ("lengths", [1], True)
    ]  # fmt: skip


def test_errors_leave_no_model_in_the_repository(tmp_path):
    model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    with pytest.raises(ExportError, match="sizes with 'length'"):
        export_triton(model, tmp_path, name="gru")
    with pytest.raises(ExportError, match=r"length.*'height'"):
        export_triton(model, tmp_path, name="gru", sizes={"height": 4})
    assert not list(tmp_path.iterdir())
    export_triton(model, tmp_path, name="gru", sizes={"length": 8})
    with pytest.raises(ExportError, match="exists"):
        export_triton(model, tmp_path, name="gru", sizes={"length": 8})


def test_the_command_writes_a_repository(read, tmp_path):
    import convrnn_zoo

    model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=3, num_classes=2).eval()
    convrnn_zoo.save_pretrained(model, tmp_path / "gru")
    out = run("export", tmp_path / "gru", "-o", tmp_path / "repository", "--server", "triton", "--axis", "length", 8)
    assert "config.pbtxt" in out
    [path] = (tmp_path / "repository").glob("*/config.pbtxt")
    assert read(path).sequence_batching.state


@pytest.mark.parametrize(
    ("sizes", "name"),
    [({"height": 95, "width": 96}, "height"), ({"height": 96, "width": -4}, "width"), ({"batch": 2}, "batch")],
)
def test_sizes_that_the_file_rejects_are_errors(sizes, name, tmp_path):
    model = create_model("convgru_forecaster", hidden_channels=[2, 2], horizon=1).eval()
    [path] = export(model, tmp_path / "a.onnx", "step", horizon=1)
    with pytest.raises(ValueError, match=name):
        configuration(onnx.load(path), "a", 8, 60, sizes)


def test_a_layer_with_time_first_is_rejected(tmp_path):
    with pytest.raises(ExportError, match="batch_first"):
        export_triton(Conv1dGRU(2, 3, 3, bidirectional=True), tmp_path, name="a")
    assert not list(tmp_path.iterdir())
