"""Joins labelled frames of several sources to one series in time."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy

from .._extras import need
from ..values.labels.axes import CHANNEL, MEMBER
from ..values.labels.form import align, in_unit
from ..values.labels.times import is_dated
from .files import FileError


def join_datasets(parts: Sequence[Any], names: Sequence[Any]) -> Any:
    """Joins Datasets in normal form to one, in the order of their dates; frames are read when they are used.

    If a part has no dates, the parts follow each other in the given order, and the result has no times. A time may
    occur in several parts if their values agree. `names` are the names of the parts in error messages.

    Raises:
        FileError: the parts have other variables, grids, units or calendars, or different values at one time.
    """
    from .._lazy import lazy_variable

    xarray, first = need("xarray", "netcdf"), parts[0]
    if len(parts) == 1 and not is_dated(first):
        return first
    aligned = [_match(part, first, name, names[0]) for part, name in zip(parts, names, strict=True)]
    rows = numpy.concatenate([[(i, t) for t in range(p.sizes["time"])] for i, p in enumerate(aligned)])
    dates = None
    if all(map(is_dated, parts)):
        calendars = {getattr(p["time"].values.flat[0], "calendar", "") for p in parts}
        if len(calendars) > 1:
            raise FileError(f"{names[0]}: the files have dates in several calendars, {', '.join(sorted(calendars))}")
        dates = numpy.concatenate([p["time"].values for p in parts])
        order = numpy.argsort(dates, kind="stable")
        rows, dates = rows[order], dates[order]
        repeated = dates[1:] == dates[:-1]
        for i in numpy.flatnonzero(repeated):
            _check_equal(aligned, names, rows[i], rows[i + 1], dates[i])
        kept = numpy.concatenate([[True], ~repeated])
        rows, dates = rows[kept], dates[kept]
    elif len(parts) == 1:
        return first
    result = xarray.Dataset(
        coords={k: c.variable for k, c in first.coords.items() if "time" not in c.dims}, attrs=first.attrs
    )
    for name, variable in first.data_vars.items():
        if "time" not in variable.dims:
            result[name] = variable.variable
            continue
        shape = tuple(len(rows) if d == "time" else n for d, n in variable.sizes.items())
        read = partial(_read_aligned, [p[name] for p in aligned], rows, variable.dims.index("time"))
        result[name] = lazy_variable(variable.dims, read, shape, "float32", variable.attrs)
    result.encoding = first.encoding
    return result if dates is None else result.assign_coords(time=("time", dates, first["time"].attrs))


def _match(part: Any, first: Any, name: Any, first_name: Any) -> Any:
    """Returns a part in the units of the first one; raises FileError if it has other variables or another grid."""
    if part is first:
        return part
    if set(part.data_vars) != set(first.data_vars):
        raise FileError(
            f"{name} has the variables {', '.join(part.data_vars)}, and {first_name} {', '.join(first.data_vars)}"
        )
    try:
        part = part[list(first.data_vars)]
        for label in first.data_vars:
            if part[label].dims != first[label].dims or part.sizes.get(CHANNEL) != first.sizes.get(CHANNEL):
                raise ValueError(f"{label} has {dict(part[label].sizes)}, expected {dict(first[label].sizes)}")
            part = part.assign({label: in_unit(part[label], first[label].attrs.get("units"), str(label))})
        align(part, first, "the file", (MEMBER, "y", "x"))
        for label in [n for n, v in first.data_vars.items() if "time" not in v.dims]:
            if not numpy.array_equal(part[label], first[label], equal_nan=True):
                raise ValueError(f"{label} differs")
    except ValueError as e:
        raise FileError(f"{name}: {e}, in comparison with {first_name}") from e
    return part


def _check_equal(parts: Sequence[Any], names: Sequence[Any], one: Any, other: Any, date: Any) -> None:
    """Raises FileError if two parts have different values at one time. A row is the number of a part and of a frame."""
    a, b = (parts[i].isel(time=int(t)) for i, t in (one, other))
    for label in [n for n, v in parts[0].data_vars.items() if "time" in v.dims]:
        if not numpy.allclose(a[label].values, b[label].values, rtol=1e-5, atol=1e-8, equal_nan=True):
            date = str(date)[:19]
            if one[0] == other[0]:
                raise FileError(
                    f"{names[one[0]]} has two frames of {label} at {date}, which differ; remove one of them"
                )
            files = f"{names[one[0]]} and {names[other[0]]}"
            raise FileError(f"{files} have different values of {label} at {date}; pass the files of one series")


def _read_aligned(parts: Sequence[Any], rows: Any, axis: int, index: Any) -> Any:
    """Reads a part of joined frames: runs of successive frames of one source are read at once."""
    moments, others = rows[index[axis]], [i for k, i in enumerate(index) if k != axis]
    if is_empty := not len(moments):
        moments = rows[:1]
    is_single = isinstance(index[axis], int | numpy.integer)
    chunks = []
    for i, start, stop in _runs(numpy.atleast_2d(moments)):
        others.insert(axis, slice(start, stop))
        chunks.append(parts[i].variable[tuple(others)].values)
        others.pop(axis)
    before = sum(not isinstance(i, int | numpy.integer) for i in index[:axis])
    values = numpy.concatenate(chunks, axis=before)
    return values.take(0, axis=before) if is_single else values.take(range(0), axis=before) if is_empty else values


def _runs(rows: Any) -> Iterator[tuple[int, int, int]]:
    """Yields the part, the first and the end of each run of successive frames."""
    begin = 0
    for k in range(1, len(rows) + 1):
        if k == len(rows) or rows[k][0] != rows[begin][0] or rows[k][1] != rows[k - 1][1] + 1:
            yield int(rows[begin][0]), int(rows[begin][1]), int(rows[k - 1][1]) + 1
            begin = k
