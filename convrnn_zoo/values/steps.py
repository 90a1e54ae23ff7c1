"""Steps between frames: minutes, or the calendar units month and year."""

import calendar
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

Step = float | Literal["month", "year"]
"""Minutes between frames, or ``"month"`` or ``"year"``, whose lengths differ."""
MONTHS = {"month": 1, "year": 12}
"""Number of months in a calendar step."""
TOLERANCE = 0.02
"""Share of a step by which times between frames may differ from it."""
TOLERATED = f"{100 * TOLERANCE:g} %"
"""The tolerance in words."""
SHORTEST_MONTH = 27.5 * 1440
"""Minutes that are fewer than those of any month."""
_DAYS = 365.2425 / 12


def mean_minutes(step: Step) -> float:
    """Returns the minutes of a step; for months and years, their mean in the Gregorian calendar."""
    return MONTHS[step] * _DAYS * 1440 if isinstance(step, str) else step


def is_near(minutes: Any, step: float) -> Any:
    """Returns whether times between frames equal a step, up to :data:`TOLERANCE`: a boolean, or an array of them."""
    return abs(minutes - step) <= TOLERANCE * step + 1e-9


def is_same(step: Step | None, expected: Step | None) -> bool:
    """Returns whether two known steps are equal, up to :data:`TOLERANCE`."""
    if step is None or expected is None or isinstance(step, str) or isinstance(expected, str):
        return step is not None and step == expected
    return bool(is_near(step, expected))


def check_same(step: Step | None, expected: Step | None, name: str, fix: str) -> None:
    """Raises ValueError if the known steps of the frames `name` and the expected one differ."""
    if step and expected and not is_same(step, expected):
        got, wanted = ("a " * isinstance(s, str) + describe_step(s) for s in (step, expected))
        raise ValueError(f"{name} are {got} apart, expected {wanted}; {fix}")


def describe_step(step: Step) -> str:
    """Returns a step for messages, such as ``"5 minutes"`` or ``"month"``."""
    return step if isinstance(step, str) else f"{step:g} minute{'' if step == 1 else 's'}"


def _number(date: Any) -> int:
    return 12 * date.year + date.month - 1


def _last_day(date: Any) -> int:
    days = getattr(date, "daysinmonth", None)  # of cftime
    return calendar.monthrange(date.year, date.month)[1] if days is None else days


def is_next(before: Any, after: Any, step: Step) -> bool:
    """Returns whether a date of datetime or cftime follows another one after a calendar step.

    Its month is the next one (or the same of the next year), and its day is about the same: months have 28 to 31 days,
    and their middle is the 15th or 16th.
    """
    ends = before.day == _last_day(before) and after.day == _last_day(after)
    return _number(after) - _number(before) == MONTHS[str(step)] and (ends or abs(after.day - before.day) <= 2)


def find_calendar_step(dates: Sequence[Any]) -> Literal["month", "year"] | None:
    """Returns ``"month"`` or ``"year"`` if most dates follow each other after this step, on about the same day."""
    days = [d.day for d in dates]
    if len(days) < 2 or (max(days) - min(days) > 2 and not all(d.day == _last_day(d) for d in dates)):
        return None
    pairs = list(pairwise(dates))
    steps: tuple[Literal["month", "year"], ...] = ("month", "year")
    return next((s for s in steps if 2 * sum(is_next(a, b, s) for a, b in pairs) > len(pairs)), None)


def next_dates(dates: Sequence[Any], count: int, step: Step) -> list[Any]:
    """Returns `count` dates after the last of `dates` at a calendar step; ends of months are followed by such ends."""
    last = dates[-1]
    day, result = 31 if all(d.day == _last_day(d) for d in dates) else last.day, []
    for i in range(1, count + 1):
        year, month = divmod(_number(last) + i * MONTHS[str(step)], 12)
        first = last.replace(year=year, month=month + 1, day=1)
        result.append(first.replace(day=min(day, _last_day(first))))
    return result
