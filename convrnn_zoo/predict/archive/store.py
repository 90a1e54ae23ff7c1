"""The Zarr store of forecasts: its layout, regions that tasks write, and marks of finished regions."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._atomic import atomic_write
from ..._extras import need
from ...values.labels.axes import LEAD_TIME, MEMBER
from ...values.labels.times import valid_times
from ..labelled import without_fill_values

ISSUE = "forecast_reference_time"
"""Dimension of the issue times, by their standard name of the CF conventions."""
MISSING = "missing_inputs"
"""Variable with the number of input frames without a value."""
PROGRESS = "progress"
"""Group with the settings of the store and the marks of its finished regions."""
OPEN: dict[str, Any] = {"consolidated": False, "chunks": None, "decode_timedelta": True, "decode_coords": "all"}
"""Arguments of ``xarray.open_zarr`` for a store."""
REGION_BYTES = 64 * 2**20
"""Bytes of a forecast variable that one task computes by default, and a chunk has at most."""


def choose_batch(template: Any) -> int:
    """Returns the issue times of a task: as many as fit into :data:`REGION_BYTES`, from 1 to 16."""
    return max(1, min(16, REGION_BYTES // max(v.nbytes for v in template.data_vars.values())))


def choose_chunks(variable: Any, batch: int, tile: int | None) -> dict[str, int]:
    """Returns the chunk of a forecast variable ``([members,] lead_time, …, y, x)`` for `batch` issue times."""
    chunks = {ISSUE: batch, **variable.sizes}
    if tile is not None:
        chunks |= {d: min(tile, chunks[d]) for d in variable.dims[-2:]}
    for dim in (MEMBER, LEAD_TIME):
        size = variable.dtype.itemsize
        for n in chunks.values():
            size *= n
        if size > REGION_BYTES and dim in chunks:
            chunks[dim] = 1
    return chunks


def create_store(
    path: Path, template: Any, frames: Any, issues: Any, step: Any, batch: int, tile: int | None,
    settings: Mapping[str, Any],
) -> None:  # fmt: skip
    """Writes a store without forecasts, atomically.

    Args:
        path: directory of the store.
        template: labelled forecast of one issue time, whose values are not used.
        frames: the frames of the archive in normal form; None for files without labels.
        issues: numbers of the frames at the issue times.
        step: step between frames.
        batch: issue times of a region.
        tile: edge of the tiles in pixels; None for complete maps.
        settings: settings of the run, which :func:`open_store` compares.
    """
    numpy, xarray, dask_array = need("numpy", "cli"), need("xarray", "netcdf"), need("dask.array", "archive")
    zarr, count = need("zarr", "archive"), len(issues)
    coords: dict[str, Any] = {ISSUE: (ISSUE, issues, {"long_name": "number of the last input frame"})}
    if step is not None and ISSUE in template.coords:
        times = frames["time"].values[issues]
        valid = valid_times(times, step, template.sizes[LEAD_TIME])
        coords = {
            ISSUE: (ISSUE, times, template[ISSUE].attrs), "time": ((ISSUE, LEAD_TIME), valid, template["time"].attrs)
        }  # fmt: skip
    data = template.drop_vars([ISSUE, "time"], errors="ignore")
    variables = {}
    for name, v in data.data_vars.items():
        chunks = choose_chunks(v, batch, tile)
        shape = (count, *v.shape)
        values = dask_array.full(shape, numpy.nan, dtype=v.dtype, chunks=tuple(chunks.values()))
        encoding = {"chunks": tuple(chunks.values()), **{k: v.attrs[k] for k in ("grid_mapping",) if k in v.attrs}}
        others = {k: value for k, value in v.attrs.items() if k not in encoding}
        variables[name] = xarray.Variable((ISSUE, *v.dims), values, others, encoding)
    attrs = {"long_name": "number of input frames without a value", "units": "1"}
    blank = dask_array.full(count, -1, dtype="int16", chunks=batch)
    variables[MISSING] = xarray.Variable((ISSUE,), blank, attrs, {"chunks": (batch,), "_FillValue": -1})
    data = without_fill_values(data.drop_vars(list(data.data_vars)).assign(variables).assign_coords(coords))
    with atomic_write(path) as temporary:
        data.to_zarr(temporary, compute=False, consolidated=False)
        group = zarr.open_group(temporary, mode="r+").create_group(PROGRESS)
        group.attrs["settings"] = json.dumps(settings, sort_keys=True)
        blocks = -(-count // batch)
        group.create_array("done", shape=(blocks,), chunks=(1,), dtype="uint8", fill_value=0)


def open_store(path: Path, settings: Mapping[str, Any] | None = None) -> Any:
    """Returns the group of marks of a store, with its settings as attribute ``settings``.

    With `settings`, raises ValueError if the store was begun with others.
    """
    zarr = need("zarr", "archive")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        group = zarr.open_group(path, mode="r+" if settings else "r")[PROGRESS]
        stored = json.loads(group.attrs["settings"])
    except (KeyError, ValueError, FileNotFoundError) as e:
        raise ValueError(f"{path} exists and is no store of forecasts of an archive; choose another name") from e
    for key, value in json.loads(json.dumps(settings or {})).items():
        if key in ("issue_times", "data") and stored.get(key) != value:
            begun, now = (
                f"{times['count']} issue times, {times['first']} to {times['last']}"
                for times in (stored["issue_times"], (settings or {})["issue_times"])
            )
            has, now = f"{path} has {begun}", "other values there" if key == "data" else now
            raise ValueError(
                f"{has}, and the archive has {now}; pass the same archive, which may have grown at its end, limit its "
                "issue times with period (--period), or choose another name"
            )
        if stored.get(key) != value:
            got = f"{key} = {stored.get(key)!r:.80}, and is {value!r:.80} now"
            raise ValueError(f"{path} was begun with {got}; pass the same settings, or choose another name")
    return group


def extend_store(path: Path, create: Callable[[Path], None], finished: int) -> None:
    """Adds issue times to the end of a store, whose first `finished` regions remain as they are.

    `create` writes a store without forecasts, whose metadata and coordinates replace those of the store. The settings
    are replaced last, so that the next run repeats an interruption.
    """
    group = need("zarr", "archive").open_group(path, mode="r+")
    group[PROGRESS]["done"][finished:] = 0
    with tempfile.TemporaryDirectory(prefix=f".{path.name[-40:]}.", dir=path.parent) as folder:
        empty = Path(folder) / path.name
        create(empty)
        for file in sorted((f for f in empty.rglob("*") if f.is_file()), key=lambda f: f.parent.name == PROGRESS):
            target = path / file.relative_to(empty)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def remove_partial(path: Path) -> None:
    """Removes the temporary files that Zarr leaves if a process is killed while it writes."""
    for file in path.rglob("*.partial"):
        file.unlink(missing_ok=True)


def write_region(path: Path, forecasts: Sequence[Any], first: int, place: tuple[slice, slice] | None) -> None:
    """Writes labelled forecasts of successive issue times to their region of a store.

    Args:
        path: directory of the store.
        forecasts: the labelled forecasts.
        first: number of the first issue time.
        place: rows and columns, in the directions of the store; None for complete maps.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    variables = {
        name: ((ISSUE, *v.dims), numpy.stack([f[name].values for f in forecasts]))
        for name, v in forecasts[0].data_vars.items()
    }
    region = {ISSUE: slice(first, first + len(forecasts))}
    if place is not None:
        region |= dict(zip(next(iter(forecasts[0].data_vars.values())).dims[-2:], place, strict=True))
    xarray.Dataset(variables).to_zarr(path, mode="r+", region=region, consolidated=False)


def finish_region(path: Path, region: int, first: int, missing: Sequence[int]) -> None:
    """Marks a region as finished, after it wrote the numbers of input frames without a value of its issue times."""
    group = need("zarr", "archive").open_group(path, mode="r+")
    group[MISSING][first : first + len(missing)] = missing
    group[PROGRESS]["done"][region] = 1
