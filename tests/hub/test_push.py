"""A push that cannot be made says why, sends nothing, and leaves no half of a repository."""

import re

import pytest
import torch

from convrnn_zoo import ConvRNNModel, HubAccessError, WeightsError, from_pretrained, push_to_hub
from convrnn_zoo.layers import Conv1dGRU

from .examples import assert_same, make
from .faults import Cut, Reset, Status


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
    "NaN": (nan, "head.bias hold NaN or Inf"),
    "built by hand": (lambda: ConvRNNModel(Conv1dGRU, 2, 3), "not built by a name of the zoo"),
    "changed since": (pruned, "changed after it was built"),
}
CARDS = {
    "pipeline": ({"license": "mit", "task": "x", "tags": [3]}, "tags must be words"),
    "licence": ({"license": "mine"}, '"license" must be one of'),
    "words": ({"licence": "mit"}, "unexpected keyword argument 'licence'"),
    "text": ("---\nlicense: mit\npipeline_tag: video-prediction\n---\n", 'The pipeline tag "video-prediction" is not'),
    "no metadata": ("Just words.", "no license"),
}


@pytest.mark.parametrize(("model", "words"), UNFIT.values(), ids=UNFIT)
def test_a_model_that_cannot_be_saved_is_not_pushed(model, words, hub):
    with hub.quiet(), pytest.raises(WeightsError, match=words):
        push_to_hub(model(), "alice/unfit")


@pytest.mark.parametrize(("card", "words"), CARDS.values(), ids=CARDS)
def test_a_card_with_faults_is_not_pushed(card, words, hub):
    with pytest.raises(WeightsError, match=re.escape(words)):
        push_to_hub(make(), "alice/card", card=card)
    assert not hub.store.repos
    assert not hub.asked("/preupload/"), "something was sent"


def test_who_may_not_push(hub, monkeypatch):
    hub.store.create("bob/theirs")
    hub.store.create("bob/secret", private=True)
    with pytest.raises(HubAccessError, match="bob/secret: no such repository, or a private one"):
        push_to_hub(make(), "bob/secret")
    for repo in ("bob/theirs", "bob/new"):
        with pytest.raises(HubAccessError, match=f"{repo}.*token does not allow it.*write to push"):
            push_to_hub(make(), repo)
    with pytest.raises(HubAccessError, match=r"does not know the token .*hf auth login"):
        push_to_hub(make(), "alice/stale", token="hf_expired")
    monkeypatch.setenv("HF_TOKEN", "")
    with hub.quiet(), pytest.raises(HubAccessError, match="needs a token; `hf auth login`"):
        push_to_hub(make(), "alice/none")
    assert set(hub.store.repos) == {"bob/theirs", "bob/secret"}


BREAKS = {
    "storage": (Status(403), "PUT", "/[0-9a-f]{64}", r"the token does not allow it"),
    "verify": (Status(422), "POST", "/verify", "the Hub refused"),
    "commit refused": (Status(400), "POST", "/commit/", "the Hub refused"),
    "commit conflict": (Status(412), "POST", "/commit/", "has changed meanwhile"),
    "commit fails": (Status(500), "POST", "/commit/", "the Hub failed"),
    "commit cut": (Cut(0), "POST", "/commit/", "the connection broke off"),
    "preupload": (Status(400), "POST", "/preupload/", "the Hub refused"),
}


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("way", BREAKS.values(), ids=BREAKS)
def test_a_push_that_fails_leaves_no_half(way, there, hub):
    fault, method, path, words = way
    if there:
        push_to_hub(make(num_classes=4), "alice/half")
        before = dict(hub.store.repos["alice/half"].commits)
    hub.fail(fault, method, path)
    with pytest.raises(HubAccessError, match=f"alice/half.*{words}"):
        push_to_hub(make(), "alice/half")
    hub.mended()
    if isinstance(fault, Cut):  # it arrived, only the answer did not: whole, and the next push finds it so
        assert_same(make(), from_pretrained("alice/half"))
    elif there:
        assert hub.store.repos["alice/half"].commits == before
    else:
        assert "alice/half" not in hub.store.repos
    push_to_hub(make(), "alice/half")
    assert_same(make(), from_pretrained("alice/half"))


@pytest.mark.parametrize("fault", [Status(500), Reset(0)], ids=repr)
def test_what_fails_once_is_pushed_all_the_same_and_once(fault, hub):
    hub.fail(fault, "POST", "/commit/", times=1)
    push_to_hub(make(), "alice/once")
    assert len(hub.store.repos["alice/once"].commits) == 2
    assert_same(make(), from_pretrained("alice/once"))


def test_a_server_that_is_down(hub):
    hub.close()
    with pytest.raises(HubAccessError, match=r"alice/down: http://127\.0\.0\.1:\d+ cannot be reached"):
        push_to_hub(make(), "alice/down")


def test_offline(hub, offline):
    offline()
    with hub.quiet(), pytest.raises(HubAccessError, match="alice/off: offline mode is on"):
        push_to_hub(make(), "alice/off")
