"""The export of nowcasts of rain, for maps of dynamic and of fixed size."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from convrnn_zoo import ExportError, Preprocessing, create_model, export
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.models.nowcast.decisions import THRESHOLDS


def build():
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(4, 6)).eval()
    model.preprocessing = Preprocessing(unit="mm/h", lowest=0.0, step=10.0, inputs=3, horizon=2)
    return model


def showers(steps, height, width):
    """Two sequences of a moving shower, the second with unknown pixels."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    frames = [20 * (-((x - width / 2 - 2 * t) ** 2 + (y - height / 2 + t) ** 2) / 40).exp() for t in range(steps)]
    rain = torch.stack(frames)[None, :, None].repeat(2, 1, 1, 1, 1)
    rain[1, ..., :5] = torch.nan
    return rain


def assert_agrees(path, model, horizon, minutes, steps, sizes):
    session = onnxruntime.InferenceSession(path)
    for height, width in sizes:
        rain = showers(steps, height, width)
        expected = model.forecast(rain, horizon, minutes=minutes).numpy()
        likely = model.probabilities(rain, THRESHOLDS, horizon, minutes=minutes).numpy()
        actual, probabilities = session.run(None, {"input": rain.numpy()})
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        differs = np.abs(actual - expected) > 1e-4 * np.nanmax(expected)
        assert differs.mean() < 1e-5  # where rounding turns over the decision of rain
        differs = np.abs(probabilities - likely) > 1e-4
        assert differs.mean() < 1e-3  # at the edge of rain, where few pixels determine the motion
    return session


def test_a_nowcast_has_a_dynamic_map_and_fixed_frames():
    graph = make_spec(build(), "sequence").graphs[""]
    assert [t.axis_names for t in graph.inputs] == [["batch", 3, 1, "height", "width"]]
    maps = ["height", "width"]
    assert [t.axis_names for t in graph.outputs] == [["batch", 12, 1, *maps], ["batch", 12, 1, 11, *maps]]
    encoded = make_spec(build(), "sequence", encoded=True).graphs[""]
    assert [t.name for t in encoded.outputs] == ["output"]


def test_a_fixed_size_must_be_a_multiple_of_the_reduction():
    with pytest.raises(ExportError, match=r"size=.* multiples of 8.*\(30, 48\)"):
        make_spec(build(), "sequence", size=(30, 48))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_sequence_with_a_missing_frame_has_no_forecast(missing):
    """The file neither leaves out nor fills the frame, as the model does, which differs by several mm/h."""
    model, rain = build(), showers(3, 32, 48)
    rain[0, missing] = torch.nan
    module = make_spec(model, "sequence", size=(32, 48), horizon=2).graphs[""].module
    with torch.no_grad():
        forecast, likely = module(input=rain)
    assert forecast[0].isnan().all()
    assert likely[0].isnan().all()
    torch.testing.assert_close(forecast[1], model.forecast(rain[1], 2), atol=1e-3, rtol=1e-3, equal_nan=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.export
def test_the_batch_of_a_graph_is_free():
    module = make_spec(build(), "sequence", size=(16, 24), horizon=1).graphs[""].module
    program = torch.export.export(
        module, (), {"input": showers(3, 16, 24)}, dynamic_shapes={"input": {0: torch.export.Dim("batch")}}
    )
    assert program.module()(input=showers(3, 16, 24)[:1].expand(3, -1, -1, -1, -1))[0].shape[0] == 3


@pytest.mark.slow
def test_a_file_of_one_size_forecasts_as_the_model_does(tmp_path):
    (path,) = export(model := build(), tmp_path / "a.onnx", size=(32, 48), horizon=2)
    session = assert_agrees(path, model, 2, 10.0, 3, [(32, 48)])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["thresholds"]) == list(THRESHOLDS)
    assert session.get_inputs()[0].shape == ["batch", 3, 1, 32, 48]


@pytest.mark.slow
def test_a_file_of_any_size_forecasts_as_the_model_does(tmp_path):
    """The motion estimate has one to five resolutions, and not all sizes are divisible by all of them."""
    (path,) = export(model := build(), tmp_path / "a.onnx", horizon=2)
    sizes = [(24, 40), (40, 48), (72, 136), (136, 152), (256, 320), (264, 280)]
    session = assert_agrees(path, model, 2, 10.0, 3, sizes)
    rule = {"multiple": 8, "maximum": 8192}
    sizes = session.get_modelmeta().custom_metadata_map["sizes"]
    assert json.loads(sizes) == {"height": rule, "width": rule}


def test_a_horizon_beyond_the_trained_time_is_warned_of():
    model = create_model("convgru_advection", hidden_channels=(2, 3), horizon=4)
    with pytest.warns(UserWarning, match="horizon=5"):
        make_spec(model, "sequence", horizon=5)
    make_spec(model, "sequence", horizon=4)
