"""Calendar steps in any calendar."""

import itertools
from datetime import datetime, timedelta

import pytest

from convrnn_zoo.values.labels.times import check_step, find_gaps, find_step
from convrnn_zoo.values.steps import find_calendar_step, is_next, is_same, mean_minutes, next_dates

MONTHS = [(2020 + m // 12, m % 12 + 1) for m in range(30)]


@pytest.mark.parametrize("calendar", ["datetime", "noleap", "360_day", "julian"])
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_months_of_any_length_are_steps_of_a_month(calendar, place):
    cftime = pytest.importorskip("cftime", reason="the extra netcdf")
    make = datetime if calendar == "datetime" else lambda *d: cftime.datetime(*d, calendar=calendar)
    starts = [make(y, m, 1) for y, m in MONTHS]
    if place == "middle":
        dates = [a + (b - a) / 2 for a, b in itertools.pairwise(starts)]
    else:
        dates = starts if place == "start" else [d - timedelta(days=1) for d in starts[1:]]
    assert find_calendar_step(dates) == "month"
    later = next_dates(dates[:20], len(dates) - 20, "month")
    assert len(later) == len(dates) - 20
    for found, expected in zip(later, dates[20:], strict=True):
        assert (found.year, found.month) == (expected.year, expected.month)
        assert abs(found - expected) <= timedelta(days=0 if place != "middle" else 2)
    assert find_calendar_step(dates[::12]) == "year"
    assert all(is_next(a, b, "month") for a, b in itertools.pairwise(dates))


@pytest.mark.parametrize("days", [1, 5, 10, 30])
def test_other_steps_are_no_months(days):
    dates = [datetime(2020, 1, 1) + timedelta(days=days * i) for i in range(40)]
    assert find_calendar_step(dates) is None


def test_the_mean_of_a_month_is_a_twelfth_of_a_year():
    assert 12 * mean_minutes("month") == mean_minutes("year")


def test_one_tolerance_holds_for_steps_gaps_and_the_step_of_irregular_times():
    numpy = pytest.importorskip("numpy", reason="the extra cli")
    seconds = 300 * numpy.arange(50) + numpy.random.default_rng(0).integers(-2, 3, 50)
    times = numpy.datetime64("2020-01-01", "ns") + seconds * numpy.timedelta64(1, "s")
    assert is_same(find_step(times), 5.0)
    assert not find_gaps(times, 5.0).any()
    assert check_step(times, 5.0) == 5.0
    with pytest.raises(ValueError, match="pass equal steps, up to 2 %"):
        check_step(times[[0, 1, 2, 3, 5]], 5.0)
