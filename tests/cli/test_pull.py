"""``convrnn-zoo pull``."""

import pytest

from convrnn_zoo import WEIGHTS, create_model, from_pretrained, push_to_hub, save_pretrained
from tests.helpers.command_line import run
from tests.helpers.hub.examples import assert_same, make
from tests.hub.conftest import OLD_CALL

RAIN = "convgru_forecaster.rain"
pytestmark = pytest.mark.filterwarnings(f"ignore:{OLD_CALL}:DeprecationWarning")


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
def test_rejects_a_pull_of_a_local_directory(form, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_pretrained(make(), tmp_path / "existing")
    name = form.format("existing")
    with hub.quiet():
        text = run("pull", name, code=2)
    assert "local directory" in text
    assert "OWNER/REPO" in text
