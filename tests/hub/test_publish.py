"""The weights of the package are published and then loaded from the Hub."""

import dataclasses

import pytest
import timm
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from safetensors.torch import load

import convrnn_zoo
from convrnn_zoo import WEIGHTS, HubAccessError, WeightsError, create_model, from_pretrained, push_to_hub
from tests.helpers.hub.examples import assert_same
from tests.helpers.hub.faults import Corrupt
from tests.helpers.hub.records import NAME, carry, hold
from tests.helpers.registry import slow_unless
from tools import weights as tool
from tools.weights import GOLDEN, push_weights

SOME = (NAME, "audio_convrnn.fsdd", "convgru_forecaster.rain")
every_name = pytest.mark.parametrize("name", slow_unless(SOME.__contains__, [NAME, *WEIGHTS]))


@pytest.fixture
def carried(hub, tmp_path, monkeypatch):
    directory = tmp_path / "weights"
    directory.mkdir()
    return carry(directory, monkeypatch)


@every_name
def test_publishes_the_weights_of_the_package(name, hub, carried):
    (done,) = push_weights("alice", name)
    assert done.hub_id == f"alice/{name}"
    repo = hub.store.repos[done.hub_id]
    assert len(repo.commits) == 2
    assert repo.refs["main"] == done.hub_commit
    held = repo.files()
    assert held["model.safetensors"] == carried[name].file.read_bytes()
    model = create_model(name, pretrained=True)
    for other in (from_pretrained(done.hub_id), timm.create_model(f"hf-hub:{done.hub_id}", pretrained=True)):
        assert_same(model, other)
    pair = load(held[GOLDEN])
    with torch.no_grad():
        assert torch.equal(model.eval()(pair["input"]), pair["output"])
    card = ModelCard(held["README.md"].decode())
    assert f"# {name}\n" in card.text
    assert f"hf-hub:{done.hub_id}" in card.text
    (again,) = push_weights("alice", name)
    assert (again.hub_commit, len(repo.commits)) == (done.hub_commit, 2)


@every_name
def test_pretrained_moves_from_the_package_to_the_hub(name, hub, carried, offline, monkeypatch):
    expected = create_model(name, pretrained=True)
    (done,) = push_weights("alice", name)
    hub.store.repos[done.hub_id].commit({"model.safetensors": b"", "config.json": b""})  # main may become anything
    carried[name].file.unlink()
    with pytest.raises(HubAccessError, match=f"^{name}"):
        create_model(name, pretrained=True)
    hold(dataclasses.replace(carried[name], hub_id=done.hub_id, hub_commit=done.hub_commit), monkeypatch)
    for loader in (create_model, timm.create_model):
        assert_same(expected, loader(name, pretrained=True))
    with hub.quiet():
        assert_same(expected, create_model(name, pretrained=True))
    offline()
    assert_same(expected, create_model(name, pretrained=True))


@every_name
def test_a_pinned_file_that_is_another_is_rejected(name, hub, carried, monkeypatch, cache):
    (done,) = push_weights("alice", name)
    carried[name].file.unlink()
    pinned = hold(dataclasses.replace(carried[name], hub_id=done.hub_id, hub_commit=done.hub_commit), monkeypatch)
    files = hub.store.repos[done.hub_id].commits[done.hub_commit]
    sound = files["model.safetensors"]
    files["model.safetensors"] = Corrupt().body(sound)  # the Hub itself vouches for it, the record does not
    hub.store.large.update({convrnn_zoo.pretrained.state_dict.hashlib.sha256(v).hexdigest(): v for v in files.values()})
    for loader in (create_model, timm.create_model):
        with pytest.raises(WeightsError, match=f"{done.hub_commit}.*{pinned.sha256}"):
            loader(name, pretrained=True)
        assert not list(cache.rglob("snapshots/*/model.safetensors"))
    files["model.safetensors"] = sound
    create_model(name, pretrained=True)
    hold(dataclasses.replace(pinned, hub_commit="main"), monkeypatch)
    with pytest.raises(WeightsError, match="hub_commit"):
        create_model(name, pretrained=True)


def test_rejects_unpublishable_weights(hub, carried):
    with pytest.raises(WeightsError, match=f"'none'.*{NAME}"):
        list(push_weights("alice", "none"))
    with pytest.raises(HubAccessError, match=f"bob/{NAME}.*403"):
        list(push_weights("bob", NAME))
    carried[NAME].file.write_bytes(b"")
    with pytest.raises(WeightsError, match=rf"{NAME}.*sha256"):
        list(push_weights("alice", NAME))
    assert not hub.store.repos


def test_the_command_pins_what_it_pushed(hub, carried):
    assert f"{NAME} (pushed)" in CliRunner().invoke(tool.main, ["push", "alice", "--only", NAME, "--pin"]).output
    pinned = convrnn_zoo.WeightsMetadata.from_json(carried[NAME].file.with_suffix(".json").read_text(encoding="utf-8"))
    commit = hub.store.repos[f"alice/{NAME}"].refs["main"]
    assert pinned == dataclasses.replace(carried[NAME], hub_id=f"alice/{NAME}", hub_commit=commit)


def test_a_token_reaches_weights_of_the_zoo_that_are_on_the_hub(hub, carried, monkeypatch):
    record, expected = carried[NAME], create_model(NAME, pretrained=True)
    commit = push_to_hub(expected, "bob/private", private=True, token="hf_bob").oid
    hub.store.repos["bob/private"].commit({"model.safetensors": record.file.read_bytes()})
    commit = hub.store.repos["bob/private"].refs["main"]
    record.file.unlink()
    hold(dataclasses.replace(record, hub_id="bob/private", hub_commit=commit), monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    with pytest.raises(OSError, match="bob/private"):
        from_pretrained(NAME)
    assert_same(expected, from_pretrained(NAME, token="hf_bob"))
    assert "hf_bob" not in repr(vars(from_pretrained(NAME, token="hf_bob")))
