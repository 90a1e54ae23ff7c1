"""The client's default road for large files: a content-addressed store in place of plain uploads and downloads."""

import pytest

from .conftest import tree
from .examples import assert_same, files, make
from .roads import BIG, REPO
from .store import sha256

hf_xet = pytest.importorskip("hf_xet", reason="huggingface_hub brings it where there is a wheel for the machine")
PUSH = """
import sys, convrnn_zoo
convrnn_zoo.push_to_hub(convrnn_zoo.from_pretrained(sys.argv[1]), "alice/model")
"""
PULL = """
import sys, convrnn_zoo, timm
convrnn_zoo.save_pretrained(convrnn_zoo.from_pretrained("alice/model"), sys.argv[1])
timm.create_model("hf-hub:alice/model", pretrained=True)
"""


@pytest.fixture
def stored(hub, tmp_path):
    """A saved model, and a Hub that knows where its weights will lie in the store."""
    saved = files(make(**BIG), tmp_path / "saved")
    (tmp_path / "store").mkdir()
    hub.xet_store = tmp_path / "store"
    weights = saved["model.safetensors"]
    (info,) = hf_xet.hash_files([str(tmp_path / "saved" / "model.safetensors")])
    hub.xet_hashes[sha256(weights)] = info.hash
    hub.store.large[sha256(weights)] = weights  # the Hub's own knowledge: nobody uploads it there
    return saved


@pytest.mark.slow
def test_what_goes_through_the_store_comes_back(hub, stored, python, tmp_path):
    from convrnn_zoo import from_pretrained

    python(PUSH, tmp_path / "saved", HF_HUB_DISABLE_XET="0")
    assert any(p.is_file() for p in hub.xet_store.rglob("*"))
    python(PULL, tmp_path / "pulled", HF_HUB_DISABLE_XET="0")
    assert tree(tmp_path / "pulled")["model.safetensors"] == stored["model.safetensors"]
    assert not [entry for entry in hub.log if entry[1] == f"/{sha256(stored['model.safetensors'])}"]
    assert_same(make(**BIG), from_pretrained(tmp_path / "pulled"))


TRY = """
import sys, convrnn_zoo
try:
    convrnn_zoo.from_pretrained("alice/model")
except convrnn_zoo.ConvRNNHubError as e:
    print(e)
"""


@pytest.mark.parametrize("damage", ["lost", "spoilt"])
@pytest.mark.slow
def test_a_store_that_lost_or_spoilt_it_is_told_of(damage, hub, stored, python, cache, tmp_path):
    python(PUSH, tmp_path / "saved", HF_HUB_DISABLE_XET="0")
    for path in [p for p in hub.xet_store.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.unlink() if damage == "lost" else path.write_bytes(content[:-500] + bytes(500))
    message = python(TRY, HF_HUB_DISABLE_XET="0").stdout
    assert message.startswith("alice/model@"), message
    assert "model.safetensors" in message
    assert set(tree(cache).values()) == {hub.store.repos[REPO].files()["config.json"]}
