"""Conversion of values between units, and formatting of lead times and counts."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from .._extras import need
from .steps import Step

if TYPE_CHECKING:
    import pint
    from torch import Tensor

Numbers = TypeVar("Numbers", np.ndarray, "Tensor")
"""Arrays and tensors."""

MARSHALL_PALMER = (200.0, 1.6)
"""Constants a and b of the relation ``Z = a R^b`` of reflectivity Z in mm⁶/m³ and the rain rate R in mm/h."""
ALIASES = {
    "none": "1",
    "-": "1",
    "unitless": "1",
    "fraction": "1",
    "mb": "millibar",
    "m of water equivalent": "m",
    "mm of water equivalent": "mm",
    "inches": "inch",
}
"""Names of units that pint lacks or reads as another unit, in lower case."""
MAX_UNIT = 100
"""Longest text that is read as a unit. Attributes of untrusted files may have any length."""
MAX_RAIN = 5000.0
"""Highest rain rate in mm/h that a conversion from m/s accepts; the highest one that was measured is 2,300 mm/h."""
FASTEST_RAIN = 36_000.0  # mm/h in one cm/s: units of this size or above are those of speeds
_RAIN_NAMES = re.compile("rain|precip(?!itable)|snow.?(?:fall|rate)|hail", re.IGNORECASE)
_WATER_NAMES = re.compile("water|rain|precip|snow|hail|run-?off|evapo|moisture", re.IGNORECASE)
_RUNNING_TOTALS = re.compile("accumulated.total", re.IGNORECASE)  # of WRF, since the start of the run
_TEMPERATURE = re.compile(
    r"(?:deg(?:ree)?s?[\s._]*)?(?:(c)(?:elsius)?|(k)(?:elvin)?|(f)(?:ahrenheit)?)(?:[\s_]degrees?)?", re.IGNORECASE
)  # pint reads degree C as the product of an angle and a temperature
_VALID = re.compile(r"[\w\s/*^.·()%°µμ⁻⁰¹²³+-]{0,60}")
_POWER = r"(?:\*\*|\^)"
_EXPENSIVE = re.compile(
    rf"\d{{6}}|\(0*\.?0*\s|\.\d*\.|\)\s*{_POWER}|{_POWER}\s*[-+]?\d(?:\d|\s*{_POWER})"
)  # pint evaluates powers of numbers, which may take forever
_PREFIXED_TIME = re.compile(r"(?!minute|hour|day|week|month)[a-z]+(minute|hour|day|week|month)|(?:hecto|dec[ai])second")
"""Units that pint reads where an hour or a day has a letter too many, such as the hectohour in ``mm/hh``."""


class UnitError(ValueError):
    """Values that cannot be in the unit that is stated for them."""


class Conversion(NamedTuple):
    """Conversion of values to another unit. `note` describes an assumption that outputs state; empty if there is none.

    Calling it converts an array or a tensor. Values in the same unit are returned unchanged.
    """

    apply: Callable[[Any], Any] | None = None
    note: str = ""

    def __call__(self, values: Any) -> Any:
        """Returns the converted values."""
        return values if self.apply is None else self.apply(values)


def _affine(values: Numbers, factor: float, offset: float) -> Numbers:
    return values * factor + offset if offset else values * factor


def _speed_to_rain(values: Numbers, factor: float) -> Numbers:
    known = values[values == values]
    highest = float(known.max()) * factor if len(known) else 0.0
    if highest > MAX_RAIN:
        raise UnitError(
            f"values up to {highest:,.0f} mm/h after conversion from a speed, and rain is below {MAX_RAIN:g}; "
            "select the variable of rain if this is wind, or else correct its unit"
        )
    return values * factor


def _dbz_to_rain(values: Numbers, a: float, b: float, factor: float) -> Numbers:
    return (10 ** (values / 10) / a) ** (1 / b) * factor


def _ascii(unit: str) -> str:
    """Returns a unit with ASCII signs for the minus and the superscripts of Unicode."""
    return unit.translate(str.maketrans("−‐‑–⁻⁰¹²³", "-----0123"))


def _spelled(unit: str) -> str:
    """Returns a unit in one spelling for comparisons, such as ``mm h-1`` for ``mm/hr``."""
    if len(unit) > MAX_UNIT:
        return unit
    text = re.sub(r"[\s_*·.]+(?!\d)", " ", " ".join(_ascii(unit).split()).replace("**", "").replace("^", ""))
    text = re.sub(r"(?i:(?:/|\bper)\s*(?:h|hr|hour)s?$)", " h-1", text)
    return re.sub(r"\s+", " ", re.sub(r"(?i:\b(?:h|hr|hour)s?\s*-1$)", "h-1", text)).strip()


def _plain(unit: str) -> str:
    """Returns :func:`_spelled` in lower case. The case tells MPa from mPa."""
    return _spelled(unit).lower()


def is_rain_name(name: str) -> bool:
    """Returns whether the name of a quantity is that of rain, snow or hail."""
    return _RAIN_NAMES.search(name) is not None


def is_rain(unit: str) -> bool:
    """Returns whether a unit is that of rain rates in mm/h, in any spelling."""
    return _plain(unit) in ("mm h-1", "millimeters h-1", "millimetres h-1", "kg m-2 h-1", "kg/m2 h-1")


def is_reflectivity(unit: str) -> bool:
    """Returns whether a unit is decibel of reflectivity."""
    return _plain(unit) in ("dbz", "dbz h", "decibel z", "dbze", "db z")


@functools.lru_cache(maxsize=256)
def parse_unit(unit: str) -> pint.Quantity | None:
    """Returns a unit as a quantity of pint: 0.2 mm/min for ``"mm/5min"``, 0.1 mm for ``"0.1 mm"``; None if unknown."""
    if len(unit) > MAX_UNIT:
        return None
    log = logging.getLogger("pint.util")
    level, log.level = log.level, logging.ERROR  # it warns that cf_xarray redefines units
    need("pint", "netcdf")  # which cf_xarray imports
    registry = need("cf_xarray.units", "netcdf").units
    text = re.sub(r"(?<=[a-z]) (?=-\d)", "", " ".join(_ascii(unit).split()))
    log.level = level
    scaled = re.fullmatch(r"(\d*\.?\d+(?:e[-+]?\d+)?)(?:[ *]+([a-z].*))?", text, re.IGNORECASE)
    scale, text = (float(scaled[1]), scaled[2] or "1") if scaled else (1.0, text)
    text = text.replace("℃", "°C").replace("℉", "°F").replace("°", "deg")
    if temperature := _TEMPERATURE.fullmatch(text):
        text = ("degC", "kelvin", "degF")[(temperature.lastindex or 1) - 1]
    text = re.sub(r"\bKg\b", "kg", ALIASES.get(text.lower(), text) or "1")
    text = re.sub(r"\(\s*([\d.]+\s*[a-z]+)\s*\)\s*\^?-1", r"/(\1)", text)  # mm (5 min)-1
    text = re.sub(r"(?<=[a-z]) ([\d.]+\s*[a-z]+)\s*\^?-1$", r"/(\1)", text)  # mm 10min-1
    text = re.sub(r"(?:/|\bper\b|\bin\b|\bover\b)\s*\(?([\d.]+)\s*([a-z]+)\)?$", r"/(\1 \2)", text)  # mm/5min
    if not _VALID.fullmatch(text) or _EXPENSIVE.search(text):
        return None
    try:
        with registry.context():
            quantity = registry.parse_expression(text) if re.search(r"/\(", text) else 1 * registry.parse_units(text)
            quantity = scale * (quantity if hasattr(quantity, "units") else registry.Quantity(quantity))
    except Exception:  # pint raises exceptions of any type for text that is no unit
        return None
    names = {name for name, _ in quantity.unit_items()}
    if any(_PREFIXED_TIME.fullmatch(name) for name in names):
        return None
    if "degree" in names and any("[temperature]" in registry.Unit(name).dimensionality for name in names):
        return None  # a spelling of a temperature that pint read as an angle and a temperature
    return quantity if math.isfinite(quantity.magnitude) and quantity.magnitude > 0 else None


def rain_rate(unit: str) -> float | None:
    """Returns the rain rate of one `unit` in mm/h, such as 12.0 for ``"mm/5min"``; None for other quantities.

    One kg/m² of water is a depth of 1 mm.
    """
    return 1.0 if is_rain(unit) else _depth(unit, "mm/hour", "kg/m**2/hour")


def rain_depth(unit: str) -> float | None:
    """Returns the depth of one `unit` in mm, such as 25.4 for ``"inch"``; None for other quantities."""
    return _depth(unit, "mm", "kg/m**2")


def _depth(unit: str, *targets: str) -> float | None:
    quantity: Any = parse_unit(unit)
    target = next((t for t in targets if quantity is not None and quantity.is_compatible_with(t)), None)
    value = float(quantity.to(target).magnitude) if target else 0.0
    return round(value, 9) if 0 < value < math.inf else None


def conversion(
    source: str,
    target: str,
    *,
    name: str = "",
    minutes: float | None = None,
    relation: tuple[float, float] = MARSHALL_PALMER,
) -> Conversion | None:
    """Returns the conversion of values from one unit to another; None for different or unknown quantities.

    Args:
        source, target: the units.
        name: standard name of the quantity, if it is known: speeds and depths become rain rates only if it is of rain.
            Without a name, the conversion has a note.
        minutes: duration of the sums, if `source` is a depth of rain and `target` is a rain rate.
        relation: constants a and b of ``Z = a R^b``, for the conversion of reflectivity to rain rates.

    Raises:
        UnitError: the quantity is a running total of rain.

    Example:
        >>> conversion("degrees_C", "K")(20.0), conversion("mm", "mm/h", minutes=10)(1.0), conversion("m", "K")
        (293.15, 6.0, None)
    """
    if _spelled(source) == _spelled(target) or (is_rain(source) and is_rain(target)):
        return Conversion()
    if is_reflectivity(source):
        rate = rain_rate(target)
        if rate is None:
            return Conversion() if is_reflectivity(target) else None
        a, b = relation
        apply = functools.partial(_dbz_to_rain, a=a, b=b, factor=1 / rate)
        return Conversion(apply, f"rain rates R from reflectivity by Z = {a:g} R^{b:g}")
    rates = rain_rate(source), rain_rate(target)
    if rates[1] is not None:
        if rates[0] is not None:
            factor = rates[0] / rates[1]
            if rates[0] < FASTEST_RAIN or rates[1] >= FASTEST_RAIN:
                return Conversion(functools.partial(_affine, factor=factor, offset=0.0))
            if name and not is_rain_name(name):
                return None
            note = "" if name else f"rain rates from {source}, which nothing calls another speed than that of rain"
            return Conversion(functools.partial(_speed_to_rain, factor=factor), note)
        depth = rain_depth(source)
        if depth is not None and name and not is_rain_name(name):
            return None
        if depth is not None and _RUNNING_TOTALS.search(name):
            raise UnitError(f"{name} is a running total, not a sum over each step; pass its differences in time")
        if depth is not None and minutes:
            apply = functools.partial(_affine, factor=depth * 60 / minutes / rates[1], offset=0.0)
            return Conversion(apply, f"rain rates from sums over {minutes:g} minutes")
    quantity, unit = parse_unit(source), parse_unit(target)
    if quantity is None or unit is None or not quantity.is_compatible_with(unit):
        depths = rain_depth(source), rain_depth(target)
        if depths[0] and depths[1] and (not name or _WATER_NAMES.search(name)):
            return Conversion(functools.partial(_affine, factor=depths[0] / depths[1], offset=0.0))
        return Conversion() if _plain(source) == _plain(target) else None
    return _convert_linearly(quantity, unit)


def _convert_linearly(source: pint.Quantity, target: pint.Quantity) -> Conversion | None:
    """Returns the conversion between compatible quantities, or None if it is not linear, such as that of dB."""
    values = (0.0, source.magnitude, 2 * source.magnitude)
    with np.errstate(divide="ignore"):
        zero, one, two = (float(source.__class__(v, source.units).to(target.units).magnitude) for v in values)
    if not math.isclose(two - one, one - zero, rel_tol=1e-6):
        return None
    scale, offset = float((one - zero) / target.magnitude), float(zero / target.magnitude)
    scale = round(scale, 12) if abs(scale) > 1e-3 else scale
    if (scale, offset) == (1.0, 0.0):
        return Conversion()
    return Conversion(functools.partial(_affine, factor=scale, offset=round(offset, 9)))


def time_unit(step: Step) -> tuple[str, float]:
    """Returns the unit in which multiples of a step are shown (s, min, h, d, month or year), and its length in steps.

    The length is in minutes, unless the step is a calendar unit.
    """
    if isinstance(step, str):
        return step, 1.0
    if step < 1:
        return "s", 1 / 60
    return next(((u, size) for u, size in (("d", 1440.0), ("h", 60.0)) if round(step % size, 6) == 0), ("min", 1.0))


def format_lead_time(number: int, step: Step | None) -> str:
    """Formats the lead time of a frame in the unit of :func:`time_unit`; frame number 0 is the last input frame."""
    name, size = ("", 1.0) if step is None else time_unit(step)
    value = round(number * (1.0 if isinstance(step, str) else step or 1.0) / size, 3)
    name += "s" * (isinstance(step, str) and abs(value) != 1)
    return f"{value:+g} {name}".rstrip() if value else f"0 {name}".rstrip()


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural unless the count is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
