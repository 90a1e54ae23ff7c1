"""Files that are damaged or hostile: they neither read other files nor take more memory than their size allows."""

import json
import pickle
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from convrnn_zoo import WeightsError, interop
from tests.helpers.interop.recorded import ASKED, KERAS, recorded
from tests.helpers.registry import slow_unless

ARRAYS = recorded("keras_convlstm2d").state


@pytest.fixture(autouse=True)
def _two_gigabytes_more() -> Any:
    """Limits the memory of the process to 2 GB more than it uses, on Linux."""
    if sys.platform != "linux":
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def write_layer(file: h5py.File, write: Callable[[h5py.Group, str, np.ndarray], Any]) -> None:
    """Writes a layer, of whose arrays the input kernel is written by `write`."""
    for path, value in ARRAYS.items():
        array = value.numpy()
        if path.endswith("/kernel") and not path.endswith("recurrent_kernel"):
            write(file, path, array)
        else:
            file[path] = array


def external(group: Any, name: str, array: np.ndarray) -> None:
    """A dataset whose numbers are those of another file of this machine."""
    Path("secret").write_bytes(array.tobytes())
    group.create_dataset(name, array.shape, array.dtype, external=[("secret", 0, h5py.h5f.UNLIMITED)])


def virtual(group: Any, name: str, array: np.ndarray) -> None:
    with h5py.File("secret.h5", "w") as f:
        f["data"] = array
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[...] = h5py.VirtualSource("secret.h5", "data", array.shape)
    group.create_virtual_dataset(name, layout)


def external_link(group: Any, name: str, array: np.ndarray) -> None:
    with h5py.File("secret.h5", "w") as f:
        f["data"] = array
    group[name] = h5py.ExternalLink("secret.h5", "data")


def soft_link(group: Any, name: str, array: np.ndarray) -> None:
    group["elsewhere"] = array
    group[name] = h5py.SoftLink("/elsewhere")


def hard_link(group: Any, name: str, array: np.ndarray) -> None:
    group["elsewhere"] = array
    group[name] = group["elsewhere"]


def unwritten(group: Any, name: str, array: np.ndarray) -> None:
    """A dataset of 40 GB in a file of a few kilobytes."""
    group.create_dataset(name, (10**5, 10**5), "f4", chunks=(100, 100))


def unwritten_contiguous(group: Any, name: str, array: np.ndarray) -> None:
    group.create_dataset(name, (10**5, 10**5), "f4")


def compressed(group: Any, name: str, array: np.ndarray) -> None:
    dataset = group.create_dataset(name, (2**13, 2**13), "f4", chunks=(2**9, 2**13), compression="gzip")
    zeros = zlib.compress(bytes(4 * 2**22))
    for row in range(0, 2**13, 2**9):
        dataset.id.write_direct_chunk((row, 0), zeros)


def data_type(group: Any, name: str, array: np.ndarray) -> None:
    """A stored type, which is neither a group nor a dataset."""
    group[name] = array.dtype


HOSTILE = [
    data_type,
    external,
    virtual,
    external_link,
    soft_link,
    hard_link,
    unwritten,
    unwritten_contiguous,
    compressed,
]


@pytest.mark.parametrize("write", HOSTILE)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_only_plain_datasets_of_the_file_itself_are_read(
    write: Callable[..., Any], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("x.h5", "w") as f:
        write_layer(f, write)
    if suffix == ".keras":
        with zipfile.ZipFile("x.keras", "w") as z:
            z.write("x.h5", "model.weights.h5")
            z.writestr("config.json", "{}")
            z.writestr("metadata.json", "{}")
    with pytest.raises(WeightsError, match=rf"x\{suffix}.*HDF5"):
        interop.load("keras", f"x{suffix}", **ASKED)


def test_groups_linked_many_times_are_not_walked_many_times(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        group = f
        for _ in range(30):  # 2^30 paths
            child = group.create_group("a")
            group["b"] = child
            group = child
        group["kernel"] = np.zeros(1)
    with pytest.raises(WeightsError, match=r"x\.h5.*/a/b.*linked"):
        interop.load("keras", tmp_path / "x.h5", **ASKED)


# ---- archives --------------------------------------------------------------------------------------------------
def rezip(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> None:
    """Copies an archive, with other content for some members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.partition(".")[0], old.read(name)))


@pytest.mark.parametrize("member", ["config", "metadata"])
@pytest.mark.parametrize(
    "compression", slow_unless(zipfile.ZIP_DEFLATED.__eq__, [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
)
def test_a_description_that_inflates_without_measure_is_rejected(member: str, compression: int, tmp_path: Path) -> None:
    content = b'{"a": "' + b"0" * 2**26 + b'"}'
    rezip(KERAS / "hard1d.keras", tmp_path / "x.keras", compression, **{member: content})
    assert (tmp_path / "x.keras").stat().st_size < 2**20
    with pytest.raises(WeightsError, match=r"x\.keras"):
        interop.load("keras", tmp_path / "x.keras")


@pytest.mark.parametrize(
    "config", ["[]", "3", "null", "[" * 10**5, '{"config": ' * 10**4 + "1" + "}" * 10**4, '{"class_name": []}']
)
def test_a_description_of_another_type_is_rejected(config: str, tmp_path: Path) -> None:
    rezip(KERAS / "hard1d.keras", tmp_path / "x.keras", config=config.encode())
    with pytest.raises(WeightsError, match=r"x\.keras"):
        interop.load("keras", tmp_path / "x.keras")
    rezip(KERAS / "hard1d.keras", tmp_path / "y.keras", metadata=config.encode())
    if not config.startswith("{"):
        with pytest.raises(WeightsError, match=r"y\.keras.*metadata\.json"):
            interop.load("keras", tmp_path / "y.keras")


@pytest.mark.parametrize("version", [None, "three", [], ""])
def test_an_invalid_version_must_be_passed_as_an_option(version: Any, tmp_path: Path) -> None:
    rezip(KERAS / "hard1d.keras", tmp_path / "x.keras", metadata=json.dumps({"keras_version": version}).encode())
    with pytest.raises(WeightsError, match="keras_version"):
        interop.load("keras", tmp_path / "x.keras")
    interop.load("keras", tmp_path / "x.keras", keras_version="3")


# ---- files of torch ------------------------------------------------------------------------------------------------
STATE = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}


@pytest.mark.slow
def test_a_compressed_archive_of_torch_is_not_inflated(tmp_path: Path) -> None:
    torch.save({**STATE, "x": torch.zeros(2**26)}, tmp_path / "plain.pth")
    rezip(tmp_path / "plain.pth", tmp_path / "x.pth", zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"x\.pth"):
        interop.load("ndrplz", tmp_path / "x.pth")


def test_views_of_one_number_are_not_expanded(tmp_path: Path) -> None:
    torch.save({**STATE, "x": torch.zeros(1).expand(10**5, 10**5)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth.* 8 times"):
        interop.load("ndrplz", tmp_path / "x.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_cannot_ask_for_a_buffer_of_any_size(legacy: bool, tmp_path: Path) -> None:
    class Buffer:
        def __reduce__(self) -> Any:
            return bytearray, (3 * 2**30,)

    torch.save({**STATE, "x": Buffer()}, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="bytearray"):
        interop.load("ndrplz", tmp_path / "x.pth")


def test_a_storage_that_claims_more_than_its_file_is_rejected(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "plain.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "plain.pth").read_bytes()
    number = pickle.dumps(STATE["cell_list.0.conv.weight"].numel(), 2)[2:-1]
    (tmp_path / "x.pth").write_bytes(content.replace(number, pickle.dumps(2**30, 2)[2:-1]))
    with pytest.raises(WeightsError, match=r"x\.pth"):
        interop.load("ndrplz", tmp_path / "x.pth")


# ---- the command ---------------------------------------------------------------------------------------------------


def test_a_damaged_heap_of_strings_ends_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        write_layer(file, h5py.Group.__setitem__)
        file.attrs["model_config"] = "{}"
    content = path.read_bytes()
    at = content.index(b"GCOL")
    path.write_bytes(content[: at + 16] + bytes(64) + content[at + 80 :])  # objects of size 0
    with pytest.raises(WeightsError, match=r"a\.h5.*heap"):
        interop.load("keras", path)


def test_a_zip_file_of_several_disks_ends_in_an_error(tmp_path: Path) -> None:
    """Python's own check whether a file is a zip file raises an error for such a one."""
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", *[0] * 4, 0, 0, 0)
    (path := tmp_path / "a.pth").write_bytes(locator + end)
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        interop.convert("pytorch_convolutional_rnn", path, tmp_path / "out")
