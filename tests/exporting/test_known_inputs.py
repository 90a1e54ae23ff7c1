"""Static and future inputs of forecasters are inputs of the exported file."""

import json

import onnx
import pytest

from convrnn_zoo import ExportError, create_model, export
from tests.helpers.exporting.agreement import read_metadata
from tests.helpers.models.forecasters import tiny


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "names"),
    [
        ("convgru_forecaster", {"in_chans": 2, "out_chans": 1, "static_chans": 1}, ["input", "static", "horizon"]),
        ("predrnn", {"static_chans": 1, "future_chans": 2}, ["input", "static", "future"]),
    ],
)
def test_known_inputs_are_inputs_of_the_file(name, options, names, tmp_path):
    (path,) = export(tiny(name, **options), tmp_path / "a.onnx")  # which compares it with the model at three sizes
    inputs = onnx.load(path).graph.input
    assert [port.name for port in inputs] == names
    axes = [axis.dim_param or axis.dim_value for axis in inputs[-1].type.tensor_type.shape.dim]
    assert axes == (["batch", "time+horizon", 2, "height", "width"] if "future" in names else [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"), [("convgru_forecaster", "sequence"), ("convgru_forecaster", "step"), ("sg_convlstm", "sequence")]
)
def test_forecasters_that_pad_by_reflection_state_the_smallest_map(name, form, tmp_path):
    options = {"in_chans": 2} if name == "sg_convlstm" else {"patch_size": 2, "padding_mode": "reflect"}
    paths = export(create_model(name, hidden_channels=2, kernel_size=5, **options).eval(), tmp_path / "a.onnx", form)
    rule = {"minimum": 3} if name == "sg_convlstm" else {"multiple": 2, "minimum": 6}
    assert json.loads(read_metadata(paths[0])["sizes"]) == {"height": rule, "width": rule}


def test_forms_without_known_inputs_are_rejected(tmp_path):
    model = tiny("convgru_forecaster", future_chans=1)
    with pytest.raises(ExportError, match="static and future"):
        export(model, tmp_path / "a.onnx", "step")
    with pytest.raises(ExportError, match="horizon"):
        export(model, tmp_path / "a.onnx", horizon=3)
