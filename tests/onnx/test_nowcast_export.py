"""The export of nowcasts of rain, for one size of maps."""

import numpy as np
import onnxruntime
import pytest
import torch

from convrnn_zoo import ExportError, Preprocessing, create_model, export


def build():
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(4, 6)).eval()
    model.preprocessing = Preprocessing(unit="mm/h", lowest=0.0, step=10.0, inputs=3, horizon=2)
    return model


@pytest.mark.parametrize("size", [None, (30, 48)])
def test_a_nowcast_needs_the_size_of_its_maps(size, tmp_path):
    with pytest.raises(ExportError, match=r"ConvGRUAdvection.*size=.* 8"):
        export(build(), tmp_path / "a.onnx", size=size)


@pytest.mark.slow
def test_a_file_forecasts_moving_showers_as_the_model_does(tmp_path):
    model = build()
    (path,) = export(model, tmp_path / "a.onnx", size=(32, 48), horizon=2)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == ["batch", 3, 1, 32, 48]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    showers = [20 * (-((x - 20 - 2 * t) ** 2 + (y - 14) ** 2) / 40).exp() for t in range(3)]
    rain = torch.stack(showers)[None, :, None].repeat(2, 1, 1, 1, 1)
    rain[1, ..., :5] = torch.nan
    expected = model(rain, 2, minutes=10.0).detach().numpy()
    [actual] = session.run(None, {"input": rain.numpy()})
    np.testing.assert_allclose(actual, expected, atol=1e-4 * expected.max())
