"""Forecasters as pysteps calls them."""

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.interop import nowcast_method

RAIN = "convgru_forecaster.rain"


@pytest.fixture(scope="module")
def model():
    return convrnn_zoo.create_model(RAIN, pretrained=True).eval()


@pytest.fixture(scope="module")
def images():
    """A shower that moves to the right, mm/h, of a size that the model cannot divide."""
    y, x = np.mgrid[:42, :50]
    return np.stack([8 * np.exp(-((x - 12 - 3 * t) ** 2 + (y - 20) ** 2) / 60) for t in range(8)])


@pytest.fixture
def irene():
    """IRENE's network of small size; its encoding of a dry pixel is -1."""
    torch.manual_seed(0)
    model = convrnn_zoo.create_model("convgru_irene", num_blocks=2).eval()
    model.preprocessing = convrnn_zoo.Preprocessing(encoding="dbz", unit="mm/h", step=5.0, lowest=0.0)
    return model


# ---- pysteps -------------------------------------------------------------------------------------------------------
def test_the_forecast_equals_that_of_the_model(model, images):
    forecast = nowcast_method(model)(images[:4], 4)
    assert forecast.shape == (4, 42, 50)
    np.testing.assert_array_equal(forecast, model.forecast(images[:4], 4))
    np.testing.assert_array_equal(nowcast_method(model)(images[:4], [1, 3]), forecast[[0, 2]])


def test_values_under_a_mask_are_never_read(model, images):
    masked = np.ma.masked_array(images[:4].astype("float32"), mask=False)
    masked[:, :5] = -9999
    masked[:, :5] = np.ma.masked
    assert masked.data.min() == -9999
    expected = np.where(masked.mask, np.nan, masked.data)
    np.testing.assert_array_equal(nowcast_method(model)(masked, 2), nowcast_method(model)(expected, 2))
    integers = np.ma.masked_array((10 * images[:4]).astype("int16"), mask=masked.mask)
    assert np.isnan(nowcast_method(model)(integers, 1)[0, :5]).all()


def test_members_of_an_ensemble_nowcast(irene, images):
    forecast = nowcast_method(irene)
    members = forecast(images[:6], 2, n_ens_members=3, seed=1)
    assert members.shape == (3, 2, 42, 50)
    assert members.std(0).max() > 0
    np.testing.assert_array_equal(members, forecast(images[:6], 2, n_ens_members=3, seed=1))
    np.testing.assert_array_equal(members, irene.forecast(images[:6], 2, members=3, seed=1))
    with_latest = forecast(images[:6], 2, n_ens_members=3, seed=1, with_latest=True)
    np.testing.assert_array_equal(with_latest[:, 1:], members)


@pytest.fixture(scope="module")
def nowcast():
    torch.manual_seed(0)
    return convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3))


def test_members_of_a_nowcast_from_probabilities(nowcast, images):
    forecast = nowcast_method(nowcast)
    members = forecast(images[:4], 2, n_ens_members=3, seed=1)
    np.testing.assert_array_equal(members, nowcast.forecast(images[:4], 2, members=3, seed=1))
    np.testing.assert_array_equal(forecast(images[:4], 2, n_ens_members=1), nowcast.forecast(images[:4], 2)[None])
    with pytest.raises(ValueError, match=r"n_ens_members above 1"):
        forecast(images[:4], 2, n_ens_members=1, seed=1)


def known_inputs():
    return convrnn_zoo.create_model("convgru_forecaster", hidden_channels=2, num_layers=1, static_chans=2)


def small(name, **kwargs):
    return convrnn_zoo.create_model(name, hidden_channels=2, **kwargs)


BAD = {
    "two axes": (lambda m, x: nowcast_method(m)(x[0], 1), r"\(T, m, n\).*\(42, 50\)"),
    "dB": (lambda m, x: nowcast_method(m)(x - 15, 1), r"mm/h.*-15.*inverse=True"),
    "no steps": (lambda m, x: nowcast_method(m)(x, 0), "timesteps"),
    "half a step": (lambda m, x: nowcast_method(m)(x, [0.5, 1]), "timesteps"),
    "falling": (lambda m, x: nowcast_method(m)(x, [2, 1]), "timesteps"),
    "none": (lambda m, x: nowcast_method(m)(x, []), "timesteps"),
    "a word": (lambda m, x: nowcast_method(m)(x, "3"), "timesteps"),
    "no number": (lambda m, x: nowcast_method(m)(x, None), "timesteps"),
    "NaN": (lambda m, x: nowcast_method(m)(x, [np.nan]), "timesteps"),
    "no motion": (lambda m, x: nowcast_method(m)(x, x, 1), "velocity"),
    "members of one": (lambda m, x: nowcast_method(m)(x, 1, n_ens_members=3), "n_ens_members=3.*deterministic"),
    "a seed of none": (lambda m, x: nowcast_method(m)(x, 1, seed=3), "seed=3.*deterministic"),
    "a truth": (lambda m, x: nowcast_method(m)(x, True), "timesteps"),
    "words for images": (lambda m, x: nowcast_method(m)(x.astype(str), 1), "precip"),
    "no images": (lambda m, x: nowcast_method(m)(None, 1), "precip"),
    "empty images": (lambda m, x: nowcast_method(m)(x[:0], 1), r"\(T, m, n\)"),
    "classifier": (lambda m, x: nowcast_method(convrnn_zoo.create_model("convgru2d_1layer")), "forecaster"),
    "channels": (lambda m, x: nowcast_method(small("predrnn", in_chans=2)), "channel.*PredRNN"),
    "units": (lambda m, x: nowcast_method(small("predrnn")), "preprocessing"),
    "known inputs": (lambda m, x: nowcast_method(known_inputs()), " 2 "),
}


@pytest.mark.parametrize("case", BAD)
def test_rejects_invalid_calls_with_the_reason(model, images, case):
    call, message = BAD[case]
    error = TypeError if message.startswith("precip") else ValueError
    with pytest.raises(error, match=message):
        call(model, images[:4])


def test_a_model_of_several_outputs_is_rejected():
    several = convrnn_zoo.create_model("convgru_forecaster", in_chans=1, out_chans=2, hidden_channels=2)
    several.preprocessing = convrnn_zoo.Preprocessing(unit="mm/h")
    with pytest.raises(ValueError, match="one channel"):
        nowcast_method(several)
