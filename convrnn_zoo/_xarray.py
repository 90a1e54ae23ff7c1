"""Forecasts as ``xarray.DataArray``, with coordinates that follow the CF conventions."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._extras import need
from ._units import conversion

LEAD_TIME, MEMBER, THRESHOLD = "lead_time", "realization", "threshold"
"""Names of the dimensions of lead times, of ensemble members, and of the thresholds of probabilities."""
_ATTRS = {LEAD_TIME: "forecast_period", MEMBER: "realization", "time": "time"}


def is_data_array(x: object) -> bool:
    """Returns whether an object is an ``xarray.DataArray``, without importing xarray."""
    return any((c.__module__.partition(".")[0], c.__name__) == ("xarray", "DataArray") for c in type(x).__mro__)


def time_first(frames: Any) -> Any:
    """Moves the dimension `time` to the front, or after a batch dimension. Frames without `time` are unchanged."""
    batch = [d for d in frames.dims if d != "time"][: max(0, frames.ndim - 4)]
    return frames.transpose(*batch, "time", ...) if "time" in frames.dims else frames


def in_unit(array: Any, name: str, units: Sequence[str]) -> Any:
    """Converts an ``xarray.DataArray`` from the unit in its attributes to `units`, the units of the model's channels.

    An array without a unit is returned unchanged, and so is any array if `units` is empty. Raises ValueError if the
    channels have different units, or if no conversion is known.
    """
    stated = array.attrs.get("units")
    if stated is None or not units:
        return array
    factors = conversion(str(stated), units[0]) if len(set(units)) == 1 else None
    if factors is None:
        expected = " and ".join(dict.fromkeys(unit or "no unit" for unit in units))
        raise ValueError(
            f"{name} has units={stated!r}, and {expected} is expected, which it cannot be converted to; convert the "
            "values, or correct the attribute"
        )
    return array if factors == (1.0, 0.0) else array * factors[0] + factors[1]


def time_dim(frames: Any) -> str:
    """Returns the name of the time dimension of frames ``([N,] T, [C,] H, W)``."""
    return str(frames.dims[0 if frames.ndim < 5 else 1])


def time_step(frames: Any) -> float | None:
    """Returns the minutes between frames; None for one frame or no times. Raises ValueError if the steps differ."""
    time = time_dim(frames)
    times = frames.indexes.get(time)
    # Dates with or without a time zone, dates of cftime, or times since the start of a forecast.
    if times is None or len(times) < 2 or not (times.dtype.kind in "mM" or hasattr(times, "calendar")):
        return None
    differences = (times[1:] - times[:-1]).total_seconds()
    if differences.hasnans:
        raise ValueError(f"{time} has missing values; pass frames that all have a time")
    steps = sorted(set((differences / 60).to_numpy().round(3).tolist()))
    if len(steps) > 1 or steps[0] <= 0:
        raise ValueError(f"{time} has frames {', '.join(f'{s:g}' for s in steps[:4])} minutes apart; pass equal steps")
    return float(steps[0])


def label_forecast(
    values: Any, dims: Sequence[str], *, last: Any = None, step: float | None = None, unit: str | None = "",
    name: str = "", coords: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """Returns a forecast as an ``xarray.DataArray``.

    Args:
        values: array of the forecast.
        dims: name of each axis of `values`; one of them is :data:`LEAD_TIME`.
        last: time of the last input frame, as ``datetime64``. If `step` is set too, the forecast has the valid times as
            the coordinate `time`.
        step: minutes between frames; if it is None, lead times count frames.
        unit: unit of the values; None if the channels have several units.
        name, coords: name of the variable, and further coordinates. Coordinates of times and members are ignored.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    numbers = numpy.arange(1, values.shape[list(dims).index(LEAD_TIME)] + 1)
    lead = numbers if step is None else (numbers * step * 6e10).round().astype("int64").astype("timedelta64[ns]")
    labels: dict[str, Any] = {LEAD_TIME: (LEAD_TIME, lead)}
    if step is not None and last is not None:
        last = numpy.datetime64(last).astype("datetime64[ns]")
        labels |= {"time": (LEAD_TIME, last + lead), "forecast_reference_time": ((), last)}
    if MEMBER in dims:
        labels[MEMBER] = (MEMBER, numpy.arange(values.shape[list(dims).index(MEMBER)]))
    reserved = {*labels, "time", "forecast_reference_time"}
    others = {k: c for k, c in (coords or {}).items() if k not in reserved}
    array = xarray.DataArray(values, dims=tuple(dims), coords=labels | others, name=name or None)
    array.attrs = {} if unit is None else {"units": unit or "1"}
    for key in ("forecast_reference_time", *_ATTRS):
        if key in array.coords:
            array.coords[key].attrs.setdefault("standard_name", _ATTRS.get(key, key))
    return array


def label_like(
    frames: Any, values: Any, *, step: float | None, unit: str | None, names: Sequence[str] = (), has_channels: bool,
    has_thresholds: bool = False,
) -> Any:  # fmt: skip
    """Labels a forecast with the dimensions and coordinates of its input frames; see :func:`label_forecast`.

    `names` are the names of the forecast's channels, by default those of `frames`. With `has_thresholds`, the axis
    before y and x holds the thresholds.
    """
    *others, y, x = frames.dims
    time, *channel = others[-1:] if frames.ndim == 3 else others[-2:]
    batch = others[: len(others) - 1 - len(channel)]
    dims = [*batch, LEAD_TIME, *((channel or ["channel"]) if has_channels else []), *[THRESHOLD] * has_thresholds, y, x]
    dims = [*[MEMBER] * (values.ndim - len(dims)), *dims]
    coordinates = {
        n: c for n, c in frames.coords.items() if time not in c.dims and n != time and set(c.dims) <= set(dims)
    }
    axis = dims[-3 - has_thresholds] if has_channels else ""
    if has_channels and (names or values.shape[-3 - has_thresholds] != frames.sizes.get(axis)):
        coordinates = {n: c for n, c in coordinates.items() if axis not in c.dims}
        coordinates |= {axis: (axis, list(names))} if names else {}
    times, last = frames.indexes.get(time), None
    if times is not None and times.dtype.kind == "M":
        last = (times if times.tz is None else times.tz_convert(None)).values[-1]  # in UTC
    result = label_forecast(
        values, dims, last=last, step=step, unit=unit, name=str(frames.name or ""), coords=coordinates
    )
    mapping = frames.attrs.get("grid_mapping", frames.encoding.get("grid_mapping"))
    if mapping in coordinates:
        result.attrs["grid_mapping"] = mapping
    return result
