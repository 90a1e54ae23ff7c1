"""The loop and the recipes: resuming, rejected recipes, and an end-to-end run of a tiny recipe."""

import dataclasses
import json

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsMetadata
from convrnn_zoo.data import FRAME_DATASETS, LABELLED_DATASETS, to_table
from convrnn_zoo.data.datasets.speech import JapaneseVowels
from convrnn_zoo.recipes import RECIPES, Recipe
from convrnn_zoo.train import classifier, train
from convrnn_zoo.train.classifier import compute_statistics
from tests.helpers.train import runs
from tests.helpers.train.runs import sha256
from tests.train.test_loop import CLASSIFIER, ramps

TINY = dataclasses.replace(CLASSIFIER, seeds=(0, 1), epochs=6, noise=0.01, augment={})
DATA = {"train": ramps(0), "test": ramps(1)}


def test_a_channel_that_never_changes_is_not_scaled(caplog):
    still = [torch.cat([x, torch.full_like(x[:, :1], 7.1)], 1) for x in DATA["train"].sequences]
    for sequences in (still, tuple(still)):  # at once, and one at a time
        mean, std = compute_statistics(DATA["train"]._replace(sequences=sequences))
        assert (mean[-1], std[-1]) == (pytest.approx(7.1), 1)
        assert 0 < min(std) < 1
        assert caplog.messages[0].startswith("channel 3 ")
        caplog.clear()


def test_rejects_checkpoints_of_other_runs_and_damaged_ones(tmp_path):
    path = tmp_path / "a.ckpt"
    runs.train_one(TINY, 0, *DATA.values(), checkpoint=path, progress=False)
    with pytest.raises(ValueError, match=r"a\.ckpt.*seeds \(0 .*1 "):
        runs.train_one(TINY, 1, *DATA.values(), checkpoint=path, progress=False)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.ckpt.*damaged"):
        runs.train_one(TINY, 0, *DATA.values(), checkpoint=path, progress=False)


def test_a_recipe_writes_weights_that_load_with_correct_metadata(tmp_path, capsys):
    record = train(dataclasses.replace(TINY, epochs=30), data=DATA, out=tmp_path, progress=True)
    assert "seed 1" in capsys.readouterr().err
    assert WeightsMetadata.from_json((tmp_path / "metadata.json").read_text(encoding="utf-8")) == record
    assert record.metrics[0].value == 100
    assert record.metrics[0].baselines == {"commonest class": 50}
    assert sha256(tmp_path / "model.safetensors") == record.sha256
    model = convrnn_zoo.from_pretrained(tmp_path)
    assert model.metadata == record
    assert classifier.accuracy(model, DATA["test"]) == 1


def test_weights_for_the_zoo_are_two_files_by_their_name(tmp_path):
    record = train(TINY, data=DATA, out=tmp_path / "out", into=tmp_path / "into", progress=False)
    assert sorted(p.name for p in (tmp_path / "into").iterdir()) == [
        f"{record.name}.json",
        f"{record.name}.safetensors",
    ]
    assert sha256(tmp_path / "into" / f"{record.name}.safetensors") == record.sha256


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_package_are_complete(name):
    recipe = Recipe.read(name)
    assert to_table(recipe.data)["kind"] in {**LABELLED_DATASETS, **FRAME_DATASETS}
    assert recipe.architecture in convrnn_zoo.list_models()
    assert recipe.name == name


@pytest.mark.parametrize("name", convrnn_zoo.WEIGHTS)
def test_weights_of_the_package_are_those_of_their_recipe(name):
    record = convrnn_zoo.WEIGHTS[name]
    recipe = Recipe.read(record.recipe)
    assert recipe.weights == name
    assert record.model_args.items() >= json.loads(json.dumps(dict(recipe.model))).items()


def test_invalid_recipes_name_the_error(tmp_path):
    file = tmp_path / "r.toml"
    with pytest.raises(FileNotFoundError, match=r"'nothing'.*japanese_vowels"):
        Recipe.read("nothing")
    file.write_text("= 1")
    with pytest.raises(ValueError, match=r"r\.toml.*TOML"):
        Recipe.read(file)
    file.write_text("epochs = 1")
    with pytest.raises(ValueError, match=r"r\.toml.*\bkind\b.* None"):
        Recipe.read(file)
    file.write_text("kind = 'classifier'\nepochs = 1\nepoch = 2")
    with pytest.raises(ValueError, match=r"(?s)\bepoch\b.*\bepochs\b.*\bweights\b"):
        Recipe.read(file)


def test_a_directory_without_the_data_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"JapaneseVowels_TEST\.ts.*timeseriesclassification"):
        JapaneseVowels().load(tmp_path, "test")


def test_the_demos_file_holds_recordings_of_the_test_split():
    numpy = pytest.importorskip("numpy", reason="the extra cli")
    from convrnn_zoo.cli.demo import SAMPLE

    with numpy.load(SAMPLE) as file:
        shipped = dict(file)
    test = JapaneseVowels().load(None, "test")
    x, lengths, labels = test.batch([int(i) for c in range(9) for i in (test.labels == c).nonzero()[:5]])
    for name, values in {"x": x, "lengths": lengths, "labels": labels}.items():
        assert numpy.array_equal(shipped[name], values), name
    assert len(set(shipped["lengths"].tolist())) > 5
