"""Tests of `convrnn-zoo predict` for classifiers."""

import json

import numpy as np
import pytest

from convrnn_zoo import create_model, save_pretrained
from convrnn_zoo.cli.demo import CLASSIFIER as NAME
from convrnn_zoo.cli.demo import SAMPLE
from tests.helpers.command_line import run


@pytest.fixture
def recording(tmp_path):
    with np.load(SAMPLE) as sample:
        np.save(tmp_path / "one.npy", sample["x"][7, : sample["lengths"][7], :, 0])
    return tmp_path / "one.npy"


def test_predict_prints_a_table_or_json(recording):
    assert "speaker 2" in run("predict", NAME, recording)
    (row,) = json.loads(run("predict", NAME, recording, "--json"))
    assert row["file"] == str(recording)
    assert sum(row["probabilities"].values()) == pytest.approx(1)
    assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["prediction"]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_predict_computes_in_half_precision(recording, dtype):
    (exact,) = json.loads(run("predict", NAME, recording, "--json"))
    (half,) = json.loads(run("predict", NAME, recording, "--json", "--dtype", dtype))
    assert half["prediction"] == exact["prediction"]
    assert 0 < abs(half["probability"] - exact["probability"]) < 0.05
    assert "int8" in run("predict", NAME, recording, "--dtype", "int8", code=2)


def test_a_batch_of_unequal_lengths_equals_single_sequences(recording, tmp_path):
    with np.load(SAMPLE) as sample:
        x, lengths = sample["x"], sample["lengths"]
    each = {f"r{i}": x[i, :n] for i, n in enumerate(lengths[:6])}
    np.savez(tmp_path / "many.npz", **each)
    together = json.loads(run("predict", NAME, tmp_path / "many.npz", SAMPLE, "--json"))
    assert len(together) == 6 + len(lengths)
    for i, (key, x) in enumerate(each.items()):
        np.save(tmp_path / f"{key}.npy", x)
        (alone,) = json.loads(run("predict", NAME, tmp_path / f"{key}.npy", "--json"))
        assert (together[i]["file"], together[i]["recording"]) == (str(tmp_path / "many.npz"), key)
        assert together[i]["probability"] == pytest.approx(alone["probability"], abs=1e-5)
        assert together[6 + i]["probability"] == pytest.approx(alone["probability"], abs=1e-5)


@pytest.mark.parametrize("shapes", [[(5, 8, 8)], [(5, 3, 8, 8), (5, 3, 8, 9)]])
def test_advice_is_for_the_command(shapes, tmp_path):
    model = create_model("convgru2d_1layer", in_chans=3, hidden_channels=2, num_classes=2)
    save_pretrained(model, tmp_path / "run")
    files = [tmp_path / f"{i}.npy" for i in range(len(shapes))]
    for file, shape in zip(files, shapes, strict=True):
        np.save(file, np.zeros(shape, "float32"))
    error = run("predict", tmp_path / "run", *files, code=1)
    assert "8" in error
    assert not any(python in error for python in ("[x]", "batch_size", "list", "model."))


def broken(path):
    path.write_bytes(b"\x93NUMPY broken")


BAD_FILES = {
    "kind.txt": (lambda p: p.write_text("1 2 3"), ".npy, .npz"),
    "missing.npy": (lambda p: None, "missing.npy"),
    "broken.npy": (broken, ".npy file"),
    "pickle.npy": (lambda p: np.save(p, np.array([{}], dtype=object), allow_pickle=True), ".npy file"),
    "words.npy": (lambda p: np.save(p, np.array(["a"])), "real numbers"),
    "empty.npz": (lambda p: np.savez(p), "contains no array"),
    "channels.npy": (lambda p: np.save(p, np.zeros((5, 3, 1))), "(5, 3, 1)"),
    "no_steps.npy": (lambda p: np.save(p, np.zeros((0, 12, 1))), "(0, 12, 1)"),
    "nan.npy": (lambda p: np.save(p, np.full((5, 12, 1), np.nan)), "NaN"),
    "lengths.npz": (lambda p: np.savez(p, x=np.zeros((2, 3, 12, 1)), lengths=[3, 4]), "lengths (2,)"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_invalid_file_is_an_error_of_one_line_that_names_it(name, tmp_path):
    make, message = BAD_FILES[name]
    make(tmp_path / name)
    text = run("predict", NAME, tmp_path / name, code=1)
    assert message in text
    assert name in text
    assert "Traceback" not in text


def test_a_config_is_not_overwritten_under_another_form_of_its_address(recording, tmp_path):
    save_pretrained(create_model(NAME, pretrained=True), tmp_path / "run")
    name = f"local-dir:{tmp_path / 'run'}"
    assert "overwritten" in run("predict", name, recording, "-o", tmp_path / "run" / "config.json", code=1)
