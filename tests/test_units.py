"""Physical units and lead times."""

import pytest

from convrnn_zoo._units import conversion, format_lead_time, rain_rate, time_unit


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
        ("inches/hour", 25.4),
        ("mm" + " " * 40 + "h" + " " * 40 + "-1", 1),
        ("mm" + " " * 50_000 + "h" + " " * 50_000 + "!", None),
        ("mm" * 50_000, None),
    ],
)
def test_rain_rate(unit, rate):
    assert rain_rate(unit) == rate


@pytest.mark.parametrize(
    ("source", "target", "factors"),
    [
        ("mm/5min", "mm/h", (12, 0)),
        ("degC", "K", (1, 273.15)),
        ("K", "celsius", (1, -273.15)),
        ("degree_C", "K", (1, 273.15)),
        ("degrees_C", "K", (1, 273.15)),
        ("deg_C", "K", (1, 273.15)),
        ("x" * 500, "x" * 500, (1, 0)),
        ("1", "dimensionless", (1, 0)),
        ("dBZ", "mm/h", None),
    ],
)
def test_conversion(source, target, factors):
    assert conversion(source, target) == factors


def test_time_unit():
    assert [time_unit(step)[0] for step in (0.001, 7.5, 90, 60, 360, 1440)] == ["s", "min", "min", "h", "h", "d"]


def test_format_lead_time():
    frames = ((-1, 5), (0, 5), (10, 60), (2, 1440), (3, None))
    assert [format_lead_time(n, step) for n, step in frames] == ["-5 min", "0 min", "+10 h", "+2 d", "+3"]
