"""The Zarr store of forecasts: its layout, the settings of its run, and regions that tasks write."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..._extras import need
from ..._stores import Place, Store, open_zarr_store
from ...values.labels.axes import LEAD_TIME, MEMBER
from ...values.labels.forecast import OUTSIDE
from ...values.labels.times import valid_times
from ..labelled import consolidate, with_cf_encoding

ISSUE = "forecast_reference_time"
"""Dimension of the issue times, by their standard name of the CF conventions."""
MISSING = "missing_inputs"
"""Variable with the number of input frames without a value; -1 if the issue time is not finished."""
PROGRESS = "progress"
"""Group with the settings of the store, and a checksum of the inputs of each finished issue time."""
RUN = f"{PROGRESS}/run"
"""Array with the number of the run that may write regions; 0 if all are written."""
COORDINATES, UNITS = 4096, "seconds since 1970-01-01"
"""Issue times in a chunk of the coordinates, and their unit; neither depends on their number."""
OPEN: dict[str, Any] = {"consolidated": True, "chunks": None, "decode_timedelta": True, "decode_coords": "all"}
"""Arguments of ``xarray.open_zarr`` for a store."""
REGION_BYTES = 64 * 2**20
"""Bytes of a forecast variable that one task computes by default, and a chunk has at most."""


def forecast_variables(forecast: Any) -> dict[str, Any]:
    """Returns the variables of a labelled forecast that differ between issue times, by name."""
    variables = {**forecast.data_vars, **{n: forecast[n] for n in (OUTSIDE,) if n in forecast.coords}}
    return {str(name): array.variable for name, array in variables.items()}


def choose_batch(template: Any) -> int:
    """Returns the issue times of a task: as many as fit into :data:`REGION_BYTES`, from 1 to 16."""
    return max(1, min(16, REGION_BYTES // max(v.nbytes for v in template.data_vars.values())))


def _choose_chunks(variable: Any, batch: int) -> dict[str, int]:
    """Returns the chunk of a forecast variable ``([members,] lead_time, …, y, x)`` for `batch` issue times."""
    chunks = {ISSUE: batch, **variable.sizes}
    for dim in (MEMBER, LEAD_TIME):
        if dim in chunks and variable.dtype.itemsize * numpy.prod(list(chunks.values()), dtype="int64") > REGION_BYTES:
            chunks[dim] = 1
    return chunks


def make_content(
    template: Any, frames: Any, issues: Any, step: Any, batch: int, settings: Mapping[str, Any], run: int
) -> Any:
    """Returns a store in memory without forecasts for `issues`, the numbers of frames: metadata and coordinates.

    `template` is the labelled forecast of one of them, whose values are not used. `frames` are in normal form, a `step`
    apart, or None for files without labels. A region has `batch` issue times. Lead times of a calendar step are numbers
    of months or years, since their durations differ between issue times. `run` is the number of the run.

    A store of more issue times has the same chunks and units: readers with the previous metadata read it as before.
    """
    xarray, full, count = need("xarray", "netcdf"), need("dask.array", "archive").full, len(issues)
    coords: dict[str, Any] = {ISSUE: (ISSUE, issues, {"long_name": "number of the last input frame"})}
    if step is not None and ISSUE in template.coords:
        times, lead = frames["time"].values[issues], template[LEAD_TIME]
        coords[ISSUE] = ISSUE, times, template[ISSUE].attrs
        coords["time"] = (ISSUE, LEAD_TIME), valid_times(times, step, len(lead)), template["time"].attrs
        if isinstance(step, str):
            coords[LEAD_TIME] = LEAD_TIME, numpy.arange(1, len(lead) + 1), {**lead.attrs, "units": f"{step}s"}
    data = template.drop_vars([ISSUE, "time"], errors="ignore")
    variables = {}
    for name, v in forecast_variables(data).items():
        chunks = tuple(_choose_chunks(v, batch).values())
        values = full((count, *v.shape), numpy.nan, dtype=v.dtype, chunks=chunks)
        variables[name] = xarray.Variable((ISSUE, *v.dims), values, v.attrs, {"chunks": chunks})
    attrs = {"long_name": "number of input frames without a value", "units": "1"}
    encoding = {"chunks": (batch,), "_FillValue": -1, "fill_value": -1}
    variables[MISSING] = xarray.Variable((ISSUE,), full(count, -1, dtype="int16", chunks=batch), attrs, encoding)
    data = data.drop_vars(list(variables), errors="ignore").assign(variables).assign_coords(coords)
    for c in (data[n] for n in (ISSUE, "time") if n in data.coords):
        c.encoding = {"chunks": (COORDINATES, *c.shape[1:])} | ({"units": UNITS} if c.dtype.kind in "MO" else {})
    data = with_cf_encoding(data.set_coords([OUTSIDE] if OUTSIDE in variables else []))
    zarr, content = need("zarr", "archive"), need("zarr.storage", "archive").MemoryStore()
    data.to_zarr(content, compute=False, consolidated=False)
    group = zarr.open_group(content, mode="r+", use_consolidated=False).create_group(PROGRESS)
    group.attrs["settings"] = json.dumps(settings, sort_keys=True)
    group.create_array("checksums", shape=(count,), chunks=(batch,), dtype="uint32", fill_value=0)
    group.create_array("run", shape=(1,), dtype="uint64", fill_value=0)[0] = run
    consolidate(content)  # in one value, which makes all of it visible
    return content


def open_store(place: Place, mode: Any = "r") -> tuple[Any, dict[str, Any]]:
    """Returns the Zarr group of a store of forecasts, and the settings of its run."""
    try:
        group = need("zarr", "archive").open_group(open_zarr_store(place, mode == "r"), mode=mode)
        return group, json.loads(group[PROGRESS].attrs["settings"])
    except (KeyError, ValueError, FileNotFoundError) as e:
        raise ValueError(f"{place} exists and is no store of forecasts of an archive; choose another name") from e


def exists(place: Place) -> bool:
    """Returns whether there is a Zarr store at a place, or a file; not if its creation was interrupted."""
    return Store(open_zarr_store(place)).exists() or place.is_file()


def write_region(
    group: Any, forecasts: Sequence[Any], first: int, missing: Sequence[int], checksums: Sequence[int]
) -> None:
    """Writes labelled forecasts of successive issue times, from number `first` on, to their region of a store.

    The numbers of `missing` input frames mark the issue times as finished; `checksums` are those of the inputs.
    """
    place = slice(first, first + len(forecasts))
    for name in forecast_variables(forecasts[0]):
        group[name][place] = numpy.stack([f[name].values for f in forecasts])
    group[PROGRESS]["checksums"][place] = checksums
    group[MISSING][place] = missing
