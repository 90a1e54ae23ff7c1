"""``push`` and ``pull`` on the command line, and the token of from_pretrained."""

import dataclasses

import pytest

from convrnn_zoo import WEIGHTS, create_model, from_pretrained, push_to_hub, save_pretrained
from tests.command_line import run

from .examples import assert_same, make
from .records import NAME, carry, hold

RAIN = "convgru_forecaster.rain"


@pytest.mark.parametrize("pretrained", [True, False], ids=["with metadata", "without"])
def test_pull_keeps_a_readme_that_exists(pretrained, hub, tmp_path, monkeypatch):
    model = create_model(RAIN, pretrained=True) if pretrained else make()
    push_to_hub(model, "alice/rain")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("My project.\n")
    run("pull", "alice/rain", "--output", ".")
    assert (tmp_path / "README.md").read_text() == "My project.\n"
    assert_same(model, from_pretrained(tmp_path))


def test_pull_saves_the_card_of_the_repository_where_there_is_none(hub, tmp_path):
    push_to_hub(create_model(RAIN, pretrained=True), "alice/rain")
    run("pull", "alice/rain", "--output", tmp_path / "new")
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert WEIGHTS[RAIN].description in card


@pytest.mark.parametrize("form", ["{}", "./{}", "local-dir:{}"])
def test_pull_of_a_directory_says_that_it_is_one(form, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_pretrained(make(), tmp_path / "existing")
    name = form.format("existing")
    with hub.quiet():
        text = run("pull", name, code=2)
    assert "local directory" in text
    assert "OWNER/REPO" in text


@pytest.mark.parametrize("target", ["./x", "../x", "/x/y", "a/b/c"])
def test_push_checks_the_name_of_the_repository_before_the_token(target, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    save_pretrained(make(), tmp_path / "saved")
    with hub.quiet():
        text = run("push", tmp_path / "saved", target, code=1)
    assert "token" not in text
    assert "owner/name" in text


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
