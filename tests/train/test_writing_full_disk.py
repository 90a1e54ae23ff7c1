"""A full disk during a run: one clear message, the last complete files remain, and the run resumes from them."""

import contextlib
import errno
import re

import pytest
import torch

from convrnn_zoo.predict.labelled import write_dataset
from convrnn_zoo.pretrained.state_dict import write_safetensors
from convrnn_zoo.train import loop
from convrnn_zoo.verify import Evaluation
from convrnn_zoo.verify.figures import draw_scores, save_images

pytestmark = pytest.mark.needs("linux")
resource = pytest.importorskip("resource", reason="limits of a process are those of Unix")
image = pytest.importorskip("PIL.Image", reason="the extra train")

ROOM = 4096


@contextlib.contextmanager
def little_room():
    """No file of this process grows beyond a few kB; to the writer that is as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise():
    return image.effect_noise((200, 200), 50).convert("RGB")


WRITERS = {
    "last.ckpt": lambda path: loop.save_checkpoint({"a": torch.rand(ROOM)}, path),
    "a.safetensors": lambda path: write_safetensors(torch.nn.Linear(64, 64).state_dict(), path),
    "a.png": lambda path: save_images([noise()], path),
    "a.gif": lambda path: save_images([noise(), noise()], path),
    "a.svg": lambda path: draw_scores(Evaluation({"forecast": {"MSE": [1.0, 2.0]}}, {}), path, "title"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_names_the_file_and_keeps_the_previous_one(name, tmp_path):
    path, write = tmp_path / name, WRITERS[name]
    write(path)
    content = path.read_bytes()
    assert len(content) > ROOM
    with little_room(), pytest.raises(OSError, match=re.escape(str(path))) as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == content
    path.unlink()
    with little_room(), pytest.raises(OSError, match=re.escape(str(path))):
        write(path)
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_as_netcdf_keeps_the_previous_one(tmp_path):
    xarray, path = pytest.importorskip("xarray"), tmp_path / "a.nc"
    pytest.importorskip("h5netcdf")
    path.write_bytes(b"previous")
    values = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)).numpy()
    with little_room(), pytest.raises(OSError, match=re.escape(str(path))) as caught:
        write_dataset(xarray.Dataset({"rain": (("y", "x"), values)}), path)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"previous"
