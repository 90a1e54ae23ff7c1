"""Physical units and lead times."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn_zoo._extras import need
from convrnn_zoo.values.units import UnitError, conversion, format_lead_time, rain_rate, time_unit


@pytest.mark.parametrize(
    ("unit", "rate"),
    [
        ("mm h-1", 1),
        ("mm/5min", 12),
        ("m s-1", 3_600_000),
        ("kg m-2 s-1", 3600),
        ("dBZ", None),
        ("mm/0min", None),
        ("mm (5 min)-1", 12),
        ("m3 s-1", None),
        ("m2 s-1", None),
        ("mm/1.2.3h", None),
        ("0.1 mm/h", 0.1),
        ("10 mm (5 min)-1", 120),
        ("1.2.3 mm/h", None),
        ("kg/m2/s", 3600),
        ("inches/hour", 25.4),
        ("mm" + " " * 40 + "h" + " " * 40 + "-1", 1),
        ("mm" + " " * 50_000 + "h" + " " * 50_000 + "!", None),
        ("mm" * 50_000, None),
    ],
)
def test_rain_rate(unit, rate):
    assert rain_rate(unit) == rate


SPELLINGS = {  # pint does not read these, or reads another quantity; values of 0 and of 1 in the other unit
    ("degrees_C", "K"): (273.15, 274.15),
    ("1e-1 degrees_C", "K"): (273.15, 273.25),
    ("degree C", "K"): (273.15, 274.15),
    ("° C", "K"): (273.15, 274.15),
    ("deg. Kelvin", "degC"): (-273.15, -272.15),
    ("", "1"): (0, 1),
    ("counts of pigs", "counts of pigs"): (0, 1),
    ("1e-3", "1"): (0, 1e-3),
    ("g kg-1", "1e-3"): (0, 1),
    ("kg m-2", "mm"): (0, 1),
    ("inch", "kg m-2"): (0, 25.4),
    ("mm h−1", "mm/h"): (0, 1),
    ("kg m⁻² s⁻¹", "mm/h"): (0, 3600),
    ("mm 10min-1", "mm/h"): (0, 6),
    ("mm/5min", "mm/h"): (0, 12),
    ("Kg.m-2.s-1", "mm/h"): (0, 3600),
    ("mm/hh", "mm/h"): None,
    ("mm/dd", "mm/day"): None,
    ("dB", "1"): None,
    ("dBm", "W"): None,
    ("degree K per day", "K/day"): None,
    ("dBZ", "K"): None,
    ("mm", "mm/h"): None,
    ("counts of pigs", "mm/h"): None,
}


def check_conversion(source, target, expected):
    found = conversion(source, target)
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(found(np.array([0.0, 1.0])), expected, rtol=1e-6, atol=1e-9)
        expected = torch.as_tensor(expected, dtype=torch.float32)
        torch.testing.assert_close(found(torch.tensor([0.0, 1.0])), expected, rtol=1e-5, atol=1e-6)
        assert found.note == ""


@pytest.mark.parametrize(("source", "target"), SPELLINGS)
def test_spellings_that_pint_does_not_read(source, target):
    check_conversion(source, target, SPELLINGS[source, target])


UNITS = (
    "m", "km", "mm", "inch", "ft", "K", "degC", "degF", "Pa", "hPa", "mbar", "m s-1", "knot", "km/h", "mm/day", "%",
    "1", "g kg-1", "W m-2", "J m-2 s-1", "kg m-2", "kg m-2 s-1", "kg m-3", "g cm-3", "s", "min", "hour", "day", "dB",
    "dBm", "dBW", "W", "mW", "m2 s-2", "degrees_north", "rad",
)  # fmt: skip


@given(st.sampled_from(UNITS), st.sampled_from(UNITS))
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_conversions_equal_those_of_pint(source, target):
    """Of the same dimension. Rain has its own rules, and what is no straight line is no conversion."""
    pytest.importorskip("pint", reason="the extra netcdf")
    registry = need("cf_xarray.units", "netcdf").units
    a, b = registry.parse_units(source), registry.parse_units(target)
    if not a.is_compatible_with(b) or rain_rate(target):
        return
    with np.errstate(divide="ignore"):
        values = [float(registry.Quantity(v, a).to(b).magnitude) for v in (0.0, 1.0, 2.0)]
    is_line = np.isclose(values[2] - values[1], values[1] - values[0], rtol=1e-6)
    check_conversion(source, target, values[:2] if is_line or source == target else None)


def test_reflectivity_becomes_rain_rates_by_a_stated_relation():
    rates = np.array([0.1, 1.0, 20.0])
    found = conversion("dBZ", "mm/h")
    np.testing.assert_allclose(found(10 * np.log10(200 * rates**1.6)), rates)
    assert "200 R^1.6" in found.note
    found = conversion("dBZ", "mm/s", relation=(223.0, 1.53))
    np.testing.assert_allclose(found(10 * np.log10(223 * rates**1.53)) * 3600, rates)


def test_sums_are_rates_if_their_duration_is_known():
    for unit, depth in (("mm", 1), ("kg m-2", 1), ("inch", 25.4)):
        found = conversion(unit, "mm/h", minutes=10)
        assert found(2.0) == pytest.approx(2 * 6 * depth)
        assert "10 minutes" in found.note


def test_the_case_of_a_prefix_counts():
    assert conversion("MPa", "mPa")(1.0) == pytest.approx(1e9)
    assert conversion("MW m-2", "mW m-2")(1.0) == pytest.approx(1e9)
    assert conversion("M/S", "m/s")(2.0) == 2.0  # which pint takes for another quantity
    assert conversion("mb", "hPa")(1.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "name", ["atmosphere_mass_content_of_water_vapor", "sea_surface_wave_significant_height", "Precipitable water"]
)
def test_depths_of_something_else_are_not_rain(name):
    assert conversion("kg m-2", "mm/h", name=name, minutes=5) is None
    assert conversion("kg m-2", "mm/h", name="precipitation_amount", minutes=5)(1.0) == pytest.approx(12)


def test_running_totals_are_not_sums_of_a_step():
    with pytest.raises(UnitError, match=r"RAIN.*differences"):
        conversion("mm", "mm/h", name="ACCUMULATED TOTAL RAIN", minutes=5)


def test_wind_is_not_rain():
    assert conversion("m s-1", "mm/h", name="eastward_wind") is None
    assert conversion("m s-1", "mm/h", name="lwe_precipitation_rate")(np.array([1e-6]))[0] == pytest.approx(3.6)
    unnamed = conversion("m s-1", "mm/h")
    assert unnamed(np.array([1e-6]))[0] == pytest.approx(3.6)
    assert "rain rates from m s-1" in unnamed.note
    assert not conversion("m s-1", "mm/h", name="rainfall_rate").note
    with pytest.raises(ValueError, match=r"36,000,000 mm/h.* speed"):
        conversion("m s-1", "mm/h")(np.array([np.nan, 10.0]))


@pytest.mark.parametrize(
    "unit", ["mm" + " " * 4000 + "h" + " " * 4000 + "!", "9**9**9**9", "(((9^9)^9)^9)^9", "mm/(0 h)"]
)
def test_text_that_is_no_unit_is_rejected_quickly(unit):
    assert rain_rate(unit) is None
    assert conversion(unit, "mm/h") is None


def test_time_unit():
    assert [time_unit(step)[0] for step in (0.001, 7.5, 90, 60, 360, 1440)] == ["s", "min", "min", "h", "h", "d"]


def test_format_lead_time():
    frames = ((-1, 5), (0, 5), (10, 60), (2, 1440), (3, None))
    assert [format_lead_time(n, step) for n, step in frames] == ["-5 min", "0 min", "+10 h", "+2 d", "+3"]
