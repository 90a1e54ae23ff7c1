"""Writes forecasts to files: NumPy arrays, NetCDF and Zarr."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .._atomic import atomic_write
from .._extras import need
from .._version import __version__
from .._xarray import LEAD_TIME, MEMBER, THRESHOLD, label_forecast
from ..pretrained.preprocessing import Preprocessing
from .readers import Frames

COORDINATE_SUFFIXES = (".nc", ".zarr")
"""Suffixes of the formats that store coordinates."""


def write_numpy(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes all arrays to a ``.npz`` file, or only the first one to a ``.npy`` file, atomically."""
    numpy = need("numpy", "cli")
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npy":
            numpy.save(file, next(iter(arrays.values())))
        else:
            numpy.savez_compressed(file, **arrays)


def to_dataset(
    forecast: Tensor, frames: Frames, values: Preprocessing, *, step: float | None, thresholds: Sequence[float] = (),
    members: int = 0, model: str = "",
) -> Any:  # fmt: skip
    """Returns a forecast as an ``xarray.Dataset`` by the CF conventions, with a variable for each target.

    `forecast` has the axes ``([members,] horizon, [C,] [thresholds,] H, W)``. `frames` are the input frames of the
    model, `step` minutes apart. `members` is 0 if `forecast` has no axis of members. If `thresholds` are given, the
    values are the probabilities of reaching them.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    dims = [*[MEMBER] * bool(members), LEAD_TIME, *[THRESHOLD] * bool(thresholds), *frames.map_dims]
    targets: Any = values.target_variables
    names = [v.name for v in targets] if values.variables else [frames.variable or "forecast"]
    last = None if frames.datetimes is None else numpy.datetime64(frames.datetimes[-1])
    numbers = forecast.numpy()
    channel = 1 + bool(members)
    if numbers.ndim == len(dims):
        numbers = numpy.expand_dims(numbers, channel)
    elif len(names) != numbers.shape[channel]:
        names = [f"{names[0]}_{i}" for i in range(numbers.shape[channel])]
        targets = targets * len(names)
    coords: dict[str, Any] = {k: v for k, v in frames.coordinates.items() if not {k, *v[0]} & set(dims[:-2])}
    if thresholds:
        coords[THRESHOLD] = (THRESHOLD, list(thresholds), {"units": targets[0].unit})
    labels: dict[str, Any] = {"step": step, "last": last, "coords": coords}
    reserved, variables = {*dims, *coords, "time", "forecast_reference_time"}, {}
    for i, (name, target) in enumerate(zip(names, targets, strict=True)):
        label = f"probability that {name} reaches the threshold" if thresholds else f"forecast of {name}"
        unit = "1" if thresholds else target.unit
        variable = label_forecast(numbers.take(i, axis=channel), dims, unit=unit, **labels)
        variable.attrs["long_name"] = label
        if frames.grid_mapping:
            variable.attrs["grid_mapping"] = frames.grid_mapping
        prefix = "probability_of_" if thresholds else "forecast_of_" if name in reserved else ""
        variables[prefix + name] = variable
    attrs = {"Conventions": "CF-1.10", "source": f"convrnn_zoo {__version__}, {model}".rstrip(", ")}
    return xarray.Dataset(variables, attrs=attrs)


def write_dataset(dataset: Any, path: Path) -> None:
    """Writes an ``xarray.Dataset`` as NetCDF-4 or as a Zarr store, atomically."""
    if path.suffix == ".zarr":
        need("zarr", "zarr")
        if path.exists():
            raise ValueError(f"{path} exists already; remove it, or choose another name")
        with atomic_write(path) as temporary:
            dataset.to_zarr(temporary, consolidated=False)
        return
    need("h5netcdf", "netcdf")
    encoding = {name: {"zlib": True, "complevel": 1} for name in dataset.data_vars}
    with atomic_write(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
