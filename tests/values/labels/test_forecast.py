"""Forecasters take arrays of xarray and return them with lead times, valid times and the coordinates of the frames."""

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing, create_model
from convrnn_zoo.values.preprocessing import Variable

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
MINUTE = np.timedelta64(1, "m")


def frames(channels=0, batch=0, minutes=5, size=None):
    axes = {"n": batch, "time": 4, "band": channels, "lat": 6, "lon": 8}
    axes = {k: v for k, v in axes.items() if v}
    if size:
        axes |= {"lat": size, "lon": size}
    values = np.random.default_rng(0).random(tuple(axes.values())).astype("float32")
    coords = {
        "time": np.datetime64("2020-01-01T12:00", "ns") + np.arange(4) * minutes * MINUTE,
        "lat": np.linspace(60, 55, axes["lat"]),
        "lon": np.arange(float(axes["lon"])),
        "height": (("lat", "lon"), np.ones((axes["lat"], axes["lon"]))),
        "season": "winter",
        **({"band": ["a", "b"]} if channels else {}),
    }
    return xarray.DataArray(values, dims=tuple(axes), coords=coords, name="rain")


def model(name="convgru_forecaster", **kwargs):
    torch.manual_seed(0)
    net = create_model(name, hidden_channels=2, kernel_size=1, patch_size=1, horizon=3, **kwargs)
    net.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=4)
    return net.eval()


def test_steps_are_those_of_the_times_or_else_of_the_training():
    net = model()
    with pytest.raises(ValueError, match=r"\b15 minutes.*\b5\b"):
        net.forecast(frames(minutes=15))
    uneven = xarray.concat([frames()[:2], frames()[3:]], "time")
    with pytest.raises(ValueError, match=r"time .*5, 10 minutes"):
        net.forecast(uneven, inputs="all")
    nowcast = create_model("convgru_advection", hidden_channels=(2, 3), horizon=2).eval()
    with pytest.warns(UserWarning, match="pixel_km=2 is used"):
        slow = nowcast.forecast(frames(minutes=15), pixel_km=2.0)
    assert (slow.lead_time.values / MINUTE).tolist() == [15]  # the trained time, 10 minutes
    np.testing.assert_array_equal(slow, nowcast.forecast(frames().values, minutes=15))
    with pytest.raises(ValueError, match=r"\b15 minutes.*\b5\b"):
        nowcast.forecast(frames(minutes=15), minutes=5)
    net.preprocessing = Preprocessing(step=15.0)
    assert (net.forecast(frames(minutes=15)).lead_time.values / MINUTE).tolist() == [15, 30, 45]
    net.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=4)
    undated = net.forecast(frames().drop_vars("time"))
    assert (undated.lead_time.values / MINUTE).tolist() == [5, 10, 15]
    assert "time" not in undated.coords
    net.preprocessing = Preprocessing(unit="mm/h")
    assert net.forecast(frames().drop_vars("time")).lead_time.values.tolist() == [1, 2, 3]


def test_a_forecast_of_several_units_states_none():
    net = model(in_chans=2)
    net.preprocessing = Preprocessing(variables=(Variable(name="t2m", unit="K"), Variable(name="wind", unit="m/s")))
    result = net.forecast(frames(channels=2))
    assert result.band.values.tolist() == ["t2m", "wind"]
    assert "units" not in result.attrs


def test_ensembles_and_probabilities_have_a_dimension_more():
    irene = create_model("convgru_irene", num_blocks=1, horizon=2)
    irene.preprocessing = Preprocessing(unit="mm/h", encoding="dbz", step=5.0)
    result = irene.forecast(frames(), members=3, seed=0)
    assert result.dims == ("realization", "lead_time", "lat", "lon")
    assert result.realization.values.tolist() == [0, 1, 2]
    nowcast = create_model("convgru_advection", hidden_channels=(2, 3))
    with pytest.warns(UserWarning, match="taken for squares"):
        chances = nowcast.probabilities(frames(), [0.5, 5.0], horizon=2)
    assert chances.dims == ("lead_time", "threshold", "lat", "lon")
    assert chances.threshold.values.tolist() == [0.5, 5.0]
    assert (chances.attrs["units"], chances.threshold.attrs["units"]) == ("1", "mm/h")
    assert "probability" in chances.attrs["long_name"]


@pytest.mark.parametrize("year", [1500, 2300])  # beyond dates in nanoseconds
def test_valid_times_of_any_year(year):
    data = frames()
    data = data.assign_coords(
        time=data["time"].astype("datetime64[us]") + np.timedelta64(year - 2020, "Y").astype("timedelta64[D]")
    )
    result = model().forecast(data)
    assert (result.time.values - result.forecast_reference_time.values)[0] == np.timedelta64(5, "m")


def test_quantities_of_pint_state_their_unit():
    pint = pytest.importorskip("pint", reason="the extra netcdf")
    data, registry, net = frames(), pint.UnitRegistry(), model()
    expected = net.forecast(data.assign_attrs(units="mm/day"))
    result = net.forecast(data.copy(data=registry.Quantity(data.values, "mm/day")))
    xarray.testing.assert_equal(result, expected)
    with pytest.raises(ValueError, match="kelvin"):
        net.forecast(data.copy(data=registry.Quantity(data.values, "K")))


def test_a_dataset_is_forecast_as_its_variable_of_the_unit_that_the_model_reads():
    data, net = frames().assign_attrs(units="mm/h"), model()
    both = data.to_dataset().assign(t2m=(data + 280).assign_attrs(units="K"))
    xarray.testing.assert_equal(net.forecast(both).rain, net.forecast(data))
    with pytest.raises(ValueError, match=r"rain .*t2m "):
        net.forecast(both.assign(rain=both.rain.assign_attrs(units="K")))


@pytest.mark.parametrize("kind", ["a time zone", "the start of a forecast"])
def test_another_step_is_rejected_for_times_of_any_kind(kind):
    pandas = pytest.importorskip("pandas", reason="the extra netcdf")
    start = pandas.Timestamp("2020-01-01", tz="Europe/Amsterdam") if kind == "a time zone" else pandas.Timedelta(0)
    times = [start + pandas.Timedelta(minutes=15 * i) for i in range(4)]
    data = frames().assign_coords(time=pandas.Index(times))
    with pytest.raises(ValueError, match=r"\b15 minutes.*\b5\b"):
        model().forecast(data)


def test_a_missing_time_is_an_error():
    data = frames()
    times = data.time.values.copy()
    times[-1] = np.datetime64("NaT")
    with pytest.raises(ValueError, match="time has missing"):
        model().forecast(data.assign_coords(time=times))


def test_known_inputs_without_a_description_may_state_a_unit():
    net = model(static_chans=1)
    elevation = frames()[0].drop_vars("time").assign_attrs(units="m")
    xarray.testing.assert_equal(
        net.forecast(frames(), static=elevation), net.forecast(frames(), static=elevation.values)
    )


def test_repeated_times_are_named():
    data = frames()
    with pytest.raises(ValueError, match="repeats"):
        model().forecast(data.isel(time=[0, 1, 1, 2]))
