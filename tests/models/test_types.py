"""Types that users' type checkers infer."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.docs.pages import ROOT, blocks

# According to torch's types, torch.hub.load returns an object that is not callable, for any repository.
README = [b.code for b in blocks(ROOT / "README.md") if b.language == "python" and "torch.hub.load" not in b.code]
USER = """
import timm
import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import convrnn_zoo

model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=32, num_classes=5)
assert_type(model, convrnn_zoo.ZooModel)
logits: Tensor = model(torch.randn(2, 7, 1, 8, 8), lengths=[7, 4])
scaled: Tensor = model.normalize(torch.randn(2, 7, 1, 8, 8))
features, state = model.forward_sequence(torch.randn(2, 1, 1, 8, 8), None)
classes: int = model.num_classes
assert_type(model.in_chans, int)
label: str = model.pretrained_cfg["label_names"][int(logits[0].argmax())]
parameters = sum(p.numel() for p in model.eval().parameters())
module: nn.Module = model.to("cpu")

loaded = convrnn_zoo.from_pretrained("me/rain", revision="main", token=False)
assert_type(loaded, convrnn_zoo.ZooModel)
if isinstance(loaded, convrnn_zoo.Forecaster):
    assert_type(loaded.horizon, int)
    forecast: Tensor = loaded(torch.randn(1, 4, 1, 64, 64), horizon=12)
if isinstance(loaded, convrnn_zoo.ConvRNNModel):
    assert_type(loaded.normalize(torch.randn(1, 4, 1, 64, 64)), Tensor)
pyramid = convrnn_zoo.create_model("convgru2d_3layer", features_only=True)
assert_type(pyramid, nn.Module)
assert_type(convrnn_zoo.from_pretrained("me/rain", features_only=True), nn.Module)
tagged = convrnn_zoo.create_model("convgru_forecaster", pretrained="rain")
assert_type(tagged, convrnn_zoo.ZooModel)
if isinstance(tagged, convrnn_zoo.Forecaster):
    assert_type(tagged.forecast(torch.zeros(4, 8, 8)), Tensor)
    if tagged.preprocessing is not None:
        assert_type(tagged.preprocessing.unit, str)
other = convrnn_zoo.from_pretrained("me/gestures")
if isinstance(other, convrnn_zoo.ConvRNNModel):
    said: list[str] = [p.label for p in other.classify([torch.zeros(7, 1, 8, 8)])]
if tagged.metadata is not None:
    assert_type(tagged.metadata.trained_on, str)

path = convrnn_zoo.save_pretrained(model, "rain")
url: str = convrnn_zoo.push_to_hub(model, "me/rain", card={"license": "mit"}).commit_url
record = convrnn_zoo.WEIGHTS["convgru_forecaster.rain"]
assert_type(record.metrics[0].value, float)
with convrnn_zoo.size_limit(2**33):
    assert_type(convrnn_zoo.load_weights(model, path / "model.safetensors"), convrnn_zoo.ZooModel)
layer = convrnn_zoo.Conv2dLSTM(1, 8, 3)
names: list[str] = convrnn_zoo.list_models("conv*")
converted = convrnn_zoo.interop.load("torch", nn.LSTM(4, 8).state_dict())
"""
WRONG = """
import convrnn_zoo
convrnn_zoo.create_model(3)
convrnn_zoo.create_model("convgru2d_1layer").num_classes + "x"
convrnn_zoo.nothing
"""


@pytest.fixture
def files(tmp_path):
    """A directory with what users write, and one file that is wrong."""
    for name, text in {"user": USER, "wrong": WRONG, **{f"readme_{i}": code for i, code in enumerate(README)}}.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path


def run(directory: Path, module: str, *args: str) -> str:
    command = [sys.executable, "-m", module, *args]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="the extra dev")
def test_mypy_accepts_user_code_and_rejects_errors(files, pytestconfig):
    # As for an installed package, whose settings and internal errors do not affect users.
    (files / "mypy.ini").write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT}\nfollow_imports = silent\n")
    names = sorted(file.name for file in files.glob("*.py"))
    cache = pytestconfig.cache.mkdir("mypy")  # what did not change, torch above all, is checked once
    output = run(files, "mypy", "--config-file", "mypy.ini", "--cache-dir", str(cache), *names)
    errors = [line.split(":")[:2] for line in output.splitlines()[:-1] if " error: " in line]
    assert errors == [["wrong.py", "3"], ["wrong.py", "4"], ["wrong.py", "5"]], output


@pytest.mark.slow
def test_pyright_accepts_user_code_and_rejects_errors(files):
    pytest.importorskip("basedpyright", reason="the extra dev")  # pyright, with all that it runs on
    settings = {"typeCheckingMode": "standard", "include": ["*.py"], "extraPaths": [str(ROOT)]}
    (files / "pyrightconfig.json").write_text(json.dumps(settings))
    observed = json.loads(run(files, "basedpyright", "--outputjson", "--pythonpath", sys.executable))
    assert observed["summary"]["filesAnalyzed"] == len(README) + 2
    errors = [
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1, d["message"])
        for d in observed["generalDiagnostics"]
        if d["severity"] == "error"
    ]
    assert [error[:2] for error in errors] == [("wrong.py", line) for line in (3, 4, 5)], errors
