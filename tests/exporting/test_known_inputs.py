"""Static and future inputs of forecasters are inputs of the exported file."""

import onnx
import pytest

from convrnn_zoo import ExportError, export
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


def test_forms_without_known_inputs_are_rejected(tmp_path):
    model = tiny("convgru_forecaster", future_chans=1)
    with pytest.raises(ExportError, match="static and future"):
        export(model, tmp_path / "a.onnx", "step")
    with pytest.raises(ExportError, match="horizon"):
        export(model, tmp_path / "a.onnx", horizon=3)
