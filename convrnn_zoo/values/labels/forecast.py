"""The inverse of the normal form: labels of a forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from ..._extras import need
from ..._hints import warn
from ..preprocessing import Preprocessing
from ..steps import Step
from .axes import CHANNEL, LEAD_TIME, MEMBER, THRESHOLD, Layout, find_pixel_km, warn_of_oblong_pixels
from .times import extend_times, is_dated

if TYPE_CHECKING:
    import xarray as xr

PROBABILITY = "probability_of_"
"""Begin of the names of variables with probabilities."""
FROM_REFLECTIVITY = "rain rates R from reflectivity"
"""Begin of the comment of frames that were converted to rain rates."""
OUTSIDE = "outside"
"""Name of the coordinate that is true where rain comes from outside the map."""


def describe_conversions(data: xr.Dataset) -> str:
    """Returns the assumptions of the conversions of units in data in normal form; empty if there are none."""
    return "; ".join(dict.fromkeys(v.attrs["comment"] for v in data.data_vars.values() if "comment" in v.attrs))


def name_targets(values: Preprocessing, frames: xr.Dataset, count: int) -> dict[str, str]:
    """Returns the units of the variables of a forecast of `count` channels, by their names."""
    targets = values.target_variables
    names = [v.name for v in targets] if values.variables else [*map(str, frames.data_vars)] or ["forecast"]  # type: ignore[attr-defined]
    if len(names) != count and CHANNEL not in frames.dims:
        names, targets = [f"{names[0]}_{i}" for i in range(count)], targets * count
    return {name: target.unit for name, target in zip(names, targets, strict=False)}


def choose_pixel_km(
    frames: xr.Dataset | None, pixel_km: float | None, trained: float | None, is_read: bool, name: str = "frames"
) -> float | None:
    """Returns the edge of a pixel in km: `pixel_km`, or that of the coordinates of frames in normal form; or None.

    Warns if the two differ by a tenth or more, and if the frames have other pixels than a model that was `trained` on
    one size. Models of any pixel size read it (`is_read`).
    """
    stated = None if frames is None else find_pixel_km(frames)
    if pixel_km and stated and not 0.9 < stated / pixel_km < 1.1:
        warn(f"{name}: pixels of {stated:.3g} km; pixel_km={pixel_km:g} is used")
    chosen = pixel_km or stated
    if not is_read and trained and chosen and not 0.9 < chosen / trained < 1.1:
        warn(f"{name}: pixels of {chosen:.3g} km, and the model was trained on {trained:.3g} km; resample them")
    elif frames is not None and is_read and stated and not pixel_km:
        warn_of_oblong_pixels(frames)
    return chosen


def label_forecast(
    values: numpy.ndarray,
    frames: xr.Dataset,
    targets: Mapping[str, str | None],
    layout: Layout | None = None,
    *,
    step: Step | None = None,
    thresholds: Sequence[float] = (),
    has_members: bool = False,
    has_channels: bool = True,
    note: str = "",
    outside: numpy.ndarray | None = None,
) -> xr.Dataset:
    """Returns a forecast as a Dataset by the CF conventions, with the dimensions and coordinates of its frames.

    Args:
        values: array ``([members,] [N,] horizon, [C,] [thresholds,] H, W)`` in the directions of the normal form.
        frames: the input frames in normal form. The time of the last one is that of the forecast.
        targets: units by names of the forecast variables: one for each channel, or one for all channels of frames
            with a dimension of channels. The unit None is not written.
        layout: layout of the source of `frames`, which the forecast is returned in.
        step: minutes between frames, or a calendar step; if it is None, lead times count frames.
        thresholds: values of which `values` are the probabilities that they are reached. The variables then have names
            with :data:`PROBABILITY`.
        has_members, has_channels: whether `values` have these axes.
        note: assumptions that were made of the input, as attribute ``comment``.
        outside: mask ``([N,] horizon, H, W)`` of pixels whose rain comes from outside the map, as a coordinate.
    """
    xarray = need("xarray", "netcdf")
    layout = layout or Layout()
    dims = [LEAD_TIME, *[CHANNEL] * has_channels, *[THRESHOLD] * bool(thresholds), "y", "x"]
    batch = "batch" if has_members else MEMBER
    dims = [*[MEMBER] * has_members, *[batch] * (values.ndim - len(dims) - has_members), *dims]
    count, reference = values.shape[dims.index(LEAD_TIME)], "forecast_reference_time"
    lead: Any = numpy.arange(1, count + 1)
    if not isinstance(step, str | None):
        lead = (lead * step * 6e10).round().astype("int64").astype("timedelta64[ns]")
    coords: dict[str, Any] = {}
    if step is not None and is_dated(frames):
        times, last = extend_times(frames, step, count)[-count:], frames["time"].values[-1]
        if isinstance(step, str):
            lead = (times - last).astype("timedelta64[us]").astype("timedelta64[ns]")
        coords = {"time": (LEAD_TIME, times, {"standard_name": "time"})}
        coords[reference] = ((), last, {"standard_name": reference})
    coords[LEAD_TIME] = (LEAD_TIME, lead, {"standard_name": "forecast_period"})
    if has_members:
        coords[MEMBER] = (MEMBER, numpy.arange(values.shape[0]), {"standard_name": "realization"})
    if thresholds:
        coords[THRESHOLD] = (THRESHOLD, list(thresholds), {"units": next(iter(targets.values())) or "1"})
    if outside is not None:
        located = [d for d in dims if d in {batch, MEMBER, LEAD_TIME, "y", "x"} and not (d == MEMBER and has_members)]
        coords[OUTSIDE] = (located, outside, {"long_name": "whether the rain comes from outside the observed map"})
    known, reserved = set(dims), {*coords, "time", reference, MEMBER, THRESHOLD}
    places = {
        n: _without_bounds(c.variable)
        for n, c in frames.coords.items()
        if n not in reserved
        and set(c.dims) <= known
        and c.dtype.kind not in "mMO"
        and " since " not in str(c.attrs.get("units"))
    }
    if CHANNEL in dims and len(targets) == values.shape[dims.index(CHANNEL)] and CHANNEL not in frames.dims:
        parts = dict(zip(targets, numpy.moveaxis(values, dims.index(CHANNEL), 0), strict=True))
        dims.remove(CHANNEL)
    else:
        sizes = dict(zip(dims, values.shape, strict=True))
        places = {n: v for n, v in places.items() if v.shape == tuple(sizes[str(d)] for d in v.dims)}
        parts = {next(iter(targets)): values}
    variables = {}
    for target, part in parts.items():
        source = dict(frames[target].attrs) if target in frames else {}
        name = target
        if FROM_REFLECTIVITY in str(source.get("comment")):  # the frames were converted to rain, and so is the forecast
            name = "rainfall_rate"
            source.pop("long_name", None)
        keep = ("standard_name", "long_name", "grid_mapping") if not thresholds else ("grid_mapping",)
        attrs: dict[str, Any] = {k: v for k, v in source.items() if k in keep}
        unit = "1" if thresholds else targets[target]
        attrs |= {} if unit is None else {"units": unit or "1"}
        attrs |= {"long_name": f"probability that {name} reaches the threshold"} if thresholds else {}
        attrs |= {"comment": note} if note else {}
        variables[PROBABILITY + name if thresholds else name] = (dims, part, attrs)
    result = xarray.Dataset(variables, coords).assign_coords(places)
    result = result.isel({axis: slice(None, None, -1) for axis in layout.turned})
    names = {**layout.dims, batch: layout.dims.get(MEMBER, batch)}
    unnamed = {"time", *[MEMBER] * has_members}
    return result.swap_dims({a: d for a, d in names.items() if a in {*result.dims} - unnamed and d not in result.dims})


def _without_bounds(variable: xr.Variable) -> xr.Variable:
    """Returns a coordinate that refers to no bounds, which a forecast does not have."""
    variable = variable.copy(deep=False)
    for attributes in (variable.attrs, variable.encoding):
        attributes.pop("bounds", None)
    return variable
