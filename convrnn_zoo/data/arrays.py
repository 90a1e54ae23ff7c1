"""Arrays of frames from ``.npy``, ``.npz``, HDF5, netCDF and Zarr, with their times and what they call missing."""

import base64
import contextlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._extras import need
from .clips import Event, minutes_of

NUMPY, HDF5, STORE = (".npy", ".npz"), (".h5", ".hdf5", ".nc"), ".zarr"
KINDS = (*NUMPY, *HDF5, STORE)
CONVENTION = ("scale_factor", "add_offset", "_FillValue", "missing_value")
"""The attributes by which the CF conventions store numbers as others."""
_UNITS = {"s": 1 / 60, "sec": 1 / 60, "second": 1 / 60, "m": 1.0, "min": 1.0, "minute": 1.0, "h": 60.0, "hour": 60.0,
          "d": 1440.0, "day": 1440.0, "ms": 1 / 60_000, "millisecond": 1 / 60_000, "ns": 1 / 6e10,
          "nanosecond": 1 / 6e10}  # fmt: skip


BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
"""What readers of files raise where one is broken."""


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a ``.npz`` by name, or that of a ``.npy`` under the empty name; never a pickle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken.
    """
    numpy = need("numpy", "cli")
    try:
        with path.open("rb") as file:
            content: Any = numpy.load(file, allow_pickle=False)
            return {"": content} if isinstance(content, numpy.ndarray) else dict(content)
    except FileNotFoundError:
        raise
    except BROKEN as e:
        why = "it is none of NumPy's, or holds Python objects" if "pickle" in str(e) else e
        raise ValueError(
            f"{path}: not a valid {path.suffix} file of numbers ({why}); save it anew with numpy, or move it away"
        ) from e


def check_numbers(array: Any, name: str) -> None:
    """Raises ValueError where an array holds anything but real numbers."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")


def unpadded(arrays: dict[str, Any], path: Path) -> dict[str, Any]:
    """The sequences of a ``.npz``: one an array, or of ``x`` ``(N, T, …)`` those that ``lengths`` ``(N,)`` tell.

    Raises:
        ValueError: the lengths are not those of sequences in `x`.
    """
    if not {"x", "lengths"} <= arrays.keys():
        return arrays
    x, lengths = arrays["x"], arrays["lengths"]
    if len(x) != len(lengths) or (len(x) and not (lengths.min() >= 1 and lengths.max() <= x.shape[1])):
        raise ValueError(f"{path}: x {x.shape} needs {len(x)} lengths from 1 to {x.shape[1]}, got {lengths.tolist()}")
    return {str(i): x[i, :n] for i, n in enumerate(lengths)}


class Stack(NamedTuple):
    """An array of frames in a file, not yet read: ``(T, H, W)`` or ``(T, C, H, W)``."""

    name: str
    array: Any
    """What is sliced: NumPy's, h5py's or Zarr's."""
    attrs: Mapping[str, Any]
    """Of the array; the scale, the offset and the value of what is missing are those of the CF conventions."""
    times: Any
    """In minutes, an array of T; None where the file does not tell."""

    def values(self, chosen: Any, missing: float | None = None) -> Tensor:
        """The numbers at an index, as float32 in the unit of the data, NaN where they are missing; bytes as they are.

        Args:
            chosen: an index, or a tuple of such.
            missing: a number that stands for a missing one, before any scale.
        """
        raw = self.array[chosen]
        plain = {k: self.attrs[k] for k in CONVENTION if k in self.attrs}
        if raw.dtype == "uint8" and not plain and missing is None:
            return torch.from_numpy(raw.copy())
        values = torch.from_numpy(raw.astype("float32"))
        fills = [plain.get("_FillValue"), plain.get("missing_value"), missing]
        known = torch.isfinite(values)
        for fill in (f for f in fills if f is not None):
            known &= values != torch.tensor(float(first(fill)), dtype=torch.float32)
        values = values * float(first(plain.get("scale_factor", 1.0))) + float(first(plain.get("add_offset", 0.0)))
        return values.masked_fill(~known, torch.nan)


def first(value: Any) -> Any:
    """A number, or the only one of an array."""
    return value.reshape(-1)[0] if hasattr(value, "reshape") else value


def zarr_attrs(array: Any) -> dict[str, Any]:
    """The attributes of a Zarr array, as xarray reads them.

    In version 2 of the format what is missing is the array's own fill value; in version 3 it is an attribute, in which
    a number with a fraction is packed as text.
    """
    attrs = dict(array.attrs)
    if array.metadata.zarr_format == 2 and array.fill_value is not None:
        attrs.setdefault("_FillValue", array.fill_value)
    if isinstance(attrs.get("_FillValue"), str):
        (attrs["_FillValue"],) = struct.unpack("<d", base64.standard_b64decode(attrs["_FillValue"]))
    return attrs


def times_of(values: Any, attrs: Mapping[str, Any]) -> Any:
    """Minutes of a file's times: NumPy's, or numbers in a unit such as ``hours since 2010-01-01``.

    Numbers without a unit are minutes.

    Raises:
        ValueError: the unit is another.

    Example:
        >>> import numpy as np
        >>> times_of(np.array([0, 5]), {"units": "minutes since 1970-01-02 00:00:00"}).tolist()
        [1440.0, 1445.0]
    """
    if values.dtype.kind == "M":
        return values.astype("datetime64[ms]").astype("float64") / 60_000
    unit = attrs.get("units", "minutes")
    unit = unit.decode() if isinstance(unit, bytes) else str(first(unit))
    word, _, since = unit.strip().partition(" since ")
    factor = _UNITS.get(word.lower().rstrip("s") or "s")
    stamp = re.match(r"\d{4}-\d{1,2}-\d{1,2}(?:[ T]\d{1,2}:\d{1,2}(?::\d{1,2})?)?", since)
    if factor is None or (since and stamp is None):
        raise ValueError(f"expected times in a unit such as 'minutes since 2020-01-01', got {unit!r}")
    begin = 0.0
    if stamp:
        numbers: Any = map(int, re.findall(r"\d+", stamp[0]))
        begin = minutes_of(datetime(*numbers))
    return values.astype("float64") * factor + begin


@contextlib.contextmanager
def opened(path: Path, key: str = "", where: str = "in the recipe: data.key") -> Iterator[Stack]:
    """The array of frames of a file, to be sliced while the file is open.

    Args:
        path: a ``.npy``, ``.npz``, ``.h5``, ``.nc`` or ``.zarr``.
        key: the name of the array; needless where only one has three or four axes.
        where: the user names it, for the error.

    Raises:
        ValueError: the file is broken, or holds no such array.
        FileNotFoundError: it is not there.
        ImportError: what reads it is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    numpy = need("numpy", "cli")
    with contextlib.ExitStack() as stack:
        try:
            arrays: dict[str, Any]
            attrs: dict[str, Mapping[str, Any]] = {}
            if path.suffix == ".npy":
                arrays = {"": numpy.load(path, allow_pickle=False, mmap_mode="r")}
            elif path.suffix == ".npz":
                arrays = dict(numpy.load(stack.enter_context(path.open("rb")), allow_pickle=False))
            elif path.suffix in HDF5:
                h5py = need("h5py", "radar")
                file = stack.enter_context(h5py.File(path))
                arrays = {}
                file.visititems(lambda name, item: arrays.update({name: item}) if hasattr(item, "shape") else None)
                attrs = {name: dict(item.attrs) for name, item in arrays.items()}
            elif path.suffix == STORE:
                zarr = need("zarr", "zarr")
                group = zarr.open(str(path), mode="r")
                arrays = dict(group.arrays()) if hasattr(group, "arrays") else {"": group}
                attrs = {name: zarr_attrs(item) for name, item in arrays.items()}
            else:
                raise ValueError(f"of no known kind; frames lie in {', '.join(KINDS)}")
        except BROKEN as e:
            raise ValueError(f"{path}: not a valid file of frames ({e}); make it anew, or move it away") from e
        yield chosen(path, arrays, attrs, key, where)


def chosen(
    path: Path, arrays: Mapping[str, Any], attrs: Mapping[str, Mapping[str, Any]], key: str, where: str
) -> Stack:
    """The array of frames among those of a file, and its times."""
    frames = [name for name, array in arrays.items() if len(array.shape) in (3, 4)]
    if key and list(arrays) != [""]:
        frames = [key] if key in arrays else []
    if len(frames) != 1:
        listed = ", ".join(f"{n or 'the array'} {tuple(a.shape)}" for n, a in arrays.items()) or "none"
        wanted = f"an array {key!r}" if key else "one array"
        cure = f"; name it {where}" if len(frames) > 1 else ""
        raise ValueError(f"{path}: expected {wanted} of frames (T, H, W) or (T, C, H, W), got {listed}{cure}")
    name, array = frames[0], arrays[frames[0]]
    if len(array.shape) not in (3, 4) or 0 in array.shape:
        raise ValueError(f"{path}: expected frames (T, H, W) or (T, C, H, W), got {tuple(array.shape)}")
    check_numbers(array, str(path))
    group = name.rpartition("/")[0]
    clock = next((n for n in (f"{group}/time".lstrip("/"), "time", "times") if n in arrays), None)
    times = None
    if clock is not None and len(arrays[clock].shape) == 1:
        try:
            times = times_of(arrays[clock][:], attrs.get(clock, {}))
        except ValueError as e:
            raise ValueError(f"{path}: {clock}: {e}") from e
        if len(times) != array.shape[0]:
            raise ValueError(f"{path}: {array.shape[0]} frames and {len(times)} times; make the file anew")
    return Stack(str(path), array, attrs.get(name, {}), times)


def read_event(path: Path, key: str = "", missing: float | None = None, step: float | None = None) -> Event:
    """All frames of a file, with their times in minutes; where the file tells none, a step after each other."""
    with opened(path, key) as stack:
        try:
            frames = stack.values(slice(None), missing)
        except (OSError, ValueError, RuntimeError, EOFError) as e:
            raise ValueError(f"{path}: not a valid file of frames ({e}); make it anew, or move it away") from e
        times = [i * (step or 1.0) for i in range(len(frames))] if stack.times is None else stack.times.tolist()
        return Event(frames, times, path.name)
