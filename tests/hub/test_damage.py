"""Damaged or wrong files in the cache, in the repository or on the disk raise an error or are replaced."""

import functools
import json

import pytest

import convrnn_zoo
from convrnn_zoo import WeightsError, from_pretrained
from tests.helpers.hub.examples import assert_same, make
from tests.helpers.hub.faults import Corrupt
from tests.helpers.hub.loaders import BIG, LOADERS, OURS, REPO, WEIGHTS, assert_rejected
from tests.hub.conftest import tree


# ---- in the cache ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("at", [3, 30, -5], ids=["length", "header", "payload"])
def test_a_damaged_copy_in_the_cache_is_downloaded_again(loader, at, hub, repo, cache, offline):
    loader(REPO)
    blob = next(p for p in cache.rglob("blobs/*") if len(p.name) == 64)
    blob.write_bytes(Corrupt(at).body(blob.read_bytes()))
    offline()
    assert_rejected(loader, ValueError, WEIGHTS, "cache", "HF_HUB_OFFLINE")
    offline(False)
    assert_same(make(**BIG), loader(REPO))
    assert blob.read_bytes() == repo.files()[WEIGHTS]


def test_a_copy_that_stays_damaged_is_reported_and_removed(hub, repo, cache):
    from_pretrained(REPO)
    blob = next(p for p in cache.rglob("blobs/*") if len(p.name) == 64)
    blob.write_bytes(Corrupt().body(blob.read_bytes()))
    hub.fail(Corrupt(-9), "GET", "/[0-9a-f]{64}")
    assert_rejected(from_pretrained, ValueError, WEIGHTS, "checksum", "cache")
    assert set(tree(cache).values()) == {repo.files()["config.json"]}


# ---- in the repository -----------------------------------------------------------------------------------------------
def nan(content: bytes) -> bytes:
    return content[:-4] + b"\0\0\xc0\x7f"


WRONG = {
    "NaN": ({WEIGHTS: nan}, [WEIGHTS, "NaN"]),
    "no weights": ({WEIGHTS: None}, [WEIGHTS, "pickle"]),
    "not safetensors": ({WEIGHTS: lambda c: b"PK\x03\x04" + c}, [WEIGHTS, "SafetensorError"]),
    "another's weights": (
        {WEIGHTS: lambda c: c.replace(b"weight_hh", b"weight_xx")},
        ["missing: .*weight_hh", "unexpected: .*weight_xx"],
    ),
}
CONFIGS = {
    "broken": (b"{", ["config.json", "JSON"]),
    "deep": (b"[" * 100_000, ["config.json", "JSON"]),
    "a list": (b"[]", ["config.json", r"\blist\b"]),
    "unknown field": ({"pretrained_cfg": {"num_frames": 3}}, ["num_frames"]),
    "too many labels": ({"label_names": ["a"] * 77}, ["77 label_names"]),
    "missing": (None, ["config.json"]),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_weights_that_are_wrong_in_the_repository(wrong, loader, hub, repo, saved):
    changes, words = wrong
    repo.commit({k: v and v(saved[k]) for k, v in changes.items()} | {"config.json": without_checksum(saved)})
    assert_rejected(loader, (ValueError, OSError), *words)
    assert not hub.asked("pytorch_model")


@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
@pytest.mark.parametrize("wrong", CONFIGS.values(), ids=CONFIGS)
def test_configs_that_are_wrong_in_the_repository(wrong, loader, hub, repo, saved):
    change, words = wrong
    if isinstance(change, dict):
        change = json.dumps(json.loads(saved["config.json"]) | change).encode()
    repo.commit({"config.json": change})
    assert_rejected(loader, (ValueError, OSError), *words)
    assert not hub.asked(WEIGHTS)


def without_checksum(saved: dict[str, bytes]) -> bytes:
    """The config as timm writes it, which states no checksum."""
    return json.dumps({k: v for k, v in json.loads(saved["config.json"]).items() if k != "weights_sha256"}).encode()


# ---- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.needs("symlinks")
@pytest.mark.parametrize("loader", OURS.values(), ids=OURS)
def test_a_cache_that_cannot_be_written(loader, hub, repo):
    """No one may make directories under /sys, not even the superuser."""
    call = functools.partial(loader, cache_dir="/sys/cache")
    assert_rejected(call, OSError, "/sys/cache", "HF_HOME", "cache_dir=")


def test_a_model_into_which_loading_failed_is_as_it_was(tmp_path, saved):
    path, model = tmp_path / WEIGHTS, make(**BIG)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for content in (nan(saved[WEIGHTS]), saved[WEIGHTS][:-4], saved[WEIGHTS].replace(b"head", b"neck")):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=WEIGHTS):
            convrnn_zoo.load_weights(model, path)
        assert all((v == before[k]).all() for k, v in model.state_dict().items())
