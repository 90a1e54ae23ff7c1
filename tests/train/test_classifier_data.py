"""Classifiers are trained on labelled sequences from Python and from files of windows; invalid data are named first."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RAMPS, ramps

RECIPE = dataclasses.replace(Recipe.parse(RAMPS), epochs=1)


def recordings(dtype="float32", count=12):
    arrays, _ = ramps(count)
    return [x.astype(dtype) for x in arrays.values()]


LABELS = [0, 1] * 6
EXPECTED = Labelled([torch.from_numpy(x) for x in recordings()], torch.tensor(LABELS), ("falling", "rising"))
SAME = {
    "arrays": lambda: EXPECTED._replace(sequences=recordings()),
    "float64": lambda: EXPECTED._replace(sequences=recordings("float64")),
    "big-endian": lambda: EXPECTED._replace(sequences=recordings(">f4")),
    "reversed": lambda: EXPECTED._replace(sequences=[x[::-1].copy()[::-1] for x in recordings()]),
    "tuple": lambda: EXPECTED._replace(sequences=tuple(recordings())),
    "read when indexed": lambda: EXPECTED._replace(sequences=Lazy(recordings("float64"))),
    "int32 labels": lambda: EXPECTED._replace(labels=torch.tensor(LABELS, dtype=torch.int32)),
    "labels as an array": lambda: EXPECTED._replace(labels=np.array(LABELS, dtype="uint8")),
    "labels as a list": lambda: EXPECTED._replace(labels=LABELS),
    "labels as a column of floats": lambda: EXPECTED._replace(labels=np.array(LABELS, dtype="float64")[:, None]),
    "names as a list": lambda: EXPECTED._replace(label_names=["falling", "rising"]),
}


class Lazy:
    """A map-style Dataset."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("expected")
    return train(RECIPE, data={"train": EXPECTED, "test": EXPECTED}, out=out, progress=False)


@pytest.mark.parametrize("name", SAME)
def test_data_of_every_form_train_the_same_weights(name, expected, tmp_path):
    data = SAME[name]()
    record = train(RECIPE, data={"train": data, "test": data}, out=tmp_path, progress=False)
    if name != "read when indexed":  # whose mean is summed in another order
        assert record.sha256 == expected.sha256
    assert record.label_names == expected.label_names


def spoiled(i, x):
    return [x if i == j else y for j, y in enumerate(recordings())]


BAD = {
    "mixed sizes": (lambda: EXPECTED._replace(sequences=spoiled(3, np.ones((4, 5)))), r"sequences\[3\] \(4, 5\)"),
    "NaN": (lambda: EXPECTED._replace(sequences=spoiled(3, np.full((4, 3), np.nan))), r"sequences\[3\].*NaN"),
    "empty": (lambda: EXPECTED._replace(sequences=spoiled(3, np.ones((0, 3)))), r"sequences\[3\]"),
    "words": (lambda: EXPECTED._replace(sequences=spoiled(3, np.array([["a"]]))), r"sequences\[3\].*real numbers"),
    "classes beyond the names": (lambda: EXPECTED._replace(labels=[0, 2] * 6), "class number 2.*falling, rising"),
    "negative": (lambda: EXPECTED._replace(labels=[0, -1] * 6), "labels.*from 0"),
    "fractions": (lambda: EXPECTED._replace(labels=[0.5, 1.0] * 6), "labels"),
    "words as labels": (lambda: EXPECTED._replace(labels=["a", "b"] * 6), "labels"),
    "one-hot": (lambda: EXPECTED._replace(labels=np.eye(12)), r"label.*\(12, 12\)"),
    "few labels": (lambda: EXPECTED._replace(labels=[0, 1]), r"12 sequences.*\(2,\)"),
    "duplicate names": (lambda: EXPECTED._replace(label_names=("a", "a")), "label_names"),
    "few groups": (lambda: EXPECTED._replace(groups=("a",)), "group"),
    "none": (lambda: EXPECTED._replace(sequences=[], labels=[]), "0 sequences"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_data_are_named_before_the_first_update(name, tmp_path):
    make, message = BAD[name]
    with pytest.raises((TypeError, ValueError), match=message):
        train(RECIPE, data={"train": make(), "test": make()}, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_parts_that_do_not_belong_together_are_rejected(tmp_path):
    other = {
        "names": EXPECTED._replace(label_names=("rising", "falling")),
        "channels": EXPECTED._replace(sequences=[x[:, :2] for x in recordings()]),
        "class number": EXPECTED._replace(label_names=(), labels=[0, 5] * 6),
    }
    for name, test in other.items():
        first = EXPECTED._replace(label_names=()) if name == "class number" else EXPECTED
        with pytest.raises(ValueError, match=name if name != "names" else "falling, rising.*rising, falling"):
            train(RECIPE, data={"train": first, "test": test}, out=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="'test'"):
        train(RECIPE, data={"train": EXPECTED}, out=tmp_path / "run", progress=False)
    with pytest.raises(TypeError, match="Labelled"):
        train(RECIPE, data={"train": recordings(), "test": recordings()}, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize("layout", ["NTC", "NCT"])
def test_windows_are_trained_evaluated_and_predicted_in_one_layout(layout, tmp_path):
    rng = np.random.default_rng(0)
    x = (np.array([-1, 1] * 6)[:, None, None] + 0.1 * rng.normal(size=(12, 2, 5))).astype("float32")
    x = x if layout == "NTC" else x.swapaxes(1, 2)
    np.savez(tmp_path / "train.npz", X=x, y=["low", "high"] * 6)
    np.savez(tmp_path / "new.npz", x=x[:2])
    recipe = RAMPS + f'layout = "{layout}"\n'
    (tmp_path / "a.toml").write_text(recipe)
    run("train", tmp_path / "a.toml", "--data", tmp_path / "train.npz", "-o", tmp_path / "run", "--quiet")
    assert "100.00 %" in run("eval", tmp_path / "run", "--data", tmp_path / "train.npz")
    rows = json.loads(run("predict", tmp_path / "run", tmp_path / "new.npz", "--json"))
    assert [(row["recording"], row["prediction"]) for row in rows] == [("0", "low"), ("1", "high")]
