"""Training video models on clips in folders: statistics of the encoder, freezing, resuming, prediction."""

import copy
import csv
import dataclasses
import json

import numpy as np
import pytest
import timm
import torch

import convrnn_zoo
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import classifier, train
from tests.helpers.command_line import run
from tests.helpers.data.own_data import CLIPS, write_clips, write_gif
from tests.helpers.train import runs

RECIPE = Recipe.parse(CLIPS)
MEAN = timm.get_pretrained_cfg("test_resnet").mean
"""Other than that of the architecture's default encoder."""


UPDATES = 3
"""Updates in an epoch of 8 clips."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Clips, the recipe, and the repository of a run."""
    root = tmp_path_factory.mktemp("trained")
    write_clips(root / "clips")
    (root / "light.toml").write_text(CLIPS)
    text = run("train", root / "light.toml", "--data", root / "clips", "-o", root / "run", "--quiet")
    assert "lights" in text
    return root


@pytest.fixture(scope="module")
def splits(trained):
    return classifier.load_labelled(RECIPE, trained / "clips")


@pytest.mark.slow
def test_a_run_is_a_repository_with_metadata(trained):
    model = convrnn_zoo.from_pretrained(trained / "run")
    assert model.metadata.task == "video classification"
    assert model.metadata.label_names == ("dark", "light")
    assert tuple(model.pretrained_cfg["mean"]) == MEAN == model.metadata.mean
    assert model.metadata.input_shape == ("T", 3, 16, 16)
    assert "encoder_pretrained" not in (trained / "run" / "config.json").read_text()
    info = run("info", trained / "run")
    for fact in ("lights (CC0 1.0)", "dark, light", "Tells dark from light."):
        assert fact in info
    timms = timm.create_model(f"local-dir:{trained / 'run'}", pretrained=True).eval()
    x = torch.rand(2, 3, 3, 16, 16)
    assert torch.equal(timms(x, lengths=[3, 1]), model.eval()(x, lengths=[3, 1]))


@pytest.mark.slow
def test_predict_reads_every_form_of_clip_as_the_recipe_says(trained, tmp_path):
    rows = json.loads(run("predict", trained / "run", trained / "clips" / "light", "--json"))
    clips = [trained / "clips" / "light" / name for name in ("00.npy", "01.gif", "02", "03.npy", "04.gif", "05")]
    assert [row["file"] for row in rows] == [str(clip) for clip in clips]
    assert {row["prediction"] for row in rows} == {"light"}
    clip = np.full((2, 3, 20, 40), 200, dtype="uint8")
    clip[1] = 220  # a GIF has no two frames that are alike
    np.save(tmp_path / "a.npy", clip)
    write_gif(tmp_path / "a.gif", clip.transpose(0, 2, 3, 1))
    array, gif = json.loads(run("predict", trained / "run", tmp_path / "a.npy", tmp_path / "a.gif", "--json"))
    model = convrnn_zoo.from_pretrained(trained / "run")
    (expected,) = model.classify([torch.from_numpy(clip[..., :16, :16] / 255)])
    assert array["probabilities"] == pytest.approx(expected.probabilities, rel=1e-4)
    assert gif["probabilities"] == pytest.approx(expected.probabilities, rel=1e-2)
    assert "a.npy" in run("predict", trained / "run", tmp_path / "a.npy")
    convrnn_zoo.save_pretrained(
        convrnn_zoo.create_model("video_convrnn", num_classes=2, **RECIPE.model), tmp_path / "b"
    )
    plain = convrnn_zoo.from_pretrained(tmp_path / "b")
    (expected,) = plain.classify([torch.from_numpy(clip / 255)])  # without a recipe clips are not resized
    assert f"{expected.probability:.3f}" in run("predict", tmp_path / "b", tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=clip[None] / 255, lengths=[2])
    assert "a.npz:0" in run("predict", tmp_path / "b", tmp_path / "a.npz")


def test_eval_writes_the_confusion_matrix(trained, tmp_path):
    args = ("eval", trained / "run", "--data", trained / "clips")
    text = run(*args, "-o", tmp_path / "a.json", "-o", tmp_path / "a.csv")
    assert json.loads(run(*args, "--json")) == json.loads((tmp_path / "a.json").read_text())
    scores = json.loads((tmp_path / "a.json").read_text())
    counts = np.array(scores["confusion"]["counts"])
    assert counts.sum(1).tolist() == [2, 2]
    assert scores["confusion"]["classes"] == ["dark", "light"]
    assert scores["prediction"]["accuracy"] == pytest.approx([100 * counts.trace() / counts.sum()])
    assert list(scores["recall"].values()) == pytest.approx(100 * counts.diagonal() / counts.sum(1))
    assert f"{scores['prediction']['accuracy'][0]:.2f} %" in text
    assert convrnn_zoo.from_pretrained(trained / "run").metadata.metrics[0].value == scores["prediction"]["accuracy"][0]
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["true class", "dark", "light"]
    assert [[int(n) for n in row[1:]] for row in rows] == counts.tolist()
    for name in ("a.png", "a.svg"):
        run(*args, "-o", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    assert "a.pdf" in run(*args, "-o", tmp_path / "a.pdf", code=1)


def test_a_frozen_encoder_does_not_change(splits, monkeypatch):
    changes_by_epoch = []

    class Watched(classifier.ClassifierTrainer):
        def batches(self, done, skip):
            before = before_training.setdefault(self, copy.deepcopy(self.model.state_dict()))
            yield from super().batches(done, skip)
            changed = {k for k, v in self.model.state_dict().items() if not torch.equal(v, before[k])}
            changes_by_epoch.append({k.partition(".")[0] for k in changed})

    before_training = {}
    monkeypatch.setattr(classifier, "ClassifierTrainer", Watched)
    model = runs.train_one(
        dataclasses.replace(RECIPE, epochs=2, freeze_steps=UPDATES), 0, *splits, progress=False
    ).model
    assert changes_by_epoch == [{"rnns", "head"}, {"encoder", "rnns", "head"}]
    assert not model.encoder.is_fixed
    held = {**RECIPE.model, "freeze_encoder": True}
    changes_by_epoch.clear()
    model = runs.train_one(
        dataclasses.replace(RECIPE, epochs=2, freeze_steps=UPDATES, model=held), 0, *splits, progress=False
    )
    assert changes_by_epoch == [{"rnns", "head"}] * 2
    assert model.model.encoder.is_fixed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": dataclasses.replace(RECIPE.data, size=3)}, r"test_resnet.*4×4.*\(3, 3\)"),
        ({"weights": "convgru1d_1layer.a", "model": {}}, r"convgru1d_1layer.*\(T, C\).*\(1, 3, 16, 16\)"),
        ({"weights": "utae_convgru.a", "model": {}}, "utae_convgru"),
        ({"model": {"encoder": "no_such_net"}}, "model.*'no_such_net'"),
        ({"model": {"encoders": "resnet18"}}, "model.*'encoders'"),
    ],
)
def test_invalid_recipes_are_named(trained, tmp_path, changes, words):
    recipe = dataclasses.replace(RECIPE, epochs=1, **changes)
    with pytest.raises(ValueError, match=words):
        train(recipe, data=trained / "clips", out=tmp_path, progress=False)
