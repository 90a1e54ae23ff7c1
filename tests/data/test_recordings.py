"""Recordings of one's own: archives with labels, folders a class, sound; divided in parts, and refused with a word."""

import dataclasses

import numpy as np
import pytest
import torch

from convrnn_zoo import LogMel, create_model
from convrnn_zoo.cli._sequences import read_sequences
from convrnn_zoo.data import OwnSequences, sequences_of

from .own_data import ramps, write_ramps

KIND = OwnSequences(name="ramps")


def test_an_archive_is_read_and_divided_in_every_class(tmp_path):
    recordings, labels = ramps()
    write_ramps(tmp_path / "a.npz")
    train, test = (KIND.load(tmp_path / "a.npz", split) for split in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (16, 8)
    assert train.labels.bincount().tolist() == [8, 8]
    assert test.label_names == ("falling", "rising")
    known = {recordings[k].tobytes(): label for k, label in zip(recordings, labels, strict=True)}
    for part in (train, test):
        for x, y in zip(part.sequences, part.labels, strict=True):
            assert known.pop(x.numpy().tobytes()) == part.label_names[y]
    assert not known
    x, lengths, _ = train.batch([0, 1, 2])
    assert x.shape == (3, int(lengths.max()), 3)


def test_a_class_that_is_not_tested_is_told(tmp_path, caplog):
    recordings, _ = ramps(7)
    np.savez(tmp_path / "a.npz", **recordings, labels=["a"] * 6 + ["b"])
    KIND.load(tmp_path / "a.npz", "train")
    assert not caplog.messages
    KIND.load(tmp_path / "a.npz", "test")
    assert caplog.messages == [f"{tmp_path / 'a.npz'}: the test part has no recording of b"]


def test_the_last_of_every_class_of_a_file_alone(tmp_path):
    recordings, _ = ramps()
    write_ramps(tmp_path / "a.npz")
    test = dataclasses.replace(KIND, split="file").load(tmp_path / "a.npz", "test")
    assert all(np.array_equal(x, recordings[f"r{i}"]) for i, x in enumerate(test.sequences, 16))


def test_labels_may_be_numbers_and_have_words(tmp_path):
    recordings, _ = ramps(12)
    np.savez(tmp_path / "a.npz", labels=np.array([10, 9, 2] * 4), **recordings)
    assert KIND.load(tmp_path / "a.npz", "test").label_names == ("2", "9", "10")
    named = dataclasses.replace(KIND, label_names=("two", "nine", "ten"))
    assert named.load(tmp_path / "a.npz", "test").label_names == ("two", "nine", "ten")
    with pytest.raises(ValueError, match="expected 2 classes, got 3: 2, 9, 10"):
        dataclasses.replace(KIND, label_names=("a", "b")).load(tmp_path / "a.npz", "test")


def test_padded_recordings_with_lengths_are_cut(tmp_path):
    lengths = np.array([2, 4, 3] * 4)
    np.savez(tmp_path / "a.npz", x=np.ones((12, 4, 5)), lengths=lengths, labels=["a", "b", "c"] * 4)
    train = KIND.load(tmp_path / "a.npz", "train")
    assert {(len(x), int(y)) for x, y in zip(train.sequences, train.labels, strict=True)} == {(2, 0), (4, 1), (3, 2)}


def test_a_list_names_recordings_or_files_of_the_test(tmp_path):
    write_ramps(tmp_path / "a.npz")
    kind = dataclasses.replace(KIND, split=("r0[0-3]",))
    assert len(kind.load(tmp_path / "a.npz", "test").labels) == 4
    write_ramps(tmp_path / "b.npz", count=6)
    assert len(dataclasses.replace(KIND, split=("b.npz",)).load(tmp_path, "test").labels) == 6
    assert len(dataclasses.replace(KIND, split="file").load(tmp_path, "train").labels) == 24
    with pytest.raises(ValueError, match=r"which is not among a\.npz, b\.npz"):
        dataclasses.replace(KIND, split=("c.npz",)).load(tmp_path, "test")


def test_a_folder_a_class_of_arrays(tmp_path):
    recordings, labels = ramps(12)
    for (name, x), label in zip(recordings.items(), labels, strict=True):
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{name}.npy", x)
    assert len(KIND.load(tmp_path, "train").labels) == 8


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


def test_sound_is_resampled_and_heard_alike_in_training_and_in_use(tones):
    pytest.importorskip("soxr", reason="the extra sound")
    data, rest = (KIND.load(tones, split) for split in ("train", "test"))
    assert data.front_end == rest.front_end == LogMel(rate=8000)
    assert {tuple(x.shape[1:]) for x in data.sequences + rest.sequences} == {(40, 1)}
    loudest = {
        (int(x.mean(0).argmax()), int(y)) for d in (data, rest) for x, y in zip(d.sequences, d.labels, strict=True)
    }
    assert len(loudest) == 2  # whatever the rate of the file
    model = create_model("convgru1d_1layer", in_chans=40, hidden_channels=2, kernel_size=1, num_classes=2)
    model.front_end = data.front_end
    (found,) = read_sequences(tones / "400" / "2.wav", model)
    assert any(torch.equal(found.x, x) for x in data.sequences + rest.sequences)
    with pytest.raises(ValueError, match=r"2\.wav is sound, and nobody has said how this model hears"):
        read_sequences(tones / "400" / "2.wav", create_model("convgru1d_1layer"))


def test_how_sound_is_heard_is_said_in_the_recipe(tones):
    kind = sequences_of({"kind": "sequences", "name": "tones", "sound": {"rate": 4000, "bands": 10}})
    assert kind.load(tones, "train").front_end == LogMel(rate=4000, bands=10)
    given = LogMel(rate=8000, hop=0.01)
    assert kind.load(tones, "test", given).front_end == given
    with pytest.raises(ValueError, match=r"the recipe's data\.sound: rate must be a whole number|rate"):
        sequences_of({"kind": "sequences", "name": "tones", "sound": {"rate": "fast"}})


def test_sound_that_cannot_be_read_is_named(tones):
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    for write, message in (
        (lambda p: p.write_bytes(b"RIFFbroken"), r"9\.wav is not a sound file that can be read"),
        (lambda p: p.write_bytes(b""), r"9\.wav is not a sound file that can be read"),
        (lambda p: soundfile.write(p, np.zeros(0), 8000), r"9\.wav holds no sound"),
        (lambda p: soundfile.write(p, np.full(9, np.nan), 8000, subtype="FLOAT"), r"9\.wav holds NaN or Inf"),
    ):
        write(tones / "400" / "9.wav")
        with pytest.raises(ValueError, match=message):
            KIND.load(tones, "train")


def fine():
    return dict(ramps(6)[0])


BAD = {
    "lengths": (lambda: {"x": np.ones((2, 3, 4)), "lengths": [3, 4], "labels": ["a", "b"]}, "lengths from 1 to 3"),
    "no labels": (fine, "expected an array labels of 6, one a recording in their order, got none"),
    "few labels": (lambda: {**fine(), "labels": ["a", "b"]}, r"labels of 6, .*, got \(2,\)"),
    "no word": (lambda: {**fine(), "labels": ["a", "", "a", "b", "b", "b"]}, "r01 has no label; give it one"),
    "NaN for a label": (lambda: {**fine(), "labels": [0, 1, 0, 1, 0, np.nan]}, "r05 has no label; give it one"),
    "no numbers": (lambda: {**fine(), "labels": np.array([None] * 6)}, "none of NumPy's, or holds Python objects"),
    "words": (lambda: {"a": np.array(["x"]), "labels": ["a"]}, "a.npz:a: expected real numbers"),
    "NaN": (lambda: {**fine(), "r00": np.full((3, 3), np.nan), "labels": list("ababab")}, "r00: holds NaN or Inf"),
    "empty": (lambda: {**fine(), "r00": np.zeros((0, 3)), "labels": list("ababab")}, r"got \(0, 3\)"),
    "shapes": (lambda: {**fine(), "r05": np.zeros((3, 4)), "labels": list("ababab")}, r"r00 .* and a.npz:r05 \(3, 4\)"),
    "one class": (lambda: {**fine(), "labels": ["a"] * 6}, "expected two or more classes, got 1: a"),
    "few": (lambda: {"a": np.ones((2, 3)), "b": np.ones((2, 3)), "labels": ["a", "b"]}, "no class has three"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_archives_that_will_not_do_are_told_in_a_line(name, tmp_path):
    make, message = BAD[name]
    np.savez(tmp_path / "a.npz", **make())
    with pytest.raises(ValueError, match=message) as error:
        KIND.load(tmp_path, "train")
    assert "\n" not in str(error.value)


def test_broken_files_and_paths_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.npz file, and no folder for each class"):
        KIND.load(tmp_path, "train")
    (tmp_path / "a.npz").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"a\.npz: not a valid \.npz file of numbers"):
        KIND.load(tmp_path, "train")
    for path, words in ((None, "pass --data"), (tmp_path / "no", "does not exist")):
        with pytest.raises(FileNotFoundError, match=words):
            KIND.load(path, "train")
    write_ramps(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.npz"):
        KIND.load(tmp_path, "train")
    with pytest.raises(ValueError, match=r"data\.kind must be one of sequences, clips, fsdd, .*, got 'songs'"):
        sequences_of({"kind": "songs"})
    with pytest.raises(ValueError, match=r"data\.split must be one of random, file, got 'time'"):
        sequences_of({"kind": "sequences", "name": "a", "split": "time"})
