"""Writes forecasts to files: NumPy arrays, NetCDF and Zarr."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from .._atomic import atomic_write, write_bytes
from .._extras import need
from .._hints import warn
from .._stores import Place, Store, open_zarr_store
from .._version import __version__
from ..data import Frames
from ..values.labels.forecast import describe_conversions, label_forecast, name_targets
from ..values.preprocessing import Preprocessing
from ..values.steps import Step

COORDINATE_SUFFIXES = (".nc", ".zarr")
"""Suffixes of the formats that store coordinates."""


def write_numpy(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes all arrays to a ``.npz`` file, or only the first one to a ``.npy`` file, atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npy":
            numpy.save(file, next(iter(arrays.values())))
        else:
            numpy.savez_compressed(file, **arrays)


def to_dataset(
    forecast: Tensor,
    frames: Frames,
    values: Preprocessing,
    *,
    step: Step | None,
    thresholds: Sequence[float] = (),
    members: int = 0,
    model: str = "",
    outside: Tensor | None = None,
) -> Any:
    """Returns a forecast as an ``xarray.Dataset`` by the CF conventions, with a variable for each target.

    `forecast` has the axes ``([members,] horizon, [C,] [thresholds,] H, W)``. `frames` are the input frames of the
    model, a `step` apart. `members` is 0 if `forecast` has no axis of members. If `thresholds` are given, the
    values are the probabilities of reaching them. `outside` is a mask ``(horizon, H, W)``, as a coordinate.
    """
    labels = frames.dataset
    if labels is None:
        xarray, dates = need("xarray", "netcdf"), numpy.array(frames.dates, "datetime64[ns]")
        labels = xarray.Dataset(coords={"time": ("time", dates)} if len(dates) else {})
    has_channels = forecast.dim() > 3 + bool(members) + bool(thresholds)
    result = label_forecast(
        forecast.numpy(),
        labels,
        name_targets(values, labels, forecast.shape[1 + bool(members)] if has_channels else 1),
        frames.layout,
        step=step,
        thresholds=thresholds,
        has_members=bool(members),
        has_channels=has_channels,
        note=describe_conversions(labels),
        outside=None if outside is None else outside.numpy(),
    )
    if not thresholds:
        for name, variable in result.data_vars.items():
            variable.attrs["long_name"] = f"forecast of {name}"
    return result.assign_attrs(Conventions="CF-1.10", source=f"convrnn_zoo {__version__}, {model}".rstrip(", "))


def is_storable(value: Any) -> bool:
    """Returns whether NetCDF can hold the value of an attribute: text, a number, or a list of one of the two.

    Example:
        >>> [is_storable(v) for v in ("m", 1.5, [1, 2], ["a"], True, None, {}, [1, "a"], 2**70)]
        [True, True, True, True, False, False, False, False, False]
    """
    if isinstance(value, str | bytes) or (isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)):
        return True
    try:
        return not isinstance(value, numpy.bool) and numpy.asarray(value).dtype.kind in "iuf"
    except ValueError:  # nested lists of different lengths
        return False


def drop_unstorable_attrs(dataset: Any) -> tuple[Any, list[str]]:
    """Returns a Dataset without the attributes that NetCDF cannot hold, and the names of these attributes."""
    dataset = dataset.copy()
    owners = {"": dataset, **dataset.variables}
    dropped = [(name, key) for name, v in owners.items() for key, value in v.attrs.items() if not is_storable(value)]
    for name, key in dropped:
        del owners[name].attrs[key]
    return dataset, [f"{name}.{key}".lstrip(".") for name, key in dropped]


def with_cf_encoding(dataset: Any) -> Any:
    """Returns a Dataset that is written by the CF conventions: coordinates have no ``_FillValue``.

    The map projection is in the encoding of the variables, so that xarray does not list it as a coordinate.
    """
    dataset = dataset.copy()
    for coordinate in dataset.coords.values():
        coordinate.encoding = {**coordinate.encoding, "_FillValue": None}
    for variable in dataset.data_vars.values():
        variable.encoding |= {k: variable.attrs.pop(k) for k in ("grid_mapping",) if k in variable.attrs}
    return dataset


def consolidate(store: Any) -> None:
    """Adds consolidated metadata to a Zarr store, so that ``xarray.open_zarr`` reads it without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        need("zarr", "zarr").consolidate_metadata(store)


def write_dataset(dataset: Any, path: Place) -> None:
    """Writes an ``xarray.Dataset`` as NetCDF-4, atomically, or as a Zarr store, which is visible when it is complete.

    A warning lists attributes that NetCDF cannot hold, and that are left out.
    """
    dataset = with_cf_encoding(dataset)
    if path.suffix == ".zarr" or isinstance(path, Store):
        content = need("zarr.storage", "zarr").MemoryStore()
        if path.exists():
            raise ValueError(f"{path} exists already; remove it, or choose another name")
        dataset.to_zarr(content, consolidated=False)
        consolidate(content)
        from .._requests import publish  # imports zarr

        publish(content, open_zarr_store(path, read_only=False))
        return
    need("h5netcdf", "netcdf")
    dataset, dropped = drop_unstorable_attrs(dataset)
    if dropped:
        warn(f"{path}: NetCDF cannot hold the attributes {', '.join(dropped)}; they are left out")
    for variable in dataset.variables.values():
        if variable.ndim > 1 and variable.dtype.kind in "biuf":
            variable.encoding |= {"zlib": True, "complevel": 1}
    write_bytes(path, dataset.to_netcdf(engine="h5netcdf"))  # libhdf5 crashes if the disk is full
