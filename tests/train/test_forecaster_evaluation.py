"""The final evaluation of forecasters: its packages are there before training, and it follows the weights."""

import dataclasses
import sys

import pytest
import torch

import convrnn_zoo
from convrnn_zoo.data import ArrayFrames
from convrnn_zoo.train import forecaster, train
from tests.helpers.train.tiny_recipes import PLAIN

NOISE = dataclasses.replace(PLAIN, data=ArrayFrames(name="noise"), max_steps=2)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_weights_are_written_before_their_evaluation(error, tmp_path, monkeypatch):
    common = {"data": {split: list(torch.rand(4, 6, 1, 8, 8)) for split in ("train", "test")}, "out": tmp_path}
    with monkeypatch.context() as patched:
        patched.setattr(forecaster, "evaluate", lambda *args, **kwargs: (_ for _ in ()).throw(error))
        with pytest.raises(error):
            train(NOISE, **common, progress=False)
    model = convrnn_zoo.from_pretrained(tmp_path)
    assert (model.metadata.name, model.metadata.metrics) == (NOISE.weights, ())
    assert model.forecast(torch.rand(3, 8, 8)).shape == (3, 8, 8)
    weights = train(NOISE, **common, progress=False)  # resumes
    again = convrnn_zoo.from_pretrained(tmp_path).metadata
    assert again == weights
    assert again.sha256 == model.metadata.sha256
    assert {"MSE", "MAE"} <= {m.name for m in again.metrics}
    assert "MAE" in (tmp_path / "README.md").read_text()


def test_a_missing_package_of_the_evaluation_is_found_before_training(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    clips = {split: list(torch.rand(4, 6, 1, 8, 8)) for split in ("train", "test")}
    with pytest.raises(ImportError, match=r"torchmetrics.*pip install 'convrnn-zoo\[train\]'"):
        train(NOISE, data=clips, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_sequences_without_a_known_input_are_neither_shown_nor_scored(tmp_path):
    train_clips, test_clips = torch.rand(4, 6, 1, 8, 8), torch.rand(18, 6, 1, 8, 8)
    recipe = dataclasses.replace(NOISE, test_sequences=18)
    train_clips[0, :3], test_clips[16:, :3] = torch.nan, torch.nan  # the figure's, and a batch of the evaluation
    data = {"train": list(train_clips), "test": list(test_clips)}
    weights = train(recipe, data=data, out=tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob("update*.png"))
    known = train(recipe, data={**data, "test": data["test"][:16]}, out=tmp_path / "known", progress=False)
    errors, expected = (
        [dataclasses.replace(m, split="") for m in w.metrics if m.name in ("MSE", "MAE")] for w in (weights, known)
    )
    assert errors == expected != []
    with pytest.raises(ValueError, match=r"noise.*2 sequences.*no known"):
        train(recipe, data={**data, "test": data["test"][16:]}, out=tmp_path / "none", progress=False)
