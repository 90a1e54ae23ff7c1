"""Failures name the file and a solution, leave no files, and the next attempt succeeds."""

import time

import pytest

from convrnn_zoo import HubAccessError, from_pretrained
from tests.helpers.hub.client import close_session
from tests.helpers.hub.examples import assert_same, make
from tests.helpers.hub.faults import Corrupt, Cut, Reset, Short, Status
from tests.helpers.hub.loaders import BIG, LOADERS, OURS, REPO, WEIGHTS, assert_rejected
from tests.hub.conftest import tree


# ---- before anything is there ------------------------------------------------------------------------------------
@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
def test_server_down_without_cache_is_an_immediate_error(loader, hub, repo, cache):
    hub.close()
    start = time.monotonic()
    assert_rejected(loader, OSError, "config.json", "HF_ENDPOINT")
    assert time.monotonic() - start < 5
    assert not tree(cache)


@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
def test_offline_without_cache(loader, hub, repo, cache, offline):
    offline()
    with hub.quiet():
        assert_rejected(loader, OSError, "HF_HUB_OFFLINE")
    assert not tree(cache)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_server_down_or_offline_with_cache_loads(loader, hub, repo, offline):
    model = loader(REPO)
    offline()
    with hub.quiet():
        assert_same(model, loader(REPO))
    offline(False)
    hub.close()
    close_session()
    assert_same(model, loader(REPO))


@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
def test_missing_private_gated_and_wrong_revision(loader, hub, repo, saved, cache):
    hub.store.create("bob/private", saved, private=True)
    hub.store.create("bob/gated", saved, gated=True)
    for name in ("alice/missing", "bob/private"):
        assert_rejected(loader, OSError, "hf auth login", repo=name)
    assert_rejected(loader, OSError, f"{hub.url}/bob/gated", repo="bob/gated")
    assert_rejected(loader, OSError, "@nope", "commits/main", repo=f"{REPO}@nope")
    assert_rejected(loader, ValueError, "owner/name", repo="a/b/c")
    assert not tree(cache)


@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
def test_a_stale_token_on_a_public_repository(loader, hub, repo, cache, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert_rejected(loader, OSError, "401", "hf auth login", "HF_TOKEN")
    assert not tree(cache)
    monkeypatch.setenv("HF_TOKEN", "")
    loader(REPO)


def test_a_token_is_used_for_one_call(hub, saved):
    hub.store.create("bob/private", saved, private=True)
    from_pretrained("bob/private", token="hf_bob")
    with pytest.raises(HubAccessError, match="private"):
        from_pretrained("bob/private", revision=hub.store.repos["bob/private"].refs["main"][:-1] + "x")
    assert {who for _, _, who in hub.asked(WEIGHTS)} == {"Bearer hf_bob"}
    assert not any(who for _, path, who in hub.log if "/resolve/" not in path), "a token left the Hub's origin"


# ---- on the way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Status(500), Cut(2000), Reset(2000), Short(), Corrupt()], ids=lambda f: repr(f))
def test_retries_one_failure_silently(fault, hub, repo):
    hub.fail(fault, "GET", "/[0-9a-f]{64}", times=1)
    assert_same(make(**BIG), from_pretrained(REPO))
