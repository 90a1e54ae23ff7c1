"""Issue times: which frames end a forecast's input."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from convrnn_zoo.data.readers import Frames
from convrnn_zoo.predict.archive.issues import find_issues


def frames(minutes):
    times = np.datetime64("1970-01-01", "s") + (60 * np.array(minutes)).astype("timedelta64[s]")
    return Frames(path=Path("a"), array=np.zeros((len(minutes), 2, 2), "float32"), times=times)


def test_every_counts_from_midnight():
    assert find_issues(frames(range(5, 100, 5)), 2, 5.0, every="30min").tolist() == [5, 11, 17]  # minutes 30, 60, 90


def test_frames_at_other_times_count_from_the_first_one_with_a_warning():
    with pytest.warns(
        UserWarning, match="no issue time is a multiple of 30min since midnight; .* from 1970-01-01 00:12"
    ):
        found = find_issues(frames(range(7, 100, 5)), 2, 5.0, every="30min")
    assert found.tolist() == [1, 7, 13]
    with pytest.warns(UserWarning, match="counted from 1970-01-01 01:00"):
        found = find_issues(frames(range(0, 300, 5)), 2, 5.0, every="6h", period=("1970-01-01T01:00", None))
    assert found.tolist() == [12]


def test_steps_within_the_tolerance_are_equal_and_others_are_counted_in_a_warning():
    jitter = np.random.default_rng(0).uniform(-1, 1, 40) / 60  # minutes
    minutes = np.arange(40) * 5.0
    assert find_issues(frames(minutes + 2 * jitter), 4, 5.0, every="30min").tolist() == [6, 12, 18, 24, 30, 36]
    with pytest.warns(UserWarning, match="left out") as caught:
        found = find_issues(frames(minutes + 5 * jitter), 4, 5.0)
    lost = 37 - len(found)
    assert 5 < lost < 37
    apart = "frames are 4.867 to 5.133 minutes apart; expected 5 minutes, up to 2 %"
    assert str(caught[0].message) == f"a: {lost} of 37 issue times are left out, since {apart}"


def test_multiples_between_the_times_of_frames_are_counted_in_a_warning():
    minutes = np.concatenate([np.arange(0, 61, 5), np.arange(67, 131, 5)])  # scans shift by two minutes
    with pytest.warns(UserWarning, match="6 of 13 multiples of 10min"):  # 70, 80, …, 120
        found = find_issues(frames(minutes), 1, 5.0, every="10min")
    assert found.tolist() == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("every", ["30min", timedelta(minutes=30), np.timedelta64(30, "m"), "0.5h"])
def test_durations_of_any_type(every):
    assert find_issues(frames(range(5, 100, 5)), 2, 5.0, every=every).tolist() == [5, 11, 17]


@pytest.mark.parametrize(
    "period",
    [
        ("1970-01-01T01:00+01:00", "1970-01-01T00:10Z"),
        (np.datetime64("1970-01-01T00:00"), datetime(1970, 1, 1, 1, 10, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_a_period_with_a_time_zone_is_converted_to_utc(period):
    assert find_issues(frames(range(0, 50, 5)), 1, 5.0, period=period).tolist() == [0, 1, 2]


def test_a_number_of_frames():
    assert find_issues(frames(range(0, 50, 5)), 3, 5.0, every=4).tolist() == [2, 6]
    assert find_issues(frames(range(0, 50, 5)), 3, 5.0, every="4").tolist() == [2, 6]


def test_gaps_before_and_known_inputs_after():
    times = [0, 5, 10, 20, 25, 30, 35]
    assert find_issues(frames(times), 2, 5.0).tolist() == [1, 2, 4, 5, 6]
    assert find_issues(frames(times), 2, 5.0, ahead=1).tolist() == [1, 4, 5]


def test_a_period_by_parts_of_dates():
    days = frames(np.arange(60) * 1440.0)
    assert find_issues(days, 2, 1440.0, period=("1970-02", "1970-02-03")).tolist() == [31, 32, 33]
    assert find_issues(days, 2, 1440.0, period=(None, "1970-01-03")).tolist() == [1, 2]


def test_months():
    dates = np.arange("1970-01", "1971-01", dtype="datetime64[M]").astype("datetime64[m]").astype(float)
    assert find_issues(frames(dates), 3, "month", every=6).tolist() == [2, 8]


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        (range(0, 50, 5), {"every": "7min"}, "a multiple of 5 minutes"),
        (range(0, 50, 5), {"every": "soon"}, "a duration such as 30min"),
        (range(0, 50, 5), {"every": "0"}, "a number of frames above 0"),
        (range(0, 50, 5), {"every": -3}, "a number of frames above 0 for a, got -3"),
        (range(0, 50, 5), {"period": ("1971", None)}, "no frame from 1971 to the last ends 2 frames"),
        (range(0, 50, 5), {"period": ("once", None)}, "period takes dates"),
        (range(0, 50, 5), {"period": "1970-02"}, "takes two dates"),
        (range(0, 50, 5), {"period": ("1970-02",)}, "takes two dates"),
        (
            range(0, 50, 10),
            {},
            "frames are 10 minutes apart, expected 5 minutes; pass frames at the step of the training",
        ),
        ([0, 5], {"ahead": 1}, "no frame ends 2 frames 5 minutes apart, and 1 after it"),
    ],
)
def test_errors(times, options, message):
    with pytest.raises(ValueError, match=message):
        find_issues(frames(times), 2, 5.0, **options)
