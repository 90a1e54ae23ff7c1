"""A nowcast by probabilities is trained, evaluated and plotted like every forecaster, on a user's radar files."""

import dataclasses
import json

import numpy as np
import pytest

import convrnn_zoo
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import forecaster
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RADAR, blobs
from tests.helpers.train import runs

RECIPE = RADAR.replace("convgru_forecaster.blobs", "convgru_advection.blobs").replace("balanced_light", "exceedance")
RECIPE = RECIPE.replace("hidden_channels = [2, 2]\nkernel_size = 3", "hidden_channels = [3, 4]")


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    directory = tmp_path_factory.mktemp("radar")
    for i in range(2):
        np.save(directory / f"{i}.npy", blobs(seed=i))
    return directory


@pytest.fixture(scope="module")
def trained(radar, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    (directory / "r.toml").write_text(RECIPE)
    run("train", directory / "r.toml", "--data", radar, "-o", directory / "run", "--quiet")
    return directory / "run"


@pytest.mark.slow
def test_weights_state_their_input_and_their_metrics(trained):
    model = convrnn_zoo.from_pretrained(trained)
    assert (model.preprocessing.unit, model.preprocessing.encoding) == ("mm/h", "none")
    assert (model.preprocessing.step, model.preprocessing.inputs) == (5, 3)
    metrics = {m.name: m for m in model.metadata.metrics}
    assert {"MSE", "CSI 2 mm/h", "FSS 2 mm/h", "CRPS", "Brier 2 mm/h"} <= set(metrics)
    assert "last frame" in metrics["CRPS"].baselines
    assert metrics["CRPS"].unit == "mm/h"


@pytest.mark.slow
def test_eval_has_fss_crps_and_reliability_by_lead_time(trained, radar, tmp_path):
    text = run("eval", trained, "--data", radar, "--quiet", "-o", tmp_path / "s.json", "-o", tmp_path / "s.png")
    for metric in ("CSI 0.5 mm/h", "FSS 0.5 mm/h", "CRPS", "Brier 0.5 mm/h"):
        assert metric in text
    scores = json.loads((tmp_path / "s.json").read_text())
    assert len(scores["forecast"]["CRPS"]) == len(scores["zero"]["CRPS"]) == 4
    assert scores["zero"]["CRPS"] == pytest.approx(scores["zero"]["MAE"], rel=1e-4)  # of one member
    diagram = scores["reliability"]["0.5 mm/h"]
    assert len(diagram["forecast"]) == len(diagram["observed"]) == len(diagram["count"]) == 10
    assert sum(diagram["count"]) > 0
    assert (tmp_path / "s.png").stat().st_size > 1000
    fewer = run("eval", trained, "--data", radar, "--quiet", "--members", 0)
    assert "CRPS" not in fewer


@pytest.mark.slow
def test_training_improves_the_probabilities(radar):
    recipe = dataclasses.replace(Recipe.parse(RECIPE), max_steps=30, checkpoint_every=10)
    [clips] = forecaster.load_sequences(recipe, radar, ["train"])
    _, history = runs.train_model(recipe, clips, progress=False)
    assert history[-1]["loss"] < 0.95 * history[0]["loss"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("convgru_advection.blobs", "predrnn_v2.blobs", "exceedance"),
        ('loss = "exceedance"', 'loss = "mse"\nlead_times = 2', "lead_times"),
        ('loss = "exceedance"', 'loss = "exceedance"\nensemble_size = 2', "ensemble_size"),
        ("step = 5\n", "", "data.step"),
    ],
)
def test_keys_that_do_not_apply_are_named(old, new, key, radar, tmp_path):
    text = RECIPE.replace(old, new).replace("hidden_channels = [3, 4]", "")
    (tmp_path / "r.toml").write_text(text)
    message = run("train", tmp_path / "r.toml", "--data", radar, "-o", tmp_path / "run", "--quiet", code=1)
    assert key in message
    assert len(message.splitlines()) == 1


@pytest.mark.needs("symlinks")
def test_a_recipe_extends_another(tmp_path):
    (tmp_path / "base.toml").write_text(RECIPE)
    (tmp_path / "r.toml").write_text('extends = "base.toml"\nlr = 0.5\n[data]\ncrop = 8\n')
    recipe, base = Recipe.read(tmp_path / "r.toml"), Recipe.read(tmp_path / "base.toml")
    assert (recipe.lr, recipe.data.crop, recipe.data.name) == (0.5, 8, base.data.name)
    (tmp_path / "inner").mkdir()
    for link, target in (("link.toml", "inner/base.toml"), ("inner/base.toml", "../base.toml")):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "base.txt").write_text(RECIPE)
    for base in (
        "r.toml",
        "missing.toml",
        "inner/base.toml",
        "inner/../base.toml",
        f"../{tmp_path.name}/base.toml",
        str(tmp_path / "base.toml"),
        "base.txt",
        ".",
        "",
    ):
        (tmp_path / "r.toml").write_text(f'extends = "{base}"')
        with pytest.raises(ValueError, match="extends"):
            Recipe.read(tmp_path / "r.toml")
    (tmp_path / "inner/base.toml").unlink()
    (tmp_path / "inner/base.toml").write_text(RECIPE)
    for text in ('extends = "link.toml"', "extends = 3"):
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(ValueError, match="extends"):
            Recipe.read(tmp_path / "r.toml")
