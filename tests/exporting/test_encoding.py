"""Files of forecasters read and return values in the unit of the data, as `forecast` does."""

import json

import numpy as np
import pytest
import torch

from convrnn_zoo import ExportError, Preprocessing, Variable, export
from tests.helpers.exporting.agreement import read_metadata, session
from tests.helpers.models.forecasters import tiny

RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)


def model_of_rain(name="convgru_forecaster", **options):
    torch.manual_seed(0)
    model = tiny(name, **options).eval()
    model.preprocessing = RAIN
    return model


def radar(model, steps=4, batch=2):
    """Rain rates with pixels that are unknown in one frame, and with a row that is unknown in all."""
    edge = 4 * model.reduction
    rain = 8 * torch.rand(batch, steps, 1, edge, edge + model.reduction, generator=torch.Generator().manual_seed(1))
    rain[:, 1, :, 3:5] = torch.nan
    rain[..., 0, :] = torch.nan
    return rain


@pytest.mark.slow
def test_a_sequence_is_in_the_unit_of_the_data(tmp_path):
    model = model_of_rain()
    (path,) = export(model, tmp_path / "a.onnx")
    rain = radar(model)
    [output] = session(path).run(None, {"input": rain.numpy(), "horizon": np.array(3)})
    expected = model.forecast(rain, 3).numpy()
    assert np.isnan(expected[..., 0, :]).all()
    assert not np.isnan(expected[..., 1:, :]).any()
    np.testing.assert_allclose(output, expected, atol=1e-4)
    data, edge = read_metadata(path), model.reduction
    assert "unit of the data" in data["values"]
    assert json.loads(data["sizes"]) == {"height": {"multiple": edge}, "width": {"multiple": edge}}
    with pytest.raises(Exception, match="Reshape"):  # onnxruntime's error, with which the patches do not fit
        session(path).run(None, {"input": np.zeros((1, 4, 1, edge, edge + 1), np.float32), "horizon": np.array(3)})


@pytest.mark.slow
def test_a_program_of_torch_is_in_the_unit_of_the_data(tmp_path):
    model = model_of_rain()
    (path,) = export(model, tmp_path / "a.pt2", format="torch")
    program, rain = torch.export.load(path).module(), radar(model)
    [output] = program(input=rain, horizon=3)
    torch.testing.assert_close(output, model.forecast(rain, 3), equal_nan=True)
    with pytest.raises(AssertionError, match=rf"% {model.reduction}"):
        program(input=rain[..., 1:], horizon=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convgru_forecaster", "predrnn"])
def test_a_step_with_a_horizon_forecasts_after_each_frame(name, tmp_path):
    model = model_of_rain(name)
    (path,) = export(model, tmp_path / "a.onnx", "step", horizon=3)
    run, rain = session(path), radar(model)
    names = [o.name for o in run.get_outputs()]
    values = {}
    for t, frame in enumerate(rain.unbind(1)):
        if not values:
            sizes = {"batch": 2, "height": rain.shape[-2], "width": rain.shape[-1]}
            for state in run.get_inputs()[1:]:
                parts = [str(a).partition("/") for a in state.shape]
                shape = [sizes[n] // int(d or 1) if n in sizes else int(n) for n, _, d in parts]
                values[state.name] = np.zeros(shape, np.float32)
        results = dict(zip(names, run.run(None, {"input": frame.numpy(), **values}), strict=True))
        values = {name: results[name.removesuffix("_in") + "_out"] for name in values}
        expected = model.forecast(rain[:, : t + 1], 3, inputs="all").numpy()
        np.testing.assert_allclose(results["output"], expected, atol=1e-4)


@pytest.mark.slow
def test_a_frame_of_nan_continues_the_forecast_of_an_autoregressive_model(tmp_path):
    model = model_of_rain("predrnn")
    (path,) = export(model, tmp_path / "a.onnx", "step")  # which compares the forecast of several steps
    names = [i.name for i in session(path).get_inputs()]
    assert names[-2:] == ["frame_in", "seen_in"]
    assert "NaN" in read_metadata(path)["output"]


@pytest.mark.slow
def test_variables_and_known_inputs_have_their_units(tmp_path):
    def kelvin(name):
        return Variable(name=name, unit="K", encoding="standardize", mean=(280.0,), std=(10.0,))

    torch.manual_seed(0)
    model = tiny("convgru_forecaster", in_chans=2, out_chans=1, static_chans=1, future_chans=1).eval()
    model.preprocessing = Preprocessing(
        variables=(Variable(name="rain", unit="mm/h"), kelvin("air")),
        targets=("air",),
        static=(Variable(name="height", unit="m", encoding="standardize", mean=(500.0,), std=(300.0,)),),
        future=(kelvin("sea"),),
    )
    (path,) = export(model, tmp_path / "a.onnx")
    edge = 4 * model.reduction
    frames = 280 + 10 * torch.randn(1, 3, 2, edge, edge)
    frames[:, :, 1, 0] = torch.nan
    static, future = 500 + 300 * torch.randn(1, 1, edge, edge), 280 + 10 * torch.randn(1, 5, 1, edge, edge)
    [output] = session(path).run(None, {"input": frames.numpy(), "static": static.numpy(), "future": future.numpy()})
    expected = model.forecast(frames, 2, static=static, future=future, inputs="all").numpy()
    assert expected.shape == (1, 2, 1, edge, edge)
    np.testing.assert_allclose(output, expected, atol=1e-3)


def test_a_model_without_preprocessing_has_no_unit(tmp_path):
    from convrnn_zoo.exporting.forms import make_spec

    spec = make_spec(tiny("convgru_forecaster").eval(), "sequence")
    assert "values" not in spec.metadata
    model = tiny("convgru_forecaster").eval()
    model.preprocessing = Preprocessing(variables=(Variable(name="a"), Variable(name="b")))
    with pytest.raises(ExportError, match="variables"):
        make_spec(model, "sequence")
