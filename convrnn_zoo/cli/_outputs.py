"""Check of files that a command writes."""

from collections.abc import Iterable
from pathlib import Path

from ..data.readers import ARRAY_READERS
from ..data.readers.sequences import RECORDING_READERS

ARRAYS = (*ARRAY_READERS, *RECORDING_READERS)
"""Suffixes of files of arrays, all of which are read if their folder is the input of a command."""


def check_not_input(out: Path, inputs: Iterable[Path], weights: str = "") -> None:
    """Raises ValueError if writing `out` overwrites an input or a file of `weights`, or adds to an input folder."""
    path, names = out.resolve(), ("", "config.json", "metadata.json") if weights else ()
    if path in {file.resolve() for file in (*inputs, *(Path(weights, name).expanduser() for name in names))}:
        raise ValueError(f"{out} is read and would be overwritten; write to another file")
    for folder in inputs:
        if not folder.is_dir() or folder.resolve() not in path.parents:
            continue
        is_data = folder.suffix == ".zarr" or out.suffix in (".png", ".gif", ".mp4")
        is_written = out.suffix.lower() in (".npy", ".npz", ".nc", ".zarr", ".csv")
        if is_data or (is_written and any(file.suffix.lower() in ARRAYS for file in folder.rglob("*"))):
            raise ValueError(f"{out} would be read as a part of {folder} the next time; write to another directory")
