"""Frames in files of every format become sequences in the unit of the data."""

import base64
import dataclasses
import logging
import re
import struct

import h5py
import numpy as np
import pytest
import torch

from convrnn_zoo.data import ArrayFrames, CustomSequences, VideoFrames, open_frames, read_dataset
from convrnn_zoo.data.datasets.frame_dataset import check_files
from convrnn_zoo.data.readers import ARRAY_READERS, FileError
from convrnn_zoo.values.preprocessing import Encoding
from tests.helpers.data.own_data import WRITERS, blobs, write_gif, write_hdf5, write_pictures, write_video

FRAMES = ArrayFrames(name="blobs", unit="mm/h", step=5)


OTHER_NAMES = {".hdf5", ".nc4", ".cdf", ".grib", ".grib2", ".grb", ".grb2"}
"""More suffixes of formats with a writer, and those of an engine that may not be installed."""
ONE_TIME = {".tif", ".tiff"}
"""Suffixes of formats of one file for each time, which have tests of their own in tests/data/formats."""


def test_every_format_has_a_writer():
    missing = set(ARRAY_READERS) - {*WRITERS, *OTHER_NAMES, *ONE_TIME}
    assert not missing, f"add {missing} to WRITERS or ONE_TIME: CONTRIBUTING.md, Add a reader or a dataset, step 4"


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_sequences(suffix, tmp_path):
    frames = blobs()
    WRITERS[suffix](tmp_path / f"a{suffix}", frames)
    key = "rate" if suffix in (".npz", ".h5", ".nc", ".zarr") else ""
    clips = dataclasses.replace(FRAMES, variable=key).load(tmp_path / f"a{suffix}", "train", 3, 4)
    assert clips.length == 7
    assert len(clips) == 12 - 6  # two thirds of 18 frames, whole maps
    clip = clips[2]
    torch.testing.assert_close(clip[:, 0], torch.from_numpy(frames[2:9]), equal_nan=True)
    assert clip[:, :, :3, :3].isnan().all()
    minutes = np.datetime64("2020-01-01", "m").astype(int)
    dates = clips.files[0].minutes if clips.files[0].is_dated else [0]
    assert dates[0] == (0 if suffix in (".npy", ".npz") else minutes)
    test = dataclasses.replace(FRAMES, variable=key).load(tmp_path / f"a{suffix}", "test", 3, 4)
    torch.testing.assert_close(test[0][3:, 0], torch.from_numpy(frames[12:16]), equal_nan=True)


def test_crops_have_enough_present_values(tmp_path):
    frames = blobs()
    frames[:, :, 20:] = np.nan
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", frames)
    kind = dataclasses.replace(FRAMES, crop=12, stride=4, split="file", min_valid_fraction=0.9)
    clips = kind.load(tmp_path, "train", 3, 4)
    assert {tuple(p) for p in clips.places[:, 2:].tolist()} == {
        (t, x) for t in (0, 4, 8, 12) for x in (0, 4, 8) if (t, x) != (0, 0)
    } | {(0, 0)}
    assert set(clips.places[:, 0].tolist()) == {0, 1}
    assert kind.load(tmp_path, "test", 3, 4).places[:, 0].unique().tolist() == [0]
    wet = dataclasses.replace(kind, min_wet_fraction=0.4).load(tmp_path, "train", 3, 4)
    assert 0 < len(wet) < len(clips)


def test_a_number_of_the_recipe_marks_missing_values(tmp_path):
    counts = (blobs(missing=False) * 100).astype("int16")
    counts[:, 0] = -1
    np.save(tmp_path / "b.npy", counts)
    clip = dataclasses.replace(FRAMES, fill_value=-1).load(tmp_path / "b.npy", "train", 3, 4)[0]
    assert clip[:, :, 0].isnan().all()
    assert clip[:, :, 1:].isfinite().all()


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_stores_of_xarray_are_decoded(version, tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
    filled = {"fill_value": -1} if version == 2 else {"fill_value": 0}
    for name, dtype in (("rate", "int16"), ("other", "float32")):
        array = group.create_array(name, shape=(12, 4, 4), chunks=(1, 4, 4), dtype=dtype, **filled)
        array[:] = np.arange(12)[:, None, None]
        array[:, 0] = -1
        array.attrs.update({"scale_factor": 0.5, "add_offset": 1.0})
    if version == 3:
        group["rate"].attrs["_FillValue"] = -1
        group["other"].attrs["_FillValue"] = base64.b64encode(struct.pack("<d", -1.0)).decode()
    for name in ("rate", "other"):
        clip = dataclasses.replace(FRAMES, variable=name).load(tmp_path / "a.zarr", "train", 3, 1)[2]
        assert clip[:, 0, 0].isnan().all()
        assert clip[:, 0, 1, 0].tolist() == [2, 2.5, 3, 3.5]


def test_sequences_do_not_reach_over_gaps_in_time(tmp_path, caplog):
    frames = np.arange(20, dtype="float32")[:, None, None] * np.ones((1, 4, 4), dtype="float32")
    times = np.arange(20) * 5
    times[9:] += 30
    np.savez(tmp_path / "a.npz", x=frames, time=times)
    with caplog.at_level(logging.WARNING):
        kind = dataclasses.replace(FRAMES, split="time")
        clips = kind.load(tmp_path, "train", 2, 1)
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("a.npz: time has 1 ")
    assert all(c[2, 0, 0, 0] - c[0, 0, 0, 0] == 2 for c in clips)
    assert not any(c[0, 0, 0, 0] < 9 <= c[2, 0, 0, 0] for c in clips)
    with pytest.raises(ValueError, match=r"a\.npz.* 5, 35 .*data\.step.* 10"):
        dataclasses.replace(kind, step=10).load(tmp_path, "train", 2, 1)


@pytest.mark.parametrize(("suffix", "channels"), [(".mp4", 1), (".gif", 1), ("", 1), ("", 3), (".mp4", 3)])
def test_videos_gifs_and_image_folders_are_brightness(suffix, channels, tmp_path):
    frames = (blobs(12, 32, 32, missing=False) * 15).clip(0, 255).astype("uint8")
    path = tmp_path / f"clip{suffix}"
    {".mp4": write_video, ".gif": write_gif, "": write_pictures}[suffix](path, frames)
    kind = VideoFrames(name="film", channels=channels)
    for data in (path, tmp_path):
        clip = kind.load(data, "train", 2, 3)[1]
        assert clip.shape == (5, channels, 32, 32)
        assert (clip[:, 0] - torch.from_numpy(frames[1:6] / 255).float()).abs().mean() < 0.03
        assert clip.isfinite().all()
    small = dataclasses.replace(kind, size=(16, 24)).load(path, "train", 2, 3)
    assert small[0].shape == (5, channels, 16, 24)
    values = kind.preprocessing(small, 2, 3)
    assert (values.lowest, values.highest, values.unit) == (0, 1, "")


def test_standardization_ignores_missing_values(tmp_path):
    np.save(tmp_path / "a.npy", blobs())
    kind = dataclasses.replace(FRAMES, encoding="standardize")
    clips = kind.load(tmp_path, "train", 3, 4)
    values = kind.preprocessing(clips, 3, 4)
    encoded = values.encode(clips.fixed(99))
    assert encoded.isfinite().all()
    known = encoded[clips.fixed(99).isfinite()]
    assert known.mean() == pytest.approx(0, abs=1e-3)
    assert known.std() == pytest.approx(1, abs=1e-3)
    np.save(tmp_path / "a.npy", np.ones((9, 4, 4)))
    with pytest.raises(ValueError, match=r"blobs.*encoding"):
        kind.preprocessing(kind.load(tmp_path, "train", 2, 1), 2, 1)


def test_custom_datasets_are_sequences():
    clips = CustomSequences([torch.full((4, 1, 2, 2), float(i)) for i in range(5)])
    assert clips.length == 4
    assert clips.fixed(3)[:, 0, 0, 0, 0].tolist() == [0, 2, 4]
    assert len(clips.draw(8)) == 8
    with pytest.raises(ValueError, match=r"data\[1\].*\(3, 1, 2, 2\)"):
        CustomSequences([torch.zeros(4, 1, 2, 2), torch.zeros(3, 1, 2, 2)])[1]


class Lazy:
    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        return self.frames[index]


@pytest.mark.parametrize("is_lazy", [False, True])
def test_custom_sequences_without_values_or_with_infinite_ones_are_errors(is_lazy):
    frames = torch.rand(3, 4, 1, 2, 2)
    frames[1, 2, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"data\[1\] contains Inf; replace infinite values by NaN"):
        CustomSequences(Lazy(frames) if is_lazy else frames)[1]
    frames[:2] = torch.nan
    assert len(CustomSequences(frames)) == 3
    with pytest.raises(ValueError, match="data has no value that is not NaN"):
        CustomSequences(frames[:2])


BAD = {
    "broken": ({"b.npy": b"broken"}, {}, r"b\.npy"),
    "cut": ({"b.h5": b"\x89HDF"}, {}, r"b\.h5"),
    "words": ({"b.npy": np.full((3, 4, 4), "a")}, {}, r"b\.npy.*<U1"),
    "flat": ({"b.npy": np.zeros((4, 4))}, {}, r"b\.npy.*\(4, 4\)"),
    "sizes": ({"b.npy": np.zeros((9, 4, 5))}, {}, r"a\.npy 1×24×28, b\.npy 1×4×5.*data\.crop"),
    "small": ({"b.npy": np.zeros((9, 4, 5))}, {"crop": 8}, r"b\.npy.* 4×5,.*data\.crop = 8"),
    "channels": ({"b.npy": np.zeros((9, 2, 24, 28))}, {}, r"a\.npy 1×24×28, b\.npy 2×24×28"),
    "key": ({"b.npz": {"u": np.zeros((9, 4, 4)), "v": np.zeros((9, 4, 4))}}, {}, r"b\.npz.*data\.variable"),
    "no key": ({}, {"variable": "v"}, r"a\.npy.*'v'"),
    "short": ({}, {"split": "file"}, r"data\.split.*a\.npy"),
    "times": ({"b.npz": {"x": np.zeros((9, 24, 28)), "time": np.zeros(4)}}, {}, r"b\.npz.*\b9 frames.*\b4 times"),
    "few": ({}, {"validation": 0.2}, r"train.* 70 frames.*data\.split"),
    "dry": ({}, {"crop": 20, "min_wet_fraction": 1.0}, "train.*crop.* 7 frames of 20×20"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_data_are_reported_in_one_line(name, tmp_path):
    files, entries, message = BAD[name]
    np.save(tmp_path / "a.npy", blobs())
    for file, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / file).write_bytes(content)
        else:
            np.savez(tmp_path / file, **content) if isinstance(content, dict) else np.save(tmp_path / file, content)
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(FRAMES, **entries).load(tmp_path, "train", 3, 67 if name == "few" else 4)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_are_probably_last_give_a_warning(channels, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((30, 8, 9, channels), "float32"))
    with pytest.warns(UserWarning, match=rf"8 channels of 9×{channels} pixels"):
        FRAMES.open(tmp_path)


ENTRIES = {
    "kind": ({"kind": "frame"}, r"data\.kind.*'frame'"),
    "missing": ({}, r"data\.name$"),
    "unknown": ({"crops": 3}, r"data\.crops.* crop\b"),
    "type": ({"name": "a", "crop": "64"}, r"data\.crop.*'64'"),
    "range": ({"name": "a", "crop": 0, "min_valid_fraction": 2}, "data.crop .*\n.* data.min_valid_fraction"),
    "word": ({"name": "a", "encoding": "logarithm"}, r"data\.encoding.*'logarithm'"),
    "split": ({"name": "a", "split": "files"}, r"data\.split.*'files'"),
    "truth": ({"name": "a", "step": True}, r"data\.step.* True"),
    "shipped": ({"kind": "rain", "crop": 64}, r"data\.crop\b"),
    "size": ({"kind": "video", "name": "a", "size": (3,)}, r"data\.size.* 2 values, got 1"),
    "channels": ({"kind": "video", "name": "a", "channels": 4}, r"data\.channels.* 4"),
    "no groups": ({"name": "a", "split": "group"}, r"data\.group_pattern or data\.group_file"),
    "groups without a split": ({"name": "a", "group_file": "b"}, r"data\.group_pattern or data\.group_file"),
    "pattern": ({"name": "a", "split": "group", "group_pattern": "("}, r"data\.group_pattern is not"),
    "both": ({"name": "a", "split": "group", "group_pattern": "a", "group_file": "b"}, "both set"),
    "validation": ({"name": "a", "validation": ["a.npy"]}, r"data\.validation can be a list only if"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_key_is_checked(name):
    entries, message = ENTRIES[name]
    with pytest.raises(ValueError, match=message):
        read_dataset({"kind": "frames", **entries})


@pytest.mark.parametrize("kind", [ArrayFrames, VideoFrames])
def test_groups_are_read_from_a_file(kind, tmp_path):
    groups = {"a": "2", "b": "10", "c": "1", "d": "10", "e": "3"}
    for i, name in enumerate(groups):
        if kind is ArrayFrames:
            np.save(tmp_path / f"{name}.npy", np.full((9, 4, 4), i, "float32"))
        else:
            levels = np.array([50 * i, 50 * i + 1] * 4 + [50 * i], "uint8")
            write_gif(tmp_path / f"{name}.gif", levels[:, None, None].repeat(16, 1).repeat(16, 2))
    suffix = ".npy" if kind is ArrayFrames else ".gif"
    lines = [f"{name}{suffix},{group}\n" for name, group in groups.items()]
    (tmp_path / "groups.csv").write_text("file,group\n" + "".join(lines))
    dataset = kind(name="a", split="group", group_file="groups.csv", validation=0.25)
    parts = {split: dataset.load(tmp_path, split, 2, 1) for split in ("train", "validation", "test")}
    assert {split: [f.name[0] for f in part.files] for split, part in parts.items()} == {
        "train": ["a", "c"],
        "validation": ["e"],
        "test": ["b", "d"],
    }
    (tmp_path / "groups.csv").write_text("file,group\n" + "".join(lines[:-1]))
    with pytest.raises(ValueError, match=rf"groups\.csv: .* a line e\{suffix},GROUP"):
        dataset.load(tmp_path, "train", 2, 1)
    (tmp_path / "groups.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"groups\.csv.*data\.group_file"):
        dataset.load(tmp_path, "train", 2, 1)


def test_the_number_that_an_error_names_as_missing_is_missing(tmp_path):
    frames = np.random.default_rng(0).random((9, 4, 4)).astype("float32")
    frames[:, 0] = np.finfo("float32").min
    np.save(tmp_path / "a.npy", frames)
    with pytest.raises(FileError) as error:
        ArrayFrames(name="a").load(tmp_path, "train", 1, 1)
    fill = float(re.search(r"fill_value = ([^,]+)", str(error.value))[1])
    assert len(ArrayFrames(name="a", fill_value=fill).load(tmp_path, "train", 1, 1)) == 5


@pytest.mark.parametrize("value", [-99.0, -99.9, -999.0, 999.9])
def test_usual_markers_are_no_reflectivity(value, tmp_path):
    frames = np.random.default_rng(0).uniform(0, 55, (9, 4, 4)).astype("float32")
    frames[:, 0] = value
    np.save(tmp_path / "a.npy", frames)
    kind = ArrayFrames(name="a", unit="dBZ")
    if value > 0:  # not in the list of markers
        assert len(kind.load(tmp_path, "train", 1, 1)) == 5
        return
    with pytest.raises(FileError, match=rf"a\.npy.*fill_value = {value:g}"):
        kind.load(tmp_path, "train", 1, 1)
    assert len(dataclasses.replace(kind, fill_value=value).load(tmp_path, "train", 1, 1)) == 5


@pytest.mark.parametrize("split", ["time", "file"])
def test_files_with_other_steps_need_a_stated_one(split, tmp_path):
    for name, step in (("a", 5), ("b", 5), ("c", 15)):
        np.savez(tmp_path / f"{name}.npz", x=blobs(), time=np.arange(18) * step)
    kind = ArrayFrames(name="a", unit="mm/h", split=split)
    with pytest.raises(FileError, match=r"a\.npz.* 5 .*c\.npz.* 15 minutes;.*data\.step"):
        kind.load(tmp_path, "train", 1, 1)
    with pytest.raises(FileError, match=r"c\.npz.* 15 .*data\.step"):
        dataclasses.replace(kind, step=5).load(tmp_path, "train" if split == "time" else "test", 1, 1)
    (tmp_path / "c.npz").unlink()
    assert len(kind.load(tmp_path, "train", 1, 1))


def write_period(path, first, stop):
    """Frames `first` to `stop` of one series, with their dates; the pixels of a frame are its number."""
    frames = np.arange(first, stop, dtype="float32")[:, None, None] + np.linspace(0, 0.5, 36).reshape(6, 6)
    write_hdf5(path, frames.astype("float32"))
    with h5py.File(path, "r+") as file:
        file["time"][:] = np.arange(first, stop) * 5


def forecast_numbers(data, path, split, inputs=2, horizon=2):
    """Numbers of the frames that are forecast in a split, and the numbers of the frames of each sequence."""
    clips = data.load(path, split, inputs, horizon)
    sequences = [clip[:, 0, 0, 0].round().int().tolist() for clip in clips]
    return {n for sequence in sequences for n in sequence[inputs:]}, sequences


DATED = dataclasses.replace(FRAMES, variable="rate", unit="", validation=0.2)


@pytest.mark.parametrize("second", [30, 20, 12])  # after the first file, overlapping, and nearly the same period
def test_files_are_cut_at_one_date_so_that_no_frame_is_forecast_in_two_parts(second, tmp_path):
    write_period(tmp_path / "a.h5", 0, 30)
    write_period(tmp_path / "b.h5", second, second + 30)
    parts = {split: forecast_numbers(DATED, tmp_path, split)[0] for split in ("train", "validation", "test")}
    assert max(parts["train"]) < min(parts["validation"])
    assert max(parts["validation"]) < min(parts["test"])
    assert min(parts["test"]) == round((second + 30) * 2 / 3)


def test_overlapping_files_in_two_parts_are_an_error(tmp_path):
    write_period(tmp_path / "a.h5", 0, 30)
    write_period(tmp_path / "b.h5", 20, 50)
    data = dataclasses.replace(DATED, split=("b*",), validation=0.0)
    with pytest.raises(FileError, match=r"(?s)a\.h5.*b\.h5.*2020-01-01 01:40.*time"):
        data.load(tmp_path, "train", 2, 2)
    with h5py.File(tmp_path / "b.h5", "r+") as file:  # another station at the same times
        file["rate"][:] = file["rate"][:] + 100
    assert len(data.load(tmp_path, "train", 2, 2)) == 27
    for name in ("a.h5", "b.h5"):  # no rain is equal at every station
        with h5py.File(tmp_path / name, "r+") as file:
            file["rate"][:] = 0
    assert len(data.load(tmp_path, "train", 2, 2)) == 27


def test_files_that_overlap_from_a_dry_frame_on_are_in_one_part(tmp_path):
    write_period(tmp_path / "a.h5", 0, 30)
    write_period(tmp_path / "b.h5", 20, 50)
    for name, shared in (("a.h5", 20), ("b.h5", 0)):
        with h5py.File(tmp_path / name, "r+") as file:
            file["rate"][shared : shared + 3] = 0
    with pytest.raises(FileError, match=r"(?s)a\.h5.*b\.h5.*2020-01-01 01:55"):
        dataclasses.replace(DATED, split=("b*",), validation=0.0).load(tmp_path, "train", 2, 2)


@pytest.mark.filterwarnings("ignore:.*nor their names have dates")
def test_undated_frames_of_a_group_follow_each_other(tmp_path):
    """The files of a group are runs of successive frames, between which frames of other groups lie."""
    groups = "aaabbbaaabbbccccccccc"
    for i, group in enumerate(groups):
        np.save(tmp_path / f"{i:02}_{group}.npy", np.full((6, 6), i, "float32"))
    data = ArrayFrames(name="a", split="group", group_pattern=r"_(\w)")
    train, test = (data.load(tmp_path, part, 2, 1).fixed(99)[:, :, 0, 0, 0] for part in ("train", "test"))
    assert train.tolist() == [[0, 1, 2], [6, 7, 8], [3, 4, 5], [9, 10, 11]]
    assert test.tolist() == [[i, i + 1, i + 2] for i in range(12, 19)]
    with pytest.raises(FileError, match="no dates"):
        dataclasses.replace(data, group_pattern=r"\d([02468]|[13579])").load(tmp_path, "train", 2, 1)


@pytest.mark.parametrize("options", [{"coarsen": 2}, {"variable": "rate"}])
def test_keys_that_a_format_cannot_follow_are_errors(options, tmp_path):
    np.save(tmp_path / "a.npy", blobs())
    with pytest.raises(FileError, match=f"data.{next(iter(options))}"):
        dataclasses.replace(FRAMES, **options).load(tmp_path, "train", 2, 1)


def test_the_error_of_a_short_validation_part_names_it(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.zeros((30, 6, 6), "float32"))
    with pytest.raises(ValueError, match=r"validation part.*data\.validation"):
        dataclasses.replace(FRAMES, split="file").load(tmp_path, "validation", 4, 4)
    (tmp_path / "b.npy").unlink()
    with pytest.raises(ValueError, match=r"validation part.*set aside more than data\.validation = 0\.1"):
        dataclasses.replace(FRAMES, validation=0.1).load(tmp_path, "validation", 4, 4)


def test_files_of_one_frame_are_joined_within_their_group(tmp_path):
    for i, event in enumerate("abc"):
        (tmp_path / event).mkdir()
        for t in range(5):
            np.savez(tmp_path / event / f"{t}.npz", x=np.full((1, 4, 4), 10 * i + t), time=[np.datetime64(t, "h")])
    kind = ArrayFrames(name="a", split="group", group_pattern=r"^(\w)/")
    test, train = (kind.load(tmp_path, split, 3, 1) for split in ("test", "train"))
    assert test.fixed(99)[:, :, 0, 0, 0].tolist() == [[20, 21, 22, 23], [21, 22, 23, 24]]
    assert train.fixed(99)[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [10, 11, 12, 13], [11, 12, 13, 14]]


def test_missing_and_empty_paths_are_reported(tmp_path):
    for kind in (FRAMES, VideoFrames(name="film"), read_dataset({"kind": "sequences", "name": "a"})):
        split = () if kind.__class__.__name__ == "LabelledSequences" else (3, 4)
        for path, words in ((None, "--data"), (tmp_path / "no", "/no "), (tmp_path, str(tmp_path))):
            with pytest.raises(FileNotFoundError, match=words):
                kind.load(path, "train", *split)


@pytest.mark.parametrize("frame", [0, 130])
def test_the_first_and_the_last_frame_of_a_long_file_are_checked(frame, tmp_path):
    values = np.ones((131, 1, 4, 5), "float32")
    values[frame] = -999
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(FileError, match=r"a\.npy.*-999.*data\.fill_value"):
        check_files([open_frames(tmp_path / "a.npy")], [Encoding(unit="mm/h")])
