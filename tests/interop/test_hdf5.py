"""Tests of the file object that protects libhdf5 from damaged files."""

import io

import h5py
import numpy as np
import pytest

from convrnn_zoo.interop._hdf5 import CheckedFile


def read(path):
    with CheckedFile(path.open("rb")) as raw, h5py.File(raw, "r") as file:
        return dict(file["x"].attrs), file["x"][:], file["text"].asstr()[:]


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(10**6, dtype="float32")
        for i in range(100):
            file["x"].attrs[f"{i % 40}"] = "é" * (i * 37 % 3000)
        file["text"] = ["a" * i for i in range(300)]
        del file["x"].attrs["7"]
    return tmp_path / "a.h5"


def test_valid_files_are_read_as_without_it(path):
    attrs, x, text = read(path)
    with h5py.File(path) as file:
        assert attrs == dict(file["x"].attrs)
        assert (x == file["x"][:]).all()
        assert (text == file["text"].asstr()[:]).all()


@pytest.mark.parametrize("size", [0, 1, 15, 2**40, 2**64 - 1, 2**64 - 16])
def test_objects_of_invalid_size_end_in_an_error(size, path):
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL")
    content[at + 16 : at + 32] = bytes(8) + size.to_bytes(8, "little")  # the first object becomes free space
    path.write_bytes(content)
    with pytest.raises(OSError, match="global heap"):
        read(path)


def heap(*objects):
    """Returns a global heap of objects with these sizes."""
    content = b"".join(b"\1\0\1\0\0\0\0\0" + size.to_bytes(8, "little") + bytes(size) for size in objects)
    return b"GCOL\1\0\0\0" + (16 + len(content)).to_bytes(8, "little") + content


def test_more_objects_than_fit_into_the_file_are_an_error():
    content = b"".join(heap(*[0] * 10) for _ in range(10))
    file = CheckedFile(io.BytesIO(content))
    file.readinto(bytearray(len(content)))
    file.checked.clear()
    file.seek(0)
    with pytest.raises(OSError, match="global heap"):
        file.readinto(bytearray(len(content)))
