"""Conversion of rain rates and temperatures between units, and formatting of lead times and counts."""

import re

from ._steps import Step

_HOURS = {
    "s": 1 / 3600, "sec": 1 / 3600, "second": 1 / 3600, "min": 1 / 60, "minute": 1 / 60, "h": 1.0, "hr": 1.0,
    "hour": 1.0, "d": 24.0, "day": 24.0,
}  # fmt: skip
_MILLIMETRES = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "in": 25.4,
    "kg m-2": 1.0, "kg/m2": 1.0, "kg m2": 1.0,
}  # fmt: skip
_RATE = re.compile(
    rf"(?P<length>{'|'.join(sorted(_MILLIMETRES, key=len, reverse=True))})s?"
    r"(?:\s*(?:/|per|in|over)\s*\(?\s*(?P<n>\d*(?:\.\d+)?)\s*(?P<time>[a-z]+)\s*\)?"
    r"|(?:\s*\(\s*|\s+|(?=[a-z]))(?P<m>\d*(?:\.\d+)?)\s*(?P<inverse>[a-z]+)\s*\)?\s*-1)"
)
_KELVIN = {
    "k": (1.0, 0.0), "kelvin": (1.0, 0.0), "c": (1.0, 273.15), "degc": (1.0, 273.15), "celsius": (1.0, 273.15),
    "degree celsius": (1.0, 273.15), "degf": (5 / 9, 459.67 * 5 / 9), "fahrenheit": (5 / 9, 459.67 * 5 / 9),
}  # fmt: skip
_NO_UNIT = ("", "1", "-", "none", "dimensionless", "unitless")


def _plain_unit(unit: str) -> str:
    text = unit.strip().lower().replace("**", "").replace("^", "").replace("⁻¹", "-1").replace("⁻²", "-2")
    return re.sub(r"[\s_*·.](?!\d)", " ", text).replace("°", "deg").replace("degs", "deg").strip()


def rain_rate(unit: str) -> float | None:
    """Returns the rain rate of one `unit` in mm/h, such as 12.0 for ``"mm/5min"``; None for other quantities."""
    match = _RATE.fullmatch(_plain_unit(unit))
    if match is None:
        return None
    time = match["time"] or match["inverse"]
    hours = _HOURS.get(time) or _HOURS.get(time.removesuffix("s"))
    if hours is None:
        return None
    count = float(match["n"] or match["m"] or 1)
    return round(_MILLIMETRES[match["length"]] / (hours * count), 9) if count else None


def is_rain(unit: str) -> bool:
    """Returns whether a unit equals mm/h, the unit of the default thresholds and of the extrapolation of rain."""
    return rain_rate(unit) == 1.0


def conversion(source: str, target: str) -> tuple[float, float] | None:
    """Returns (a, b) with ``target = a * source + b``; None for different or unknown quantities."""
    a, b = _plain_unit(source), _plain_unit(target)
    if a == b or (a in _NO_UNIT and b in _NO_UNIT):
        return 1.0, 0.0
    rates = rain_rate(source), rain_rate(target)
    if None not in rates:
        return rates[0] / rates[1], 0.0  # type: ignore[operator]
    kelvin = [_KELVIN.get(unit) or _KELVIN.get(unit.replace("degrees", "degree")) for unit in (a, b)]
    if None not in kelvin:
        (factor, offset), (to_factor, to_offset) = kelvin  # type: ignore[misc]
        return factor / to_factor, (offset - to_offset) / to_factor
    return None


def time_unit(step: Step) -> tuple[str, float]:
    """Returns the unit in which multiples of a step are shown (s, min, h, d, month or year), and its length in steps.

    The length is in minutes, unless the step is a calendar unit.
    """
    if isinstance(step, str):
        return step, 1.0
    if step < 1:
        return "s", 1 / 60
    return next(
        ((unit, size) for unit, size in (("d", 1440.0), ("h", 60.0)) if round(step % size, 6) == 0), ("min", 1.0)
    )


def format_lead_time(number: int, step: Step | None) -> str:
    """Formats the lead time of a frame in the unit of :func:`time_unit`; frame number 0 is the last input frame."""
    name, size = ("", 1.0) if step is None else time_unit(step)
    value = round(number * (1.0 if isinstance(step, str) else step or 1.0) / size, 3)
    name += "s" * (isinstance(step, str) and abs(value) != 1)
    return f"{value:+g} {name}".rstrip() if value else f"0 {name}".rstrip()


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural unless the count is 1.

    Example:
        >>> plural(1, "frame"), plural(1200, "frame")
        ('1 frame', '1,200 frames')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
