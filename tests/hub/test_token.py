"""The token of from_pretrained."""

import dataclasses

import pytest

from convrnn_zoo import create_model, from_pretrained, push_to_hub
from tests.helpers.hub.examples import assert_same
from tests.helpers.hub.records import NAME, carry, hold


def test_a_token_reaches_weights_of_the_zoo_that_are_on_the_hub(hub, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    record = carry(tmp_path / "weights", monkeypatch)[NAME]
    expected = create_model(NAME, pretrained=True)
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
