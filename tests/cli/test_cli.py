"""The command line as a stranger meets it."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import convrnn_zoo
from convrnn_zoo import _extras
from convrnn_zoo.cli import _group, main
from convrnn_zoo.cli._text import columns, format_metric
from convrnn_zoo.cli.demo import CLASSIFIER as NAME
from convrnn_zoo.cli.demo import SAMPLE
from convrnn_zoo.interop import SOURCES
from convrnn_zoo.pretrained import registry
from convrnn_zoo.pretrained.builder import build_model
from convrnn_zoo.pretrained.published import PUBLISHED
from tests.command_line import run

RECORD = convrnn_zoo.WEIGHTS[NAME]


@pytest.fixture
def recording(tmp_path):
    sample = np.load(SAMPLE)
    np.save(tmp_path / "one.npy", sample["x"][7, : sample["lengths"][7], :, 0])
    return tmp_path / "one.npy"


@pytest.mark.parametrize("command", _group.cli.commands)
def test_every_command_has_help_with_its_arguments_told(command):
    text = run(command, "--help")
    params = [p for p in _group.cli.commands[command].params if p.param_type_name == "option"]
    assert len(text.splitlines()) > 5
    assert all(getattr(p, "help", None) for p in params)


def test_the_group_tells_what_there_is():
    text = run("--help")
    assert all(name in text for name in _group.cli.commands)
    assert convrnn_zoo.__version__ in run("--version")


def test_list():
    assert run("list").split() == convrnn_zoo.list_models()
    assert run("list", "convgru2d_bi*").split() == convrnn_zoo.list_models("convgru2d_bi*")
    pretrained = run("list", "--pretrained")
    assert all(w in pretrained for w in convrnn_zoo.WEIGHTS)
    assert f"{RECORD.metrics[0].value:g} %" in pretrained
    assert "no name matches 'xyz'" in run("list", "xyz", code=1)


@pytest.mark.parametrize("name", [*convrnn_zoo.list_models(), *convrnn_zoo.WEIGHTS])
def test_info_of_every_name(name):
    facts = json.loads(run("info", name, "--json"))
    model = convrnn_zoo.create_model(name, device="meta")
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["licence"] == "mit"


@pytest.mark.parametrize("name", PUBLISHED)
def test_info_tells_of_weights_that_lie_elsewhere(name):
    text, record = run("info", name), PUBLISHED[name]
    for fact in (record.where, record.form, record.license, record.command, record.checked, record.unchecked):
        assert fact in text
    source, file, *options = record.convert.split()
    assert source in SOURCES
    assert run("convert", source, file, *options, "-o", "there", code=1).count("no such file") == 1


def test_info_of_weights_is_the_record():
    text = run("info", NAME)
    for fact in (f"{RECORD.num_params:,}", RECORD.dataset, RECORD.dataset_url, RECORD.license, RECORD.sha256):
        assert fact in text
    assert all(m.name in text for m in RECORD.metrics)
    assert "did you mean" in run("info", "convlstm2d_4layer", code=1)


@pytest.mark.parametrize(
    ("args", "suggestion"),
    [
        (["predct"], "predict"), (["infos"], "info"), (["list", "convgru_forcaster"], "convgru_forecaster"),
        (["info", "convgru_forcaster"], "convgru_forecaster"), (["predict", "a", "b", "--dtype", "flaot16"], "float16"),
        (["predict", "a", "b", "--hrizon", "3"], "--horizon"), (["convert", "irne", "a.pth", "-o", "a"], "irene"),
        (["convert", "a.pth", "-o", "a", "--source", "kears"], "keras"),
        (["export", "a", "-o", "a.onnx", "--form", "steps"], "step"),
    ],
)  # fmt: skip
def test_a_misspelt_word_is_answered_with_a_suggestion(args, suggestion):
    done = CliRunner().invoke(_group.cli, args)
    assert done.exit_code in (1, 2)
    assert re.search(rf"did you mean [^?]*'?{suggestion}", done.output, re.IGNORECASE)


def test_info_of_a_network_that_takes_no_device(monkeypatch):
    class Tiny(torch.nn.Module):
        def __init__(self, in_chans=3, num_classes=2):
            super().__init__()
            self.feature_info, self.head = [], torch.nn.Linear(in_chans, 2)

    def tiny_network(pretrained=False, **kwargs):
        return build_model(Tiny, "tiny_network", pretrained, **kwargs)

    registry.register_model(cfg={"input_size": (3, 8, 8)})(tiny_network)
    try:
        facts = json.loads(run("info", "tiny_network", "--json"))
    finally:
        registry._ARCHITECTURES.pop("tiny_network")
    assert facts["parameters"] == 8
    assert facts["input"] == ["N", "T", 3, "H", "W"]


def test_a_single_run_has_no_spread():
    metric = dataclasses.replace(RECORD.metrics[0], mean=97.0, std=0.0, runs=1)
    assert "±" in format_metric(dataclasses.replace(metric, runs=3))
    assert "±" not in format_metric(metric)


def test_predict_a_table_and_json(recording):
    assert "speaker 2" in run("predict", NAME, recording)
    (found,) = json.loads(run("predict", NAME, recording, "--json"))
    assert found["file"] == str(recording)
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["probability"] == max(found["probabilities"].values()) == found["probabilities"][found["prediction"]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_predict_in_half_precision(recording, dtype):
    (exact,) = json.loads(run("predict", NAME, recording, "--json"))
    (half,) = json.loads(run("predict", NAME, recording, "--json", "--dtype", dtype))
    assert half["prediction"] == exact["prediction"]
    assert 0 < abs(half["probability"] - exact["probability"]) < 0.05
    assert "int8" in run("predict", NAME, recording, "--dtype", "int8", code=2)


@pytest.mark.parametrize(("value", "dtype"), [(3e38, "float32"), (7e4, "float16")])
def test_a_class_without_a_probability_is_an_error(value, dtype, tmp_path):
    np.save(tmp_path / "large.npy", np.full((9, 12), value, "float32"))
    text = run("predict", NAME, tmp_path / "large.npy", "--json", "--dtype", dtype, code=1)
    assert "large.npy" in text
    assert dtype in text


def test_predict_many_of_unequal_length_as_each_alone(recording, tmp_path):
    sample = np.load(SAMPLE)
    each = {f"r{i}": sample["x"][i, :n] for i, n in enumerate(sample["lengths"][:6])}
    np.savez(tmp_path / "many.npz", **each)
    together = json.loads(run("predict", NAME, tmp_path / "many.npz", SAMPLE, "--json"))
    assert len(together) == 6 + len(sample["lengths"])
    for i, (key, x) in enumerate(each.items()):
        np.save(tmp_path / f"{key}.npy", x)
        (alone,) = json.loads(run("predict", NAME, tmp_path / f"{key}.npy", "--json"))
        assert (together[i]["file"], together[i]["recording"]) == (str(tmp_path / "many.npz"), key)
        assert together[i]["probability"] == pytest.approx(alone["probability"], abs=1e-5)
        assert together[6 + i]["probability"] == pytest.approx(alone["probability"], abs=1e-5)


def broken(path):
    path.write_bytes(b"\x93NUMPY broken")


BAD_FILES = {
    "kind.txt": (lambda p: p.write_text("1 2 3"), "kind.txt: expected a file of .npy, .npz"),
    "missing.npy": (lambda p: None, "No such file"),
    "broken.npy": (broken, "not a valid .npy"),
    "pickle.npy": (lambda p: np.save(p, np.array([{}], dtype=object), allow_pickle=True), "not a valid .npy"),
    "words.npy": (lambda p: np.save(p, np.array(["a"])), "real numbers"),
    "empty.npz": (lambda p: np.savez(p), "contains no array"),
    "channels.npy": (lambda p: np.save(p, np.zeros((5, 3, 1))), r"expected a sequence (T, 12, L), got (5, 3, 1)"),
    "no_steps.npy": (lambda p: np.save(p, np.zeros((0, 12, 1))), "got (0, 12, 1)"),
    "nan.npy": (lambda p: np.save(p, np.full((5, 12, 1), np.nan)), "NaN or Inf"),
    "lengths.npz": (lambda p: np.savez(p, x=np.zeros((2, 3, 12, 1)), lengths=[3, 4]), "expected lengths (2,)"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_will_not_do_are_named_in_one_line(name, tmp_path):
    make, message = BAD_FILES[name]
    make(tmp_path / name)
    text = run("predict", NAME, tmp_path / name, code=1)
    assert message in text
    assert name in text
    assert "Traceback" not in text


def test_a_model_without_classes_or_weights_is_refused(recording):
    assert "no pretrained weights" in run("predict", "convgru2d_1layer", recording, code=1)


def test_the_demo_shows_truth_prediction_probability_and_accuracy():
    text = run("demo")
    rows = [line for line in text.splitlines() if line[:1].isdigit() and "speaker" in line]
    assert len(rows) == 45
    right = sum("wrong" not in r for r in rows)
    assert f"accuracy {right}/45" in text
    assert right >= 42


def test_the_module_and_the_command_are_one():
    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-W", "ignore:Implicitly cleaning up:ResourceWarning",  # of torch 2.6 itself
            "-m", "convrnn_zoo", "list", "convrnn1d*",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == convrnn_zoo.list_models("convrnn1d*")
    assert done.stderr == ""


def test_a_missing_extra_says_which_install_mends_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"click is needed .* pip install 'convrnn-zoo\[cli\]'"):
        main()
    monkeypatch.undo()
    with pytest.raises(ImportError, match=r"pip install 'convrnn-zoo\[train\]'"):
        _extras.need("a_package_that_is_not_there", "train")


def test_columns_of_nothing():
    assert columns([]) == ""
