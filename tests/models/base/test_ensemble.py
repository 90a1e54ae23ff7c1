"""Ensembles: noise, seeds, members, and weights that others publish."""

import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.models.base.forecaster import EnsembleForecaster
from tests.helpers.models.forecasters import FULL, NAMES, tiny

NOISY = [n for n in NAMES if isinstance(FULL[n], EnsembleForecaster)]
EVERY = pytest.mark.parametrize("name", NOISY)


def model_and_frames(name, batch=2):
    torch.manual_seed(4)
    model = tiny(name).eval()
    if name == "dgmr":  # which starts with a latent map that moves little
        torch.nn.init.constant_(model.latent[4].gamma, 0.5)
    unit = model.reduction
    return model, torch.rand(batch, model.input_frames or 3, 1, 2 * unit, unit)


def test_ensemble_forecasters_are_registered():
    assert {"convgru_irene", "dgmr"} <= set(NOISY)


@EVERY
def test_the_same_noise_is_the_same_member_and_other_noise_another(name):
    model, x = model_and_frames(name)
    a, b = (model.draw_noise(x, 4, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(model(x, 4, noise=a), model(x, 4, noise=a))
    assert not torch.allclose(model(x, 4, noise=a), model(x, 4, noise=b), atol=1e-5)
    assert torch.equal(model(x, 4), model(x, 4, noise=torch.zeros_like(a)))
    torch.testing.assert_close(model(x, 4, noise=a[:1])[1], model(x, 4, noise=a[:1].expand_as(a))[1])


@EVERY
def test_a_seed_gives_members_whatever_their_number_and_their_neighbours(name):
    model, x = model_and_frames(name)
    five = model.members(x, 2, members=5, seed=7)
    assert five.shape == (5, 2, 2, *x.shape[2:])
    torch.testing.assert_close(model.members(x, 2, members=3, seed=7), five[:3])
    torch.testing.assert_close(model.members(x[1:], 2, members=5, seed=7), five[:, 1:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.members(x, 2, members=5, seed=8), five, atol=1e-5)
    assert (five.std(0) > 0).any()
    torch.manual_seed(3)
    drawn = model.members(x, 2, members=2)
    torch.manual_seed(3)
    assert torch.equal(model.members(x, 2, members=2), drawn)
    before = torch.get_rng_state()
    model.members(x, 2, members=2, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY
@pytest.mark.parametrize("kind", ["tensor", "numpy"])
def test_members_are_forecast_in_the_unit_of_the_data(name, kind):
    model, x = model_and_frames(name)
    model.preprocessing = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h")
    rain = 5 * x[0, :, 0, :-3, :-2]
    rain[:, 1, 1] = float("nan")
    provided = rain if kind == "tensor" else rain.numpy()
    actual = model.forecast(provided, 3, members=4, seed=2)
    assert type(actual) is type(provided)
    assert actual.shape == (4, 3, *rain.shape[1:])
    actual = torch.as_tensor(actual)
    assert actual[..., 1, 1].isnan().all()
    assert int(actual.isnan().sum()) == 12
    batched = model.forecast(rain[None, :, None].repeat(3, 1, 1, 1, 1), 3, members=4, seed=2, batch_size=2)
    assert batched.shape == (4, 3, 3, 1, *rain.shape[1:])
    torch.testing.assert_close(batched[:, 2, :, 0], actual, rtol=1e-3, atol=1e-4, equal_nan=True)
    single = model.forecast(provided, 3)
    assert single.shape == actual.shape[1:]
    with pytest.raises(ValueError, match="seed"):
        model.forecast(provided, 3, seed=1)
    with pytest.raises(ValueError, match="members"):
        model.forecast(provided, 3, members=0)


@EVERY
def test_errors_name_misshapen_noise(name):
    model, x = model_and_frames(name)
    noise = model.draw_noise(x, 2)
    for bad in (noise[..., :-1], noise[None], noise.repeat(2, *[1] * (noise.dim() - 1)), 3):
        with pytest.raises(ValueError, match=r"noise.*\(2, "):
            model(x, 2, noise=bad)
    with pytest.raises(TypeError, match=r"noise is torch\.float64"):
        model(x, 2, noise=noise.double())


@EVERY
def test_members_of_an_ensemble_input_have_a_dimension_of_their_own(name):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    model, x = model_and_frames(name, batch=3)
    model.preprocessing = Preprocessing(unit="mm/h", step=5.0)
    for dim in ("number", "realization"):
        frames = xarray.DataArray(x[:, :, 0].numpy(), dims=(dim, "time", "y", "x"), name="rain")
        forecast = model.forecast(frames, 2, members=2, seed=1)
        assert len(set(forecast.dims)) == 5
        assert dict(zip(forecast.dims, forecast.shape, strict=True))["realization"] == 2
        assert sorted(forecast.shape[:2]) == [2, 3]
        one = model.forecast(frames[1], 2, members=2, seed=1)
        torch.testing.assert_close(
            torch.from_numpy(forecast.values[:, 1]), torch.from_numpy(one.values), rtol=1e-3, atol=1e-4
        )
