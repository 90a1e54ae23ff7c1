"""The address of the repository is stated in one place, and its repetitions follow it."""

import shutil
from pathlib import Path

import pytest

from tools import docs
from tools.address import ROOT, addresses, leftovers, move, public_address

FILES = ("pyproject.toml", "CITATION.cff", "HOW_TO_RELEASE.md", "docs/project/address", "notebooks/forecaster.ipynb")
NAME = "convrnn_zoo"
OLD = f"old/{NAME}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_no_file_names_another_address() -> None:
    assert leftovers() == {}


def test_the_address_is_replaced_everywhere(copy: Path) -> None:
    old_source, old_site = addresses(copy)
    changed = move("https://github.com/some-one/rain.zoo", "https://some-one.github.io/rain.zoo", copy)
    assert addresses(copy) == ("https://github.com/some-one/rain.zoo", "https://some-one.github.io/rain.zoo")
    assert public_address(copy) == "https://github.com/some-one/rain.zoo"
    assert {str(path.relative_to(copy)) for path in changed} == set(FILES)
    for path in changed:
        text = path.read_text(encoding="utf-8")
        assert old_site not in text
        assert old_source.removeprefix("https://github.com/") not in text
    assert move("https://github.com/some-one/rain.zoo", "https://some-one.github.io/rain.zoo", copy) == []


@pytest.mark.parametrize(
    "text",
    [
        f"see https://github.com/{OLD}/issues",
        f"https://old.github.io/{NAME}/install.html",
        f"https://colab.research.google.com/github/{OLD}/blob/main/notebooks/clips.ipynb",
    ],
    ids=["repository", "site", "notebook"],
)
def test_a_leftover_is_found(text: str, copy: Path) -> None:
    (copy / "page.md").write_text(text, encoding="utf-8")
    (copy / "image.png").write_bytes(b"\0" + text.encode())
    assert set(leftovers(copy)) == {copy / "page.md"}


@pytest.mark.parametrize("source", ["", "https://github.com/some-one/rain.zoo"])
def test_pages_link_the_repository_once_it_is_public(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "public_address", lambda: source)
    parts = (docs.release("README.md"), docs.badge("docs/tutorials/clips.md"), docs.citation("docs/project/cite.md"))
    for part in parts:
        assert ("github" in part) == bool(source)
        assert source in part
    assert ('torch.hub.load("some-one/rain.zoo"' in parts[0]) == bool(source)
