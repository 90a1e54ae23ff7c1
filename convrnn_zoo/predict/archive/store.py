"""The Zarr store of forecasts: its layout, the settings of its run, and regions that tasks write."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from ..._atomic import atomic_write
from ..._extras import need
from ...data.files import check_exists
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
OPEN: dict[str, Any] = {"consolidated": False, "chunks": None, "decode_timedelta": True, "decode_coords": "all"}
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


def create_store(
    path: Path, template: Any, frames: Any, issues: Any, step: Any, batch: int, settings: Mapping[str, Any]
) -> None:
    """Writes a store without forecasts for `issues`, the numbers of frames, atomically.

    `template` is the labelled forecast of one of them, whose values are not used. `frames` are in normal form, a `step`
    apart, or None for files without labels. A region has `batch` issue times. Lead times of a calendar step are numbers
    of months or years, since their durations differ between issue times.
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
    data = with_cf_encoding(data.set_coords([OUTSIDE] if OUTSIDE in variables else []))
    with atomic_write(path) as temporary:
        data.to_zarr(temporary, compute=False, consolidated=False)
        consolidate(temporary)
        group = need("zarr", "archive").open_group(temporary, mode="r+", use_consolidated=False).create_group(PROGRESS)
        group.attrs["settings"] = json.dumps(settings, sort_keys=True)
        group.create_array("checksums", shape=(count,), chunks=(batch,), dtype="uint32", fill_value=0)


def open_store(path: Path, mode: Any = "r") -> tuple[Any, dict[str, Any]]:
    """Returns the Zarr group of a store of forecasts, and the settings of its run."""
    check_exists(path)
    try:
        group = need("zarr", "archive").open_group(path, mode=mode, use_consolidated=False)
        return group, json.loads(group[PROGRESS].attrs["settings"])
    except (KeyError, ValueError, FileNotFoundError) as e:
        raise ValueError(f"{path} exists and is no store of forecasts of an archive; choose another name") from e


def check_settings(path: Path, stored: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises ValueError if a store was begun with other settings than those of this run."""
    now = json.loads(json.dumps(settings))
    changed: dict[str, tuple[Any, Any]] = {
        key: (stored.get(key), value) for key, value in now.items() if stored.get(key) != value
    }
    if "coordinates" in changed:
        before, after = changed["coordinates"]
        names = ", ".join(n for n in {**before, **after} if before.get(n) != after.get(n))
        raise ValueError(
            f"{path}: the archive has other values of {names} than when the store was begun, that is, maps "
            "of other places; pass the same archive, or choose another name"
        )
    if "issue_times" in changed:
        begun, found = (f"{t['count']} issue times, {t['first']} to {t['last']}" for t in changed["issue_times"])
        raise ValueError(
            f"{path} has {begun}, and the archive has {found}; pass the same archive, which may have grown at its "
            "end, limit its issue times with period (--period), or choose another name"
        )
    for key, (before, after) in changed.items():
        got = f"{key} = {before!r:.80}, and is {after!r:.80} now"
        raise ValueError(f"{path} was begun with {got}; pass the same settings, or choose another name")


def extend_store(path: Path, create: Callable[[Path], None]) -> None:
    """Adds issue times to the end of a store, whose finished issue times remain as they are.

    `create` writes a store without forecasts, whose metadata and coordinates replace those of the store. The settings
    are replaced last, so that the next run repeats an interruption.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name[-40:]}.", dir=path.parent) as folder:
        empty = Path(folder) / path.name
        create(empty)
        for file in sorted((f for f in empty.rglob("*") if f.is_file()), key=lambda f: f.parent.name == PROGRESS):
            target = path / file.relative_to(empty)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def write_region(
    path: Path, forecasts: Sequence[Any], first: int, missing: Sequence[int], checksums: Sequence[int]
) -> None:
    """Writes labelled forecasts of successive issue times, from number `first` on, to their region of a store.

    The numbers of `missing` input frames mark the issue times as finished; `checksums` are those of the inputs.
    """
    xarray = need("xarray", "netcdf")
    variables = {
        name: ((ISSUE, *v.dims), numpy.stack([f[name].values for f in forecasts]))
        for name, v in forecast_variables(forecasts[0]).items()
    }
    place = slice(first, first + len(forecasts))
    xarray.Dataset(variables).to_zarr(path, mode="r+", region={ISSUE: place}, consolidated=False)
    group = open_store(path, "r+")[0]
    group[PROGRESS]["checksums"][place] = checksums
    group[MISSING][place] = missing
