"""Labelled sequences: archives with labels, a folder for each class, sound; splits; invalid data."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from convrnn_zoo import LogMel, create_model
from convrnn_zoo.data import ArrayFrames, LabelledSequences, read_dataset
from convrnn_zoo.data.readers import FileError
from convrnn_zoo.data.readers.sequences import read_csv, read_recordings
from tests.helpers.data.own_data import ramps, write_ramps

KIND = read_dataset({"kind": "sequences", "name": "ramps"})


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_clips_with_channels_last_are_an_error(suffix, tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(3):
            clip = np.zeros((5, 16, 16, 3), "float32")
            (np.save if suffix == ".npy" else np.savez)(tmp_path / label / f"{i}{suffix}", clip)
    np.savez(tmp_path / "c.npz", labels=["a", "b"] * 3, **{f"r{i}": clip for i in range(6)})
    with pytest.raises(FileError, match=r"expected \(T, C, H, W\)"):
        KIND.load(tmp_path if suffix == ".npy" else tmp_path / "c.npz", "train")


def test_warns_of_classes_without_test_recordings(tmp_path, caplog):
    recordings, _ = ramps(7)
    np.savez(tmp_path / "a.npz", **recordings, labels=["a"] * 6 + ["b"])
    KIND.load(tmp_path / "a.npz", "train")
    assert not caplog.messages
    KIND.load(tmp_path / "a.npz", "test")
    assert [(str(tmp_path / "a.npz") in line, line[-2:]) for line in caplog.messages] == [(True, " b")]


def test_number_labels_can_have_names(tmp_path):
    recordings, _ = ramps(12)
    np.savez(tmp_path / "a.npz", labels=np.array([10, 9, 2] * 4), **recordings)
    assert KIND.load(tmp_path / "a.npz", "test").label_names == ("2", "9", "10")
    named = dataclasses.replace(KIND, label_names=("two", "nine", "ten"))
    assert named.load(tmp_path / "a.npz", "test").label_names == ("two", "nine", "ten")
    with pytest.raises(ValueError, match=r"a\.npz.* 2 .* 2, 9, 10"):
        dataclasses.replace(KIND, label_names=("a", "b")).load(tmp_path / "a.npz", "test")


def test_a_list_names_recordings_or_files_of_the_test(tmp_path):
    write_ramps(tmp_path / "a.npz")
    kind = dataclasses.replace(KIND, split=("r0[0-3]",))
    assert len(kind.load(tmp_path / "a.npz", "test").labels) == 4
    write_ramps(tmp_path / "b.npz", count=6)
    assert len(dataclasses.replace(KIND, split=("b.npz",)).load(tmp_path, "test").labels) == 6
    assert len(dataclasses.replace(KIND, split="file").load(tmp_path, "train").labels) == 24
    with pytest.raises(ValueError, match=r"data\.split.*c\.npz.*a\.npz, b\.npz"):
        dataclasses.replace(KIND, split=("c.npz",)).load(tmp_path, "test")


@pytest.fixture
def listed(tmp_path):
    """Two classes of five recordings in the folder words, next to lists of the files for test and validation."""
    write_folders(tmp_path / "words", ("no", "yes"), 5)
    write_folders(tmp_path, ("noise",), 1)
    for name, number in (("test", 0), ("val", 1)):
        lines = [f"words/{word}/{number}.npy,{word}" for word in ("no", "yes")]
        (tmp_path / f"{name}.csv").write_text("\n".join(["file,class", *lines]), encoding="utf-8")
    return tmp_path


def test_csv_files_name_the_recordings_for_test_and_validation(listed):
    data = make(folder="words", split=["test.csv"], validation=["val.csv"])
    parts = {split: data.load(listed, split) for split in ("train", "validation", "test")}
    values = {split: sorted(float(x[0, 0]) for x in part.sequences) for split, part in parts.items()}
    assert values == {"train": [2, 2, 3, 3, 4, 4], "validation": [1, 1], "test": [0, 0]}
    assert parts["test"].label_names == ("no", "yes")
    assert data.split_words == "the recordings listed in test.csv"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"split": ["other.csv"]}, r"other\.csv does not exist.*data\.split"),
        ({"split": ["test.csv"], "validation": ["words/yes/0.npy"]}, r"both name words/yes/0\.npy"),
        ({"split": ["test.csv"], "validation": ["*"]}, r"both name words/no/0\.npy, words/yes/0\.npy"),
        ({"split": ["test.csv"], "validation": ["*/[1-4].npy"]}, "leaves nothing to train on"),
        ({"split": ["test.csv"], "validation": ["*/9.npy"]}, r"data\.validation: \*/9\.npy matches none of words/no/0"),
        ({"split": ["empty.csv"]}, "empty.csv: expected a column file"),
        ({"folder": "wrods"}, "wrods does not exist.*data.folder"),
    ],
)
def test_lists_of_recordings_that_do_not_fit_the_data_are_rejected(listed, fields, expected):
    (listed / "empty.csv").write_text("name\nwords/no/0.npy\n", encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        make(**{"folder": "words", **fields}).load(listed, "train")


@pytest.mark.parametrize(
    "kind",
    [partial(dataclasses.replace, LabelledSequences(name="a")), partial(dataclasses.replace, ArrayFrames(name="a"))],
)
@pytest.mark.parametrize("outside", ["../a", "/a", "a/../../b"])
def test_names_in_a_recipe_stay_in_the_data_directory(kind, outside):
    keys = {field.name for field in dataclasses.fields(kind())} & {"folder", "group_file"}
    assert "group_file" in keys
    for key in keys:
        with pytest.raises(ValueError, match=rf"data\.{key} .*{outside}"):
            kind(**{key: outside})


@pytest.fixture
def tones(tmp_path):
    """A folder a pitch, of three sounds each, in two channels; the last of another rate."""
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    for pitch in (400, 2000):
        (tmp_path / str(pitch)).mkdir()
        for i, rate in enumerate((8000, 8000, 16000)):
            wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(rate // 4 + 100 * i) / rate)
            soundfile.write(tmp_path / str(pitch) / f"{i}.wav", np.stack([wave, wave], 1), rate)
    return tmp_path


def test_encodes_sound_alike_in_training_and_prediction(tones):
    pytest.importorskip("soxr", reason="the extra sound")
    train, test = (KIND.load(tones, split) for split in ("train", "test"))
    assert train.front_end == test.front_end == LogMel(rate=8000)
    assert {tuple(x.shape[1:]) for x in train.sequences + test.sequences} == {(40, 1)}
    loudest = {
        (int(x.mean(0).argmax()), int(y)) for d in (train, test) for x, y in zip(d.sequences, d.labels, strict=True)
    }
    assert len(loudest) == 2  # for every sampling rate of the files
    model = create_model("convgru1d_1layer", in_chans=40, hidden_channels=2, kernel_size=1, num_classes=2)
    model.front_end = train.front_end
    (recording,) = read_recordings(tones / "400" / "2.wav", model)
    assert any(torch.equal(recording.values, x) for x in train.sequences + test.sequences)
    with pytest.raises(ValueError, match=r"2\.wav.*front[ _]end"):
        read_recordings(tones / "400" / "2.wav", create_model("convgru1d_1layer"))


def test_rejects_unreadable_sound(tones):
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    for write, message in (
        (lambda p: p.write_bytes(b"RIFFbroken"), r"9\.wav"),
        (lambda p: p.write_bytes(b""), r"9\.wav"),
        (lambda p: soundfile.write(p, np.zeros(0), 8000), r"9\.wav"),
        (lambda p: soundfile.write(p, np.full(9, np.nan), 8000, subtype="FLOAT"), r"9\.wav.*NaN or Inf"),
        (lambda p: soundfile.write(p, np.full(9999, 30000.0), 8000, subtype="FLOAT"), r"9\.wav.*30000"),
    ):
        write(tones / "400" / "9.wav")
        with pytest.raises(ValueError, match=message):
            KIND.load(tones, "train")


def fine():
    return dict(ramps(6)[0])


BAD = {
    "lengths": (lambda: {"x": np.ones((2, 3, 4)), "lengths": [3, 4], "labels": ["a", "b"]}, r"lengths .* from 1 to 3"),
    "no labels": (fine, r"a\.npz.*labels.*r00"),
    "few labels": (lambda: {**fine(), "labels": ["a", "b"]}, r"labels.*6 recordings.*\(2,\)"),
    "one-hot labels": (lambda: {**fine(), "labels": np.eye(6)}, r"labels.*6 recordings.*\(6, 6\)"),
    "no word": (lambda: {**fine(), "labels": ["a", "", "a", "b", "b", "b"]}, "labels.*r01"),
    "NaN for a label": (lambda: {**fine(), "labels": [0, 1, 0, 1, 0, np.nan]}, "labels.*r05"),
    "no numbers": (lambda: {**fine(), "labels": np.array([None] * 6)}, "labels.*object"),
    "words": (lambda: {"a": np.array(["x"]), "labels": ["a"]}, "a.npz:a .*real numbers"),
    "NaN": (lambda: {**fine(), "r00": np.full((3, 3), np.nan), "labels": list("ababab")}, "r00.*NaN"),
    "empty": (lambda: {**fine(), "r00": np.zeros((0, 3)), "labels": list("ababab")}, r"r00.*\(0, 3\)"),
    "shapes": (lambda: {**fine(), "r05": np.zeros((3, 4)), "labels": list("ababab")}, r"r00 .*a.npz:r05 \(3, 4\)"),
    "one class": (lambda: {**fine(), "labels": ["a"] * 6}, "classes, got 1: a"),
    "few": (lambda: {"a": np.ones((2, 3)), "b": np.ones((2, 3)), "labels": ["a", "b"]}, "three recordings"),
}


@pytest.mark.parametrize("name", BAD)
def test_rejects_invalid_archives_in_one_line(name, tmp_path):
    make, message = BAD[name]
    np.savez(tmp_path / "a.npz", **make())
    with pytest.raises(ValueError, match=message) as error:
        KIND.load(tmp_path, "train")
    assert "\n" not in str(error.value)


# ---- labels --------------------------------------------------------------------------------------------------------
def make(**fields):
    return read_dataset({"kind": "sequences", "name": "a", **fields})


def write_folders(path, names, count=3):
    for name in names:
        (path / name).mkdir(parents=True)
        for i in range(count):
            np.save(path / name / f"{i}.npy", np.full((4, 2), i, dtype="float32"))


def test_byte_labels_are_text(tmp_path):
    np.savez(tmp_path / "a.npz", **ramps(6)[0], labels=np.array([b"low", b"high"] * 3))
    assert make().load(tmp_path / "a.npz", "train").label_names == ("high", "low")


def test_duplicate_label_names_are_rejected():
    with pytest.raises(ValueError, match=r"data\.label_names.*left"):
        make(label_names=("left", "right", "left"))


def test_class_folders_may_be_in_folders_of_the_parts(tmp_path):
    for part, count in {"train": 5, "val": 2, "test": 3}.items():
        write_folders(tmp_path / "words" / part, ["a", "b"], count)
    fields = {"split": ["words/test/*"], "validation": ["words/val/*"], "folder": "words"}
    for split, count in {"train": 5, "validation": 2, "test": 3}.items():
        part = make(**fields).load(tmp_path, split)
        assert (part.label_names, part.labels.bincount().tolist()) == (("a", "b"), [count, count])
    for split in ("random", "file"):
        with pytest.raises(ValueError, match=r'has a folder of test data; name it: data\.split = \["words/test/\*"\]'):
            make(split=split, folder="words").load(tmp_path, "train")
    by_folder = make(split="group", folder="words", group_pattern="words/([^/]+)/").load(tmp_path, "test")
    assert set(by_folder.groups) == {"val"}


def test_a_class_that_is_only_tested_is_rejected(tmp_path):
    write_folders(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"train part.* b;.*data\.split"):
        make(split=("b/*",)).load(tmp_path, "train")


# ---- arrays of all recordings --------------------------------------------------------------------------------------
X = np.random.default_rng(0).normal(size=(12, 20, 3)).astype("float32")
Y = np.array([0, 1] * 6)
WINDOWS = {
    "x and labels": ({}, lambda: {"x": X, "labels": Y}),
    "x and y": ({}, lambda: {"x": X, "y": Y}),
    "X and y": ({}, lambda: {"X": X, "y": Y[:, None]}),
    "channels first": ({"layout": "NCT"}, lambda: {"X": X.swapaxes(1, 2), "y": Y}),
    "one channel": ({}, lambda: {"x": X[..., 0], "y": Y}),
    "big-endian": ({}, lambda: {"x": X.astype(">f8"), "labels": Y.astype(">i8")}),
    "lengths as floats": ({}, lambda: {"x": X, "labels": Y, "lengths": np.full(12, 20.0)}),
    "lengths as a column": ({}, lambda: {"x": X, "labels": Y, "lengths": np.full((12, 1), 20)}),
    "few steps": ({"layout": "NTC"}, lambda: {"x": np.tile(X[:, :2], (1, 1, 1)), "labels": Y}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_an_array_of_all_recordings_is_read(tmp_path, name):
    fields, arrays = WINDOWS[name]
    np.savez(tmp_path / "a.npz", **arrays())
    parts = [make(**fields).load(tmp_path / "a.npz", split) for split in ("train", "test")]
    actual = sorted((x.tolist(), int(y)) for part in parts for x, y in zip(part.sequences, part.labels, strict=True))
    expected = X[:, :2] if name == "few steps" else X[..., :1] if name == "one channel" else X
    assert actual == sorted((x.tolist(), int(y)) for x, y in zip(expected, Y, strict=True))


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"x": X.swapaxes(1, 2), "labels": Y}, r"data\.layout"),
        ({"x": X, "labels": Y[:5]}, r"labels.*12.*\(5,\)"),
        ({"x": X, "labels": Y, "lengths": np.full(12, 2.5)}, r"lengths"),
        ({"x": X, "labels": Y, "lengths": np.full(12, np.nan)}, r"lengths"),
        ({"x": X, "labels": Y, "lengths": np.full(12, 21)}, r"lengths.*20"),
        ({"x": X, "labels": Y, "lengths": np.array(["a"] * 12)}, r"lengths"),
        ({"x": X, "labels": Y, "lengths": np.full((6, 2), 3)}, "lengths"),
        ({"x": X[:, 0, 0], "labels": Y}, r"\bx .*\(12,\)"),
        ({"X_train": X, "y_train": Y}, r"labels.*X_train"),
        ({"x": np.array([np.ones((2, 3)), np.ones((4, 3))], dtype=object), "labels": [0, 1]}, r"\bx .*object"),
    ],
)
def test_rejects_inconsistent_arrays(tmp_path, arrays, named):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=named) as error:
        make().load(tmp_path / "a.npz", "train")
    assert "a.npz" in str(error.value)


# ---- tables and other formats --------------------------------------------------------------------------------------
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "a{0}b"])
def test_csv_files_have_a_line_for_each_step(tmp_path, separator, header):
    for label, level in (("low", 0), ("high", 5)):
        (tmp_path / label).mkdir()
        for i in range(3):
            lines = [f"{level + t}{separator}{i}" for t in range(3 + i)]
            (tmp_path / label / f"{i}.csv").write_text(
                "\n".join([*([header.format(separator)] if header else []), *lines])
            )
    part = make(split="file").load(tmp_path, "test")
    assert [x.tolist() for x in part.sequences] == [[[5 + t, 2] for t in range(5)], [[t, 2] for t in range(5)]]


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "1,2\n3\n", "1,2\n3,x\n", "1,x\n2,3\n", ",0,2\n0,5,6\n", "1;2,5\n", "1,nan\n", "\x00\x01"]
)
def test_rejects_tables_without_sequences(tmp_path, text):
    write_folders(tmp_path, ["a", "b"])
    (tmp_path / "a" / "9.csv").write_text(text)
    with pytest.raises(ValueError, match=r"9\.csv"):
        make().load(tmp_path, "train")


TS = """@problemName a
@timestamps false
@univariate false
@dimension 2
@equalLength {}
@classLabel true low high
@data
"""


@pytest.mark.parametrize("equal", [True, False])
def test_ts_files_are_read(tmp_path, equal):
    pytest.importorskip("aeon", reason="the extra data")
    rows = []
    for i in range(6):
        steps = 4 if equal else 3 + i
        rows.append(":".join(",".join(str(float(c * 10 + t)) for t in range(steps)) for c in range(2)))
    lines = [f"{row}:{'high' if i % 2 else 'low'}" for i, row in enumerate(rows)]
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"a_{part}.ts").write_text(TS.format(str(equal).lower()) + "\n".join(lines) + "\n")
    part = make(split=("*_TEST.ts",)).load(tmp_path, "test")
    assert part.label_names == ("high", "low")
    assert part.labels.tolist() == [1, 0] * 3
    assert part.sequences[0].tolist() == [[t, 10 + t] for t in range(4 if equal else 3)]
    (tmp_path / "a_TEST.ts").write_text(TS.format("true") + lines[0] + "\n" + lines[1][:6])
    with pytest.raises(ValueError, match=r"a_TEST\.ts"):
        make(split=("*_TEST.ts",)).load(tmp_path, "test")


# ---- files of tools, and groups ------------------------------------------------------------------------------------
def test_ignores_hidden_files_and_folders(tmp_path):
    write_folders(tmp_path, ["a", "b"])
    for folder in (tmp_path / ".ipynb_checkpoints", tmp_path / "__MACOSX", tmp_path / "a" / ".cache"):
        folder.mkdir()
        np.save(folder / "0.npy", np.ones((2, 7)))
    for name in ("._0.npy", ".tmp.npy", "._0.wav", "._0.csv"):
        (tmp_path / "a" / name).write_bytes(b"\0\5\26\7")
    for name in ("._a.npz", ".a.npz"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    part = make().load(tmp_path, "train")
    assert (part.label_names, len(part.labels)) == (("a", "b"), 4)


def test_files_are_in_natural_order(tmp_path):
    write_folders(tmp_path, ["a", "b"], count=12)  # 2.npy comes before 10.npy
    part = make(split="file").load(tmp_path, "test")
    assert sorted({int(x[0, 0]) for x in part.sequences}) == [8, 9, 10, 11]


def test_groups_are_found_in_names_or_in_an_array(tmp_path):
    write_folders(tmp_path / "folders", ["low", "high"])
    assert make().load(tmp_path / "folders", "train").groups == ()
    groups = make(group_pattern=r"(\d)\.npy").load(tmp_path / "folders", "train").groups
    assert set(groups) <= {"0", "1", "2"}
    assert len(groups) == 4
    for pattern in ("speaker", "(5)?.npy"):
        with pytest.raises(ValueError, match=r"data\.group_pattern.*\.npy"):
            make(group_pattern=pattern).load(tmp_path / "folders", "train")
    np.savez(tmp_path / "a.npz", **ramps(6)[0], labels=list("ababab"), groups=["ann", "bob", "cat"] * 2)
    part = make(split="file").load(tmp_path / "a.npz", "test")
    assert part.groups == ("bob", "cat")


def test_windows_that_overlap_are_reported_unless_they_are_in_one_part(tmp_path, caplog):
    signals = torch.randn(6, 40, 2, generator=torch.Generator().manual_seed(0))
    windows = signals.unfold(1, 16, 8).transpose(2, 3).flatten(0, 1)  # four of each signal, which overlap by half
    arrays = {"x": windows.numpy(), "labels": np.repeat(list("ababab"), 4)}
    np.savez(tmp_path / "a.npz", **arrays, groups=np.repeat(list("uvwxyz"), 4))
    make().load(tmp_path / "a.npz", "train")
    (message,) = caplog.messages
    assert "a.npz" in message
    assert "share steps with the training part" in message
    assert 'data.split = "group"' in message
    caplog.clear()
    for split in ("train", "test"):
        make(split="group").load(tmp_path / "a.npz", split)
    np.savez(
        tmp_path / "b.npz", **{**arrays, "x": windows[::2].repeat(2, 1, 1).mul(torch.arange(24)[:, None, None] + 1)}
    )
    make().load(tmp_path / "b.npz", "train")
    assert not caplog.messages


def write_two_classes(directory):
    for name, value in (("run", 0), ("walk", 1)):
        (directory / name).mkdir()
        for i in range(3):
            np.save(directory / name / f"{i}.npy", np.full((5, 2), value + 10 * i, "float32"))


def test_names_of_classes_are_in_the_order_of_the_folders_or_a_table(tmp_path):
    write_two_classes(tmp_path)

    def names(label_names):
        part = LabelledSequences(name="a", label_names=label_names).load(tmp_path, "train")
        return part.label_names, [float(x[0, 0]) % 10 for x in part.sequences], part.labels.tolist()

    assert names(("run", "walk")) == names(())
    assert names(("Run", "Walk"))[0] == ("Run", "Walk")
    assert names({"walk": "Walking", "run": "Running"})[0] == ("Running", "Walking")
    for wrong in (("walk", "run"), ("Walk", "Run"), ("walk", "sit"), {"walk": "a", "sit": "b"}, {"walk": "a"}):
        with pytest.raises(ValueError, match=r"label_names.*run, walk"):
            names(wrong)
    with pytest.raises(ValueError, match="label_names must differ"):
        LabelledSequences(name="a", label_names={"walk": "a", "run": "a"})


def test_groups_are_stripped_and_a_file_in_two_groups_is_an_error(tmp_path):
    write_two_classes(tmp_path)
    lines = [f"{c}/{i}.npy, s{i} " for c in ("run", "walk") for i in range(3)]
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *lines, "run/0.npy,s0"]))
    data = LabelledSequences(name="a", split="group", group_file="groups.csv")
    assert set(data.load(tmp_path, "test").groups) == {"s2"}
    assert set(LabelledSequences(name="a", split="group", group_pattern=r" ?\d").load(tmp_path, "test").groups) == {"2"}
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *lines, "run/0.npy,s1"]))
    with pytest.raises(ValueError, match=r"run/0\.npy.*two groups"):
        data.load(tmp_path, "test")


def test_the_index_of_a_pandas_csv_is_no_channel(tmp_path):
    def channels(text):
        (tmp_path / "a.csv").write_text(text)
        return read_csv(tmp_path / "a.csv")[0].values.tolist()

    assert channels(",x,y\n0,5.0,6.0\n1,7.0,8.0\n") == [[5, 6], [7, 8]]
    assert channels("x,y\n0,5\n1,7\n") == [[0, 5], [1, 7]]  # a channel that counts
    assert channels(",x\n2020-01-01,5\n2020-01-02,7\n") == [[5], [7]]
    assert channels("0\n1\n") == [[0], [1]]
    assert channels("0,1\n0.5,0.25\n1.0,2.0\n") == [[0.5, 0.25], [1, 2]]  # the names of a DataFrame
    assert channels(",0\n0,5\n1,7\n") == [[5], [7]]
    assert channels("0,1\n2,3\n") == [[0, 1], [2, 3]]


def test_keys_that_do_not_fit_the_data_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=X[..., None], labels=Y)
    for fields, message in (
        ({"layout": "NCT"}, r"data\.layout"),
        ({"split": "group"}, r"a\.npz.*data\.split = .group.*data\.group_pattern"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**fields).load(tmp_path / "a.npz", "train")
    with pytest.raises(ValueError, match=r"data\.front_end\.rate.*'fast'"):
        make(front_end={"rate": "fast"})
