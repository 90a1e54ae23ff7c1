"""Runs that start from other weights: another head, other channels, a frozen trunk, learning rates by depth."""

import dataclasses
import logging
import re
import tomllib

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.data import CustomSequences, Labelled
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import classifier, train
from convrnn_zoo.train import forecaster as training
from convrnn_zoo.train.task import frozen_parameters
from tests.helpers.data.own_data import FRAMES, RAMPS, blobs, write_ramps
from tests.helpers.train import runs
from tests.helpers.train.runs import same
from tests.helpers.train.tiny_recipes import PLAIN
from tests.train.test_optim import adam

UPDATES = 3
"""Updates in an epoch of 12 sequences."""


@pytest.fixture
def run(tmp_path):
    write_ramps(tmp_path / "r.npz")
    train(Recipe.parse(RAMPS), data=tmp_path / "r.npz", out=tmp_path / "run", progress=False)
    return tmp_path / "run"


def split(channels, classes, count=12):
    generator = torch.Generator().manual_seed(channels)
    sequences = [torch.randn(4 + i % 3, channels, 1, generator=generator) for i in range(count)]
    return Labelled(sequences, torch.arange(count) % classes, tuple("abcdef"[:classes]))


def test_another_head_and_other_channels_keep_what_fits(run, caplog):
    recipe = dataclasses.replace(Recipe.parse(RAMPS), init_from=str(run), epochs=1, lr=1e-12)
    old = convrnn_zoo.from_pretrained(run).state_dict()
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        model = runs.train_one(recipe, 0, split(5, 3), split(5, 3), progress=False).model
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(re.search(r"\b3 channels.* 5\b", message) for message in warnings)
    assert "head" in caplog.text
    new = model.state_dict()
    assert new["head.weight"].shape == (3, 4)
    torch.testing.assert_close(new["rnn.weight_hh_l0"], old["rnn.weight_hh_l0"])
    adapted = old["rnn.weight_ih_l0"][:, torch.arange(5) % 3] * (3 / 5)
    torch.testing.assert_close(new["rnn.weight_ih_l0"], adapted)


def test_the_trunk_waits_for_the_head(run):
    recipe = dataclasses.replace(Recipe.parse(RAMPS), init_from=str(run), epochs=2, freeze_steps=2 * UPDATES)
    old = convrnn_zoo.from_pretrained(run).state_dict()

    def trained(**changes):
        changed = dataclasses.replace(recipe, **changes)
        return runs.train_one(changed, 0, split(3, 3), split(3, 3), progress=False).model.state_dict()

    frozen, thawed = trained(), trained(freeze_steps=UPDATES)
    assert all(torch.equal(v, old[k]) for k, v in frozen.items() if k.startswith("rnn."))
    assert not torch.equal(thawed["rnn.weight_hh_l0"], old["rnn.weight_hh_l0"])
    head = runs.train_one(
        dataclasses.replace(recipe, epochs=1, freeze_steps=0), 0, split(3, 3), split(3, 3), progress=False
    )
    assert not torch.equal(frozen["head.weight"], head.model.state_dict()["head.weight"])


def test_learning_rates_fall_with_depth():
    model = convrnn_zoo.create_model("convgru1d_3layer", in_chans=2, hidden_channels=4, num_classes=2)
    rates = {id(p): g["lr"] for g in adam(model, 0.1, layer_decay=0.5).param_groups for p in g["params"]}
    of = {n: rates[id(p)] for n, p in model.named_parameters()}
    assert of["head.weight"] == pytest.approx(0.1)
    layers = [of[f"rnn.weight_hh_l{i}"] for i in range(3)]
    assert layers == sorted(layers)
    assert layers[0] < layers[1] < layers[2] <= 0.1
    assert of["rnn.weight_ih_l0"] <= layers[0]
    with pytest.raises(ValueError, match=r"layer_decay.*optimizers other than muon"):
        dataclasses.replace(PLAIN, layer_decay=0.5, optimizer="muon")
    assert [group["lr"] for group in adam(model, 0.1).param_groups] == [0.1]


def test_a_forecaster_starts_from_an_earlier_run_and_with_other_channels(tmp_path, caplog):
    np.save(tmp_path / "a.npy", blobs())
    recipe = Recipe.parse(FRAMES)
    train(recipe, data=tmp_path / "a.npy", out=tmp_path / "run", progress=False)
    old = convrnn_zoo.from_pretrained(tmp_path / "run")
    for start in ("run", "run/metadata.json"):
        assert same(training.build(dataclasses.replace(recipe, init_from=str(tmp_path / start)), 1), old)
    with caplog.at_level(logging.WARNING):
        wider = training.build(dataclasses.replace(recipe, init_from=str(tmp_path / "run")), 2)
    assert "2 channels" in caplog.text
    unchanged = [k for k, v in wider.state_dict().items() if v.shape == old.state_dict()[k].shape]
    assert all(torch.equal(wider.state_dict()[k], old.state_dict()[k]) for k in unchanged)
    assert 3 < len(unchanged) < len(old.state_dict())
    wide = dataclasses.replace(
        recipe, init_from=str(tmp_path / "run"), model={"hidden_channels": [3, 3], "kernel_size": 3}
    )
    with pytest.raises(ValueError, match=r"encoder\.weight_ih_l0 \(6, 16, 3, 3\) for \(9, 16, 3, 3\)"):
        training.build(wide, 1)
    with pytest.raises(ValueError, match=r"init_from must be weights of predrnn, got .* of convgru_forecaster"):
        training.build(dataclasses.replace(PLAIN, weights="predrnn.tiny", init_from=str(tmp_path / "run"), model={}), 1)
    frozen = dataclasses.replace(recipe, init_from=str(tmp_path / "run"), freeze_steps=3)
    record = train(frozen, data=tmp_path / "a.npy", out=tmp_path / "next", progress=False)
    now = convrnn_zoo.from_pretrained(tmp_path / "next").state_dict()
    moved = {k for k, v in now.items() if not torch.equal(v, old.state_dict()[k])}
    assert moved == {k for k in now if k.startswith("head.")}
    assert f'init_from = "{tmp_path / "run"}"' in record.recipe


@pytest.mark.parametrize(("classes", "state"), [(("run", "walk"), "kept"), (("run", "walk", "sit"), "random")])
def test_a_head_of_other_classes_is_a_warning(run, classes, state, caplog):
    recipe = dataclasses.replace(Recipe.parse(RAMPS), init_from=str(run))
    same_classes = split(3, 2)._replace(
        label_names=tuple(convrnn_zoo.from_pretrained(run).pretrained_cfg["label_names"])
    )
    with caplog.at_level(logging.WARNING, "convrnn_zoo"):
        classifier.build(recipe, same_classes)
        assert not caplog.text
        classifier.build(recipe, split(3, len(classes))._replace(label_names=classes))
    assert "run, walk" in caplog.text
    assert state in caplog.text


def test_weights_whose_variables_are_in_another_order_are_rejected(tmp_path):
    data = {"kind": "frames", "name": "a", "variables": ["rain", "wind"], "static": ["height"]}
    table = {**tomllib.loads(FRAMES), "data": data}
    recipe = Recipe.of(table)
    clips = [torch.rand(recipe.inputs + recipe.horizon, 3, 16, 16) for _ in range(4)]
    train(recipe, data={"train": clips, "test": clips[:1]}, out=tmp_path / "run", progress=False)

    def build(**roles):
        changed = Recipe.of({**table, "init_from": str(tmp_path / "run"), "data": {**data, **roles}})
        return training.build(changed, 3, CustomSequences(clips))

    build()
    build(variables=["rain", "gusts"])  # a new variable in the place of another one
    for roles in ({"variables": ["wind", "rain"]}, {"variables": ["wind", "gusts"]}):
        with pytest.raises(ValueError, match=r"variables.*rain, wind"):
            build(**roles)


@pytest.mark.parametrize("name", convrnn_zoo.list_models("*_*_1layer") + convrnn_zoo.list_models("*[!r]"))
def test_every_network_has_a_head_to_train_first(name):
    model = convrnn_zoo.create_model(name, device="meta")
    if not isinstance(model, convrnn_zoo.Forecaster):
        model.reset_classifier(2)
    frozen, names = (
        {id(p) for p in frozen_parameters(model, init_from="weights")},
        {n: id(p) for n, p in model.named_parameters()},
    )
    trainable = {n for n, p in model.named_parameters() if id(p) not in frozen and p.requires_grad}
    assert trainable
    assert frozen
    if any(n.startswith("head.") for n in names):
        assert all(n.startswith(("head.", "adapter.")) for n in trainable)
