"""Splits keep what those of scikit-learn keep: classes in their shares, groups and files in one part, time in order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn_zoo.data import ArrayFrames, Frames, LabelledSequences, split_in_time
from convrnn_zoo.data.datasets.splits import assign_parts, select_per_class
from convrnn_zoo.data.readers.sequences import Recording

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)
PARTS = ("train", "validation", "test")
fractions = st.sampled_from([0.0, 0.1, 0.25, 0.5])


@st.composite
def recordings(draw):
    """Recordings of four groups or more in files of two or three classes, in any order."""
    groups = draw(st.lists(st.integers(0, 99), min_size=4, max_size=6, unique=True))
    files = [(f"{group}_{i}.npz", f"{group}") for group in groups for i in range(draw(st.integers(1, 2)))]
    labels = draw(st.sampled_from([["a", "b"], ["a", "b", "c"]]))
    made = [
        Recording(file, f"r{i}", None, label, group)
        for file, group in files
        for i, label in enumerate(labels * draw(st.integers(1, 2)))
    ]
    return draw(st.permutations(made))


def parts_of(made, **fields):
    data = LabelledSequences(name="a", **fields)
    parts = {part: data.select(made, part) for part in PARTS}
    if not data.validation:
        assert not parts.pop("validation")
    assert sorted(i for indices in parts.values() for i in indices) == list(range(len(made)))  # each in one part
    return parts


def is_split_of_groups(indices, groups):
    from sklearn import model_selection as sklearn

    """Whether scikit-learn's splits that leave out as many groups have one with this test part."""
    held_out = len({groups[i] for i in indices})
    splits = sklearn.LeavePGroupsOut(held_out).split(groups, groups=groups)
    return any(test.tolist() == sorted(indices) for _, test in splits)


@given(recordings(), fractions, st.sampled_from(["file", "group"]))
@PROPERTY
def test_groups_and_files_are_in_one_part(made, validation, split):
    made = sorted(made, key=lambda r: r.file)
    parts = parts_of(made, split=split, validation=validation)
    units = [getattr(r, split) for r in made]
    assert is_split_of_groups(parts["test"], units)
    count = len(set(units))
    assert len({units[i] for i in parts["test"]}) == max(1, round(count / 3))
    if validation:
        others = sorted(parts["train"] + parts["validation"])
        places = [others.index(i) for i in parts["validation"]]
        assert is_split_of_groups(places, [units[i] for i in others])
    if split == "group":  # in the order of the numbers
        largest = [max(int(units[i]) for i in indices) for indices in parts.values()]
        assert largest == sorted(largest)


@given(recordings(), fractions)
@PROPERTY
def test_classes_have_the_shares_of_scikit_learn(made, validation):
    from sklearn import model_selection as sklearn

    made = 3 * made  # a third of a class is a whole number
    labels = np.array([ord(r.label) - ord("a") for r in made])
    parts = parts_of(made, validation=validation)
    (rest, test), *_ = sklearn.StratifiedShuffleSplit(1, test_size=1 / 3).split(labels, labels)
    assert np.bincount(labels[parts["test"]]).tolist() == np.bincount(labels[test]).tolist()
    if validation:
        shares = np.bincount(labels[parts["validation"]]) / np.bincount(labels[rest])
        assert abs(shares - validation).max() <= 1 / np.bincount(labels[rest]).min()
    assert parts == parts_of(made, validation=validation)  # the seed is fixed


@given(st.integers(3, 40), st.integers(0, 4), fractions)
@PROPERTY
def test_frames_are_split_in_order_of_time(thirds, inputs, validation):
    from sklearn import model_selection as sklearn

    count = 3 * thirds
    frames = Frames(path=Path("a"), array=np.arange(count, dtype="float32")[:, None, None], times=np.arange(count))
    parts = {p: split_in_time(frames, p, inputs, validation).read(0, None)[:, 0, 0, 0].tolist() for p in PARTS}
    *_, (before, after) = sklearn.TimeSeriesSplit(2).split(np.arange(count))
    assert parts["test"] == [*before[len(before) - inputs :], *after]  # the inputs of its first forecast precede it
    assert parts["train"] + parts["validation"][inputs:] == before.tolist() or not validation
    if validation:
        _, held_out = sklearn.train_test_split(before, test_size=max(1, round(len(before) * validation)), shuffle=False)
        assert parts["validation"][-len(held_out) :] == held_out.tolist()


@given(st.sets(st.integers(0, 30), min_size=3), fractions, st.data())
@PROPERTY
def test_names_of_a_list_are_the_test_part(numbers, validation, data):
    from sklearn import model_selection as sklearn

    names = [f"{n}.npy" for n in sorted(numbers)]
    tested = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=len(names) - 2))
    folds = [0 if name in tested else -1 for name in names]
    ((before, test),) = sklearn.PredefinedSplit(folds).split()
    parts = np.array(assign_parts(names, tuple(tested), validation))
    assert np.flatnonzero(parts == "test").tolist() == test.tolist()
    assert [parts[i] for i in before] == sorted(parts[before])  # training, then validation


@given(st.integers(3, 9), st.sampled_from(["file", "group"]))
@settings(PROPERTY, max_examples=10)
def test_files_of_frames_are_split_by_their_names(count, split):
    fields = {"group_pattern": r"^(\d+)_"} if split == "group" else {}
    numbers = np.repeat(np.arange(count), 2)  # two files of each group
    array = np.zeros((4, 2, 2), "float32")
    files = [Frames(path=Path("a"), array=array, name=f"{n}_{i}.npy") for i, n in enumerate(numbers)]
    data = ArrayFrames(name="a", split=split, **fields)
    names = [[f.name for f in data.select(files, Path("a"), part)] for part in ("train", "test")]
    assert names[0] + names[1] == [f.name for f in files]
    units = numbers if split == "group" else np.arange(len(files))
    assert is_split_of_groups(range(len(names[0]), len(files)), units)
    assert len(names[1]) == (2 * max(1, round(count / 3)) if split == "group" else max(1, round(len(files) / 3)))


def test_the_last_files_of_a_class_are_the_test():
    made = [Recording(f"{label}{i}.npz", "", None, label) for label in "ab" for i in range(9)]
    assert [made[i].file for i in parts_of(made, split="file")["test"]] == [
        f"{label}{i}.npz" for label in "ab" for i in (6, 7, 8)
    ]
    with pytest.raises(ValueError, match="three recordings"):
        LabelledSequences(name="a").select(made[::9], "train")


def test_a_class_of_two_files_is_divided_by_examples_and_one_of_three_by_files() -> None:
    files = ["1", "1", "1", "2", "2", "2"]
    assert select_per_class(["a"] * 6, lambda n: n // 3, files) == {4, 5}
    assert select_per_class(["a"] * 6, lambda n: n // 3, ["1", "2", "2", "2", "3", "3"]) == {4, 5}
    assert select_per_class(["a"] * 6, lambda n: n // 3, ["1", "1", "2", "2", "2", "3"]) == {5}
