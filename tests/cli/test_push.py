"""``convrnn-zoo push``."""

import pytest

from convrnn_zoo import from_pretrained, save_pretrained
from tests.command_line import run
from tests.hub.conftest import OLD_CALL
from tests.hub.examples import assert_same, make

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


@pytest.mark.parametrize("target", ["./x", "../x", "/x/y", "a/b/c"])
def test_push_checks_the_name_of_the_repository_before_the_token(target, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    save_pretrained(make(), tmp_path / "saved")
    with hub.quiet():
        text = run("push", tmp_path / "saved", target, code=1)
    assert "token" not in text
    assert "owner/name" in text
