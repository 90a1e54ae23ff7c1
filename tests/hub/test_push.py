"""An impossible push reports the reason, sends nothing, and leaves no incomplete repository."""

import re

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import ConvRNNModel, HubAccessError, WeightsError, from_pretrained, push_to_hub
from convrnn_zoo.layers import Conv1dGRU
from tests.helpers.hub import api
from tests.helpers.hub.examples import assert_same, make
from tests.helpers.hub.faults import Reset, Status


def nan():
    model = make()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    return model


def pruned():
    model = make("convgru1d_2layer")
    model.prune_intermediate_layers([0])
    return model


UNFIT = {
    "NaN": (nan, "head.bias.*NaN"),
    "built without a name": (lambda: ConvRNNModel(Conv1dGRU, 2, 3), "ConvRNNModel.*create_model"),
    "changed since": (pruned, "convgru1d_2layer.*hidden_channels"),
}
CARDS = {
    "pipeline": ({"license": "mit", "task": "x", "tags": [3]}, "tags"),
    "licence": ({"license": "mine"}, "license"),
    "words": ({"licence": "mit"}, "license"),
    "no metadata": ("Just words.", "license"),
}


@pytest.mark.parametrize(("model", "words"), UNFIT.values(), ids=UNFIT)
def test_a_model_that_cannot_be_saved_is_not_pushed(model, words, hub):
    with hub.quiet(), pytest.raises(WeightsError, match=words):
        push_to_hub(model(), "alice/unfit")


@pytest.mark.parametrize(("card", "words"), CARDS.values(), ids=CARDS)
def test_an_invalid_card_is_not_pushed(card, words, hub):
    with pytest.raises(WeightsError, match=words):
        push_to_hub(make(), "alice/card", card=card)
    assert not hub.store.repos
    assert not hub.asked("/preupload/"), "something was sent"


def test_rejects_pushes_without_permission(hub, monkeypatch):
    hub.store.create("bob/theirs")
    hub.store.create("bob/secret", private=True)
    with pytest.raises(HubAccessError, match="bob/secret"):
        push_to_hub(make(), "bob/secret")
    for repo in ("bob/theirs", "bob/new"):
        with pytest.raises(HubAccessError, match=f"{repo}.*403.*settings/tokens"):
            push_to_hub(make(), repo)
    with pytest.raises(HubAccessError, match=r"401.*hf auth login"):
        push_to_hub(make(), "alice/stale", token="hf_expired")
    monkeypatch.setenv("HF_TOKEN", "")
    with hub.quiet(), pytest.raises(HubAccessError, match=r"hf auth login.*HF_TOKEN"):
        push_to_hub(make(), "alice/none")
    assert set(hub.store.repos) == {"bob/theirs", "bob/secret"}


BREAKS = {
    "storage": (Status(403), "PUT", "/[0-9a-f]{64}", "403"),
    "verify": (Status(422), "POST", "/verify", "422"),
    "commit rejected": (Status(400), "POST", "/commit/", "400"),
    "commit conflict": (Status(412), "POST", "/commit/", "412"),
    "commit fails": (Status(500), "POST", "/commit/", "500"),
    "preupload": (Status(400), "POST", "/preupload/", "400"),
}


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("way", BREAKS.values(), ids=BREAKS)
def test_a_push_that_fails_leaves_the_repository_as_it_was_or_empty(way, there, hub):
    fault, method, path, words = way
    if there:
        push_to_hub(make(num_classes=4), "alice/half")
        before = dict(hub.store.repos["alice/half"].commits)
    hub.fail(fault, method, path)
    with pytest.raises(HubAccessError, match=f"alice/half.*{words}"):
        push_to_hub(make(), "alice/half")
    hub.recover()
    if there:
        assert hub.store.repos["alice/half"].commits == before
    else:
        assert set(hub.store.repos["alice/half"].files()) <= {".gitattributes"}
    assert not hub.asked("/api/repos/delete")
    push_to_hub(make(), "alice/half")
    assert_same(make(), from_pretrained("alice/half"))


@pytest.mark.parametrize("fault", [Status(500), Reset(0)], ids=repr)
def test_retries_a_failed_push_once(fault, hub):
    hub.fail(fault, "POST", "/commit/", times=1)
    push_to_hub(make(), "alice/once")
    assert len(hub.store.repos["alice/once"].commits) == 2
    assert_same(make(), from_pretrained("alice/once"))


def test_a_push_that_fails_deletes_nothing_that_others_push_meanwhile(hub, monkeypatch):
    """Another account's push arrives while this one's fails."""

    def other(handler, **_):
        hub.store.repos["alice/shared"].commit({"theirs.txt": b"theirs"})
        handler.reject(400, "", "rejected")

    monkeypatch.setattr(api, "ROUTES", [("POST", re.compile("/api/models/.*/commit/.*"), other), *api.ROUTES])
    with pytest.raises(HubAccessError, match="alice/shared"):
        push_to_hub(make(), "alice/shared")
    assert hub.store.repos["alice/shared"].files()["theirs.txt"] == b"theirs"
    assert not hub.asked("/api/repos/delete")


@pytest.mark.parametrize("card", [None, {}, {"description": "Mine."}])
def test_weights_of_the_zoo_keep_their_licence_and_scores(hub, card):
    model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
    push_to_hub(model, "alice/vowels", card=card)
    text = hub.store.repos["alice/vowels"].files()["README.md"].decode()
    assert "license: mit" in text
    assert ("Not measured" in text) == bool(card)
