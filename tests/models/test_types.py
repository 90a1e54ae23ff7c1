"""A user's file passes mypy: what the package's functions return has the types that their users rely on."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import convrnn_zoo

ROOT = Path(convrnn_zoo.__file__).parents[1]
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
if isinstance(model, convrnn_zoo.ConvRNNModel):
    said: list[str] = [p.label for p in model.classify([torch.zeros(7, 1, 8, 8)])]
if tagged.record is not None:
    assert_type(tagged.record.trained_on, str)

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


def mypy(text: str, tmp_path: Path) -> subprocess.CompletedProcess:
    file = tmp_path / "user.py"
    file.write_text(text, encoding="utf-8")
    # The package as it is installed: its own settings do not reach a user, nor do errors inside it.
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT}\nfollow_imports = silent\n")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "user.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="the extra dev")
def test_a_users_file_passes_and_a_wrong_one_does_not(tmp_path):
    done = mypy(USER, tmp_path)
    assert done.returncode == 0, done.stdout
    done = mypy(WRONG, tmp_path)
    assert [line.split(":")[1] for line in done.stdout.splitlines()[:-1] if "error" in line] == ["3", "4", "5"]
