"""Video folders: clips of every format, splits, reading on demand, and invalid clips."""

import dataclasses

import numpy as np
import pytest
import torch

from convrnn_zoo.data import read_dataset
from tests.helpers.data.own_data import CLIP_WRITERS, clips, write_clips, write_gif

KIND = read_dataset({"kind": "clips", "name": "lights"})


@pytest.mark.parametrize("suffix", CLIP_WRITERS)
def test_reads_every_format_as_rgb_from_0_to_1(suffix, tmp_path):
    if suffix == ".avi":
        pytest.importorskip("av", reason="the extra video")
    frames = np.repeat(np.linspace(0, 255, 7).astype("uint8")[:, None, None, None], 32, 1).repeat(48, 2).repeat(3, 3)
    CLIP_WRITERS[suffix](tmp_path / f"a{suffix}", frames)
    expected = torch.from_numpy(frames.transpose(0, 3, 1, 2) / 255).float()
    lossy = {"atol": 0.02, "rtol": 0}
    torch.testing.assert_close(KIND.read(tmp_path / f"a{suffix}"), expected, **lossy)
    some = dataclasses.replace(KIND, frame_stride=2, max_frames=3).read(tmp_path / f"a{suffix}")
    torch.testing.assert_close(some, expected[[0, 2, 4]], **lossy)
    small = dataclasses.replace(KIND, size=16, max_frames=1).read(tmp_path / f"a{suffix}")
    assert small.shape == (1, 3, 16, 16)


def test_arrays_keep_their_channels_and_may_be_brightness(tmp_path):
    frames = np.random.default_rng(0).random((4, 2, 8, 12)).astype("float32")
    np.save(tmp_path / "a.npy", frames)
    torch.testing.assert_close(KIND.read(tmp_path / "a.npy"), torch.from_numpy(frames), atol=0, rtol=0)
    torch.testing.assert_close(
        dataclasses.replace(KIND, size=8).read(tmp_path / "a.npy"), torch.from_numpy(frames[..., 2:10]), atol=0, rtol=0
    )


def test_class_folders_may_be_in_folders_of_the_parts(tmp_path):
    for part in ("train", "val", "test"):
        write_clips(tmp_path / part)  # files, and folders of images
    fields = {"size": 16, "split": ("test/*",), "validation": ("val/*",)}
    parts = [dataclasses.replace(KIND, **fields).load(tmp_path, split) for split in ("train", "validation", "test")]
    assert [part.labels.bincount().tolist() for part in parts] == [[6, 6]] * 3
    assert [part.label_names for part in parts] == [("dark", "light")] * 3
    assert all("/test/" in str(path) for path in parts[2].sequences.items)


def test_splits_every_class_and_reads_clips_on_demand(tmp_path, monkeypatch):
    write_clips(tmp_path)
    train, test = (dataclasses.replace(KIND, size=16).load(tmp_path, split) for split in ("train", "test"))
    assert (train.labels.bincount().tolist(), test.labels.bincount().tolist()) == ([4, 4], [2, 2])
    assert train.label_names == ("dark", "light")
    assert not isinstance(train.sequences, list)
    assert not set(train.sequences.items) & set(test.sequences.items)
    lengths = {(label, name): len(frames) for label, name, frames in clips()}
    x, ends, labels = train.batch([0, 3, 6])
    paths = [train.sequences.items[i] for i in (0, 3, 6)]
    assert ends.tolist() == [lengths[p.parent.name, p.stem] for p in paths]
    assert [train.label_names[y] for y in labels] == [p.parent.name for p in paths]
    assert x.shape == (3, int(ends.max()), 3, 16, 16)
    assert all(not x[i, n:].any() for i, n in enumerate(ends))
    read = []
    monkeypatch.setattr(train.sequences, "read", lambda path: read.append(path) or torch.zeros(1, 3, 4, 4))
    train.batch([1])
    assert read == [train.sequences.items[1]]
    assert len(train.sequences[2:4]) == 2


def broken_later(path):
    """A GIF that is truncated after its first frame."""
    write_gif(path, np.random.default_rng(0).integers(0, 255, (6, 16, 24, 3)).astype("uint8"))
    path.write_bytes(path.read_bytes()[:1500])


BAD = {
    "broken video": ("b.avi", lambda p: p.write_bytes(b"broken"), r"b\.avi.*video"),
    "empty video": ("b.mp4", lambda p: p.write_bytes(b""), r"b\.mp4.*video"),
    "broken gif": ("b.gif", lambda p: p.write_bytes(b"GIF89a"), r"b\.gif.*GIF"),
    "broken array": ("b.npy", lambda p: p.write_bytes(b"broken"), r"b\.npy"),
    "empty folder": ("b", lambda p: p.mkdir(), "/b .*frame"),
    "empty array": ("b.npy", lambda p: np.save(p, np.zeros((0, 3, 16, 24))), r"b\.npy.*\(0, 3, 16, 24\)"),
    "flat array": ("b.npy", lambda p: np.save(p, np.zeros((3, 16, 24))), r"b\.npy.*\(3, 16, 24\)"),
    "channels last": ("b.npy", lambda p: np.save(p, np.zeros((2, 16, 24, 3))), r"b\.npy.*\(2, 16, 24, 3\)"),
    "words": ("b.npy", lambda p: np.save(p, np.full((1, 3, 4, 4), "a")), r"b\.npy.*<U1"),
    "units": ("b.npy", lambda p: np.save(p, np.full((1, 3, 16, 24), 9.0)), r"b\.npy.* 0 to 1,.* 9 to 9"),
    "NaN": ("b.npy", lambda p: np.save(p, np.full((1, 3, 16, 24), np.nan)), r"b\.npy.* 0 to 1,.*nan"),
    "size": ("b.npy", lambda p: np.save(p, np.zeros((1, 3, 16, 23))), r"01\.gif.*b\.npy \(3, 16, 23\).*data\.size"),
    "picture": ("b.png", lambda p: p.write_bytes(b""), "/dark .*images"),
}


@pytest.mark.sampled("name")
@pytest.mark.parametrize("name", BAD)
def test_rejects_invalid_clips_in_one_line(name, tmp_path):
    file, make, message = BAD[name]
    if file.endswith((".avi", ".mp4")):
        pytest.importorskip("av", reason="the extra video")
    write_clips(tmp_path)
    make(tmp_path / "dark" / file)
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(KIND, split=("*/00*",)).load(tmp_path, "train")
    assert str(tmp_path / "dark") in str(error.value)
    assert "\n" not in str(error.value)


def test_names_clips_that_are_damaged_after_the_first_frame(tmp_path):
    broken_later(tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"a\.gif.*GIF"):
        KIND.read(tmp_path / "a.gif")


def test_paths_and_entries_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder"):
        KIND.load(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="--data"):
        KIND.load(None, "train")
    with pytest.raises(FileNotFoundError, match=r"b\.gif"):
        KIND.read(tmp_path / "b.gif")
    (tmp_path / "b.txt").write_text("no clip")
    with pytest.raises(ValueError, match=r"b\.txt"):
        KIND.read(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError, match="folder"):
        KIND.load(tmp_path / "b.txt", "train")
    write_clips(tmp_path)
    (tmp_path / ".cache").mkdir()
    KIND.load(tmp_path, "test")
    (tmp_path / "grey").mkdir()
    with pytest.raises(ValueError, match="grey"):
        KIND.load(tmp_path, "test")
    for entries, message in (
        ({"size": 0}, r"data\.size.* 0"),
        ({"frame_stride": 0}, r"data\.frame_stride.* 0"),
        ({"max_frames": "all"}, r"data\.max_frames.*'all'"),
        ({"sizes": 3}, r"data\.sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            read_dataset({"kind": "clips", "name": "a", **entries})
