"""Recipes: every key is checked, and resuming lists the differences."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest

from convrnn_zoo.recipes import RECIPES, Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.loop import lock_checkpoint
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, RADAR, RAMPS, VIDEO, blobs, write_ramps
from tests.helpers.train.runs import interrupted
from tests.helpers.train.tiny_recipes import TINY

FORECASTER, CLASSIFIER = (
    {
        "kind": k,
        "weights": "convgru_forecaster.a",
        "data": {"kind": "frames", "name": "a"},
        "description": "d",
        "license": "mit",
        "batch_size": 1,
        "lr": 0.1,
        **more,
    }
    for k, more in (
        ("forecaster", {"inputs": 1, "horizon": 1, "max_steps": 1, "loss": "mse"}),
        ("classifier", {"epochs": 1, "data": {"kind": "sequences", "name": "a"}}),
    )
)
DEEP = ["a = " + "[" * 5000, "a = " + "{a = " * 5000, "kind = 'forecaster'\nmodel" + ".a" * 5000 + " = 1"]
BAD = {
    "max_steps": ("many", "max_steps.* 'many'"),
    "batch_size": (0, "batch_size.* 0"),
    "lr": (-1.0, "lr.* -1.0"),
    "clip_grad_norm": (float("inf"), "clip_grad_norm.* inf"),
    "horizon": (2.5, "horizon.* 2.5"),
    "bf16": (1, "bf16.* 1"),
    "warmup": (2, "warmup.* 2"),
    "cycles": ([1, 0], r"cycles\[1\].* 0"),
    "model": ("deep", "model.* 'deep'"),
    "weights": ("convgru_forecaster", r"weights.*architecture\.tag.* 'convgru_forecaster'"),
    "WEIGHTS": ("convgru_forecaster.x/../../up", "weights.* 'convgru_forecaster.x/../../up'"),
    "description": (" ", "description.*empty"),
    "init_from": (3, "init_from.* 3"),
    "layer_decay": (0, "layer_decay.* 0"),
    "freeze_steps": (True, "freeze_steps.* True"),
    "optimizer": ("adamm", "optimizer.* 'adamm'; did you mean .*"),
    "schedule": ("cosin", "schedule.* 'cosin'.*did you mean cosine.*"),
}


@pytest.mark.parametrize("entry", BAD)
def test_an_invalid_key_is_an_error_of_one_line(entry):
    value, message = BAD[entry]
    with pytest.raises(ValueError, match=f"recipe's {message}$") as error:
        Recipe.of({**FORECASTER, entry.lower(): value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("negatives", "batch_size"), [(0.1, 4), (0.5, 1)])
def test_negatives_that_a_batch_rounds_to_none_are_an_error(negatives, batch_size):
    with pytest.raises(ValueError, match=rf"negatives = {negatives} .*batch_size of {batch_size}"):
        Recipe.of({**CLASSIFIER, "negatives": negatives, "batch_size": batch_size})
    assert Recipe.of({**CLASSIFIER, "negatives": negatives, "batch_size": 6}).negatives == negatives


@pytest.mark.parametrize("entries", [FORECASTER, CLASSIFIER], ids=lambda e: e["kind"])
def test_every_key_rejects_other_types(entries):
    for field in dataclasses.fields(Recipe.of(entries)):
        with pytest.raises(ValueError, match=rf"{field.name}\b.*object"):
            Recipe.of({**entries, field.name: object()})


@pytest.mark.parametrize("text", [*RECIPES, RADAR, VIDEO, RAMPS])
def test_a_written_recipe_parses_to_the_same(text):
    recipe = Recipe.parse(text)
    assert Recipe.parse(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("text", "kinds"),
    [(RADAR, "'frames', 'video', 'moving_mnist"), (RAMPS, "'sequences', 'clips', 'fsdd', 'japanese_")],
)
def test_an_unknown_dataset_is_an_error_that_lists_the_others(text, kinds, tmp_path):
    file = tmp_path / "r.toml"
    head, _, _ = text.partition("[data]")
    head, _, model = head.partition("[model]")
    file.write_text(f'{head}data = "mnist"\n[model]{model}')
    message = run("train", file, "--data", tmp_path, "-o", tmp_path / "run", code=1)
    assert re.search(rf"data\.kind.*{kinds}.*'mnist'", message)
    assert not (tmp_path / "run").exists()


def test_resuming_with_another_recipe_names_the_changed_keys(radar, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(FRAMES)
    interrupted(lambda: train(Recipe.read(file), data=radar, out=tmp_path / "run", progress=False), saves=1)
    file.write_text(FRAMES.replace("lr = 0.01", "lr = 0.02").replace("crop = 16", "crop = 12"))
    message = run("train", file, "--data", radar, "-o", tmp_path / "run", "--quiet", code=1)
    assert "data.crop (16 there, 12 here), lr (0.01 there, 0.02 here), trained_on" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("change", ["another file", "other values"])
def test_a_run_is_not_resumed_with_other_data(change, radar, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(FRAMES)
    command = ["train", file, "--data", radar, "-o", tmp_path / "run", "--quiet"]
    assert run(*command) == run(*command)  # of the same data it is
    np.save(radar / ("2.npy" if change == "another file" else "0.npy"), blobs(seed=7))
    message = run(*command, code=1)
    assert "another run" in message
    assert "trained_on." in message


def test_rejects_objects_that_are_no_recipe(tmp_path):
    with pytest.raises(TypeError, match=r"recipe.*'rain'.*Recipe\.read"):
        train("rain", out=tmp_path / "run")


def test_a_loss_that_is_not_finite_is_an_error_of_one_line(radar, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(FRAMES.replace("lr = 0.01", "lr = 1e38\nclip_grad_norm = 1e38"))
    message = run("train", file, "--data", radar, "-o", tmp_path / "run", "--quiet", code=1)
    assert message.startswith("Error: the loss is ")
    assert "lower lr" in message
    assert len(message.splitlines()) == 1


def test_a_read_only_directory_is_an_error_before_training(radar, tmp_path, monkeypatch):
    file = tmp_path / "r.toml"
    file.write_text(FRAMES)
    (tmp_path / "taken").write_text("")
    message = run("train", file, "--data", radar, "-o", tmp_path / "taken" / "run", "--quiet", code=1)
    assert "taken/run" in message
    readable = os.access  # whoever runs the tests may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and readable(path, mode))
    message = run("train", file, "--data", radar, "-o", tmp_path / "run", "--quiet", code=1)
    assert "may not be written to; choose another -o" in message


def test_recordings_of_python_are_trained_on(tmp_path):
    from convrnn_zoo.data import LabelledSequences

    write_ramps(tmp_path / "r.npz")
    kind = LabelledSequences(name="ramps")
    data = {split: kind.load(tmp_path / "r.npz", split) for split in ("train", "test")}
    record = train(Recipe.parse(RAMPS), data=data, out=tmp_path / "a", progress=False)
    other = train(Recipe.parse(RAMPS), data=tmp_path / "r.npz", out=tmp_path / "b", progress=False)
    assert record == other
    assert json.loads((tmp_path / "a" / "config.json").read_text())["label_names"] == ["falling", "rising"]


# ---- sampling, pools and bugs -----------------------------------------------------------------------------------
SCHEDULED, REVERSE = {"name": "scheduled", "until": 5}, {"name": "reverse_scheduled", "begin": 1, "end": 5, "decay": 2}
BAD_SAMPLING = [
    *[(SCHEDULED, "until", value) for value in (0, -3, "5", 2.5, True, [5])],
    *[(SCHEDULED, "start", value) for value in (-0.1, 1.5, "1", float("nan"))],
    *[(REVERSE, "decay", value) for value in (0, -1.0, "2", float("inf"))],
    *[(REVERSE, "begin", value) for value in (-1, 5, 7, "1")],
    *[(REVERSE, "end", value) for value in (1, 0, "5")],
    *[(SCHEDULED, "name", value) for value in ("some", 3, [])],
]


@pytest.mark.parametrize(("table", "key", "value"), BAD_SAMPLING)
def test_scheduled_sampling_is_checked_when_the_recipe_is_read(table, key, value):
    with pytest.raises(ValueError, match=rf"sampling\.({key}|end)") as error:
        Recipe.of({**FORECASTER, "sampling": {**table, key: value}})
    assert "\n" not in str(error.value)


def test_a_classifier_without_a_pool_is_rejected_when_the_recipe_is_read():
    with pytest.raises(ValueError, match=r"model\.global_pool"):
        Recipe.of({**CLASSIFIER, "weights": "convgru1d_1layer.a", "model": {"global_pool": ""}})


def bug(*args, **kwargs):
    return None + 1


def test_a_bug_in_a_model_is_not_reported_as_an_error_of_the_recipe(monkeypatch):
    monkeypatch.setattr("convrnn_zoo.recipes.recipe.create_model", bug)
    with pytest.raises(TypeError, match="NoneType"):
        Recipe.of(FORECASTER).create_model()


def test_a_bug_in_scheduled_sampling_is_not_reported_as_an_error_of_the_recipe(monkeypatch, digits, tmp_path):
    monkeypatch.setattr("convrnn_zoo.recipes.sampling.Scheduled.__init__", bug)
    with pytest.raises(TypeError, match="NoneType"):
        train(dataclasses.replace(TINY, seeds=1), data=digits, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize("model", [{"hidden_channels": 60_000}, {"num_layers": 10**9}, {"hidden_channels": 10**12}])
def test_a_model_that_does_not_fit_is_rejected_before_it_is_built(model):
    with pytest.raises(ValueError, match="model"):
        Recipe.of({**FORECASTER, "model": model}).create_model()


@pytest.mark.parametrize("width", [0.0, 1e-30, "file", [1.5], [], True])
def test_a_width_that_is_no_integer_is_an_error_of_the_recipe(width):
    with pytest.raises(ValueError, match="hidden_channels"):
        Recipe.of({**FORECASTER, "weights": "predrnn.a", "model": {"hidden_channels": width}}).create_model()


@pytest.mark.parametrize("text", DEEP)
def test_recipes_that_are_nested_deeply_are_invalid(text, tmp_path):
    (tmp_path / "r.toml").write_text(text)
    for read in (Recipe.parse, lambda _: Recipe.read(tmp_path / "r.toml")):
        with pytest.raises(ValueError, match=r"recipe|TOML"):
            read(text)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("video", "size", [60_000, 60_000]),
        ("video", "crop", 10**9),
        ("frames", "crop", 10**9),
        ("frames", "stride", 10**9),
        ("clips", "size", 60_000),
        ("clips", "frame_stride", 10**18),
        ("clips", "max_frames", 10**18),
    ],
)
def test_sizes_of_recipes_are_bounded(kind, key, value):
    recipe = CLASSIFIER if kind == "clips" else FORECASTER
    with pytest.raises(ValueError, match=rf"data\.{key}.* at most"):
        Recipe.of({**recipe, "data": {"kind": kind, "name": "a", key: value}})
    with pytest.raises(ValueError, match=r"workers.* at most"):
        Recipe.of({**recipe, "workers": 10**6})


@pytest.mark.parametrize(("value", "words"), [([0, 0], "different"), ([], "different"), ([-1], r"seeds\[0\]")])
def test_seeds_are_different_numbers(value, words):
    with pytest.raises(ValueError, match=f"seeds.*{words}|{words}"):
        Recipe.read("japanese_vowels", [f"seeds={value}"])


def test_a_dataset_without_a_name_is_an_error():
    class Mine(type(Recipe.read("japanese_vowels").data)):
        pass

    recipe = dataclasses.replace(Recipe.read("japanese_vowels"), data=Mine())
    with pytest.raises(ValueError, match="Mine"):
        recipe.fingerprint()


def test_rejects_a_second_run_into_the_same_directory(radar, tmp_path):
    file, out = tmp_path / "r.toml", tmp_path / "run"
    file.write_text(FRAMES)
    with lock_checkpoint(out / "last.ckpt"):
        message = run("train", file, "--data", radar, "-o", out, "--quiet", code=1)
    assert message == f"Error: another run is writing {out / 'last.ckpt'}; wait for its end, or choose another -o\n"
    assert not (out / "last.ckpt").exists()
    run("train", file, "--data", radar, "-o", out, "--quiet")
    (out / "last.ckpt").write_bytes(b"of the other run")
    with lock_checkpoint(out / "last.ckpt"):  # which is not read until it is locked
        assert run("train", file, "--data", radar, "-o", out, "--quiet", code=1) == message
