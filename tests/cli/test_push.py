"""``convrnn-zoo push``."""

from pathlib import Path

import pytest

from convrnn_zoo import from_pretrained, save_pretrained
from tests.helpers.command_line import run
from tests.helpers.hub.examples import assert_same, make
from tests.hub.conftest import OLD_CALL

pytestmark = pytest.mark.filterwarnings(f"ignore:{OLD_CALL}:DeprecationWarning")


def test_a_directory_is_pushed_with_its_card(hub, tmp_path):
    save_pretrained(make(), tmp_path)
    front = "---\nlicense: mit\n---\n"
    (tmp_path / "README.md").write_text(
        f'{front}Words of the owner.\n\nmodel = convrnn_zoo.from_pretrained("{tmp_path}")\n', encoding="utf-8"
    )
    assert f"{hub.url}/alice/cli/commit/" in run("push", tmp_path, "alice/cli")
    assert_same(make(), from_pretrained("hf-hub:alice/cli"))
    (repo,) = hub.store.repos.values()
    pushed = repo.files()["README.md"].decode()
    assert "Words of the owner." in pushed
    assert 'from_pretrained("alice/cli")' in pushed
    assert str(tmp_path) not in pushed


@pytest.mark.parametrize("target", ["{}/copy", "local-dir:{}/copy", "./copy", "copy/"])
def test_a_path_receives_the_files_of_a_repository(target, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_pretrained(make(), "saved")
    Path("saved/README.md").write_text('model = convrnn_zoo.from_pretrained("saved")\n', encoding="utf-8")
    target = target.format(tmp_path)
    assert "saved" in run("push", "saved", target)
    assert_same(make(), from_pretrained(tmp_path / "copy"))
    assert (
        Path("copy/README.md").read_text()
        == f'model = convrnn_zoo.from_pretrained("{target.partition(":")[2] or target}")\n'
    )
    assert not hub.store.repos
    assert "--create-pr: only valid for a repository" in run("push", "saved", target, "--create-pr", code=2)


@pytest.mark.parametrize("file", ["config.json", "README.md"])
def test_files_of_something_else_are_kept(file, tmp_path):
    save_pretrained(make(), tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("a card", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file).write_text('{"mine": 1}', encoding="utf-8")
    assert file in run("push", tmp_path / "saved", f"{tmp_path}/other", code=1)
    assert {f.name: f.read_text() for f in (tmp_path / "other").iterdir()} == {file: '{"mine": 1}'}
    run("push", tmp_path / "saved", f"{tmp_path}/copy")
    run("push", tmp_path / "saved", f"{tmp_path}/copy")  # again
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in run("push", tmp_path / "saved", f"{tmp_path}/file", code=1)


@pytest.mark.parametrize("target", ["x-/y", "a/b/c"])
def test_push_checks_the_name_of_the_repository_before_the_token(target, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    save_pretrained(make(), tmp_path / "saved")
    with hub.quiet():
        text = run("push", tmp_path / "saved", target, code=1)
    assert "token" not in text
    assert "owner/name" in text
    assert f"save_pretrained(model, '{target}')" in text


def test_a_card_is_pushed_with_its_directory_by_any_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_pretrained(make(), "saved")
    Path("saved/README.md").write_text('model = convrnn_zoo.from_pretrained("saved")\n', encoding="utf-8")
    run("push", "local-dir:saved", "./out\\1")
    assert Path("out\\1/README.md").read_text() == 'model = convrnn_zoo.from_pretrained("./out\\\\1")\n'
