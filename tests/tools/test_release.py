"""The list of what is missing for a release, and the address of the repository, which other files repeat."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import ROOT
from tools.docs import models
from tools.release import MARK, MARKED, missing, project

VERSION = "convrnn_zoo/_version.py"


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(old, new, text, flags=re.MULTILINE), encoding="utf-8")


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A checkout of which the publisher has filled in everything."""
    for file in (*MARKED, VERSION):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
        change(tmp_path, file, rf"^.*{MARK}.*\n", "")
    change(tmp_path, VERSION, r'"[\d.\w]+"', '"4.5.6"')
    change(tmp_path, "CITATION.cff", r"^date-released: .*\n", "")
    change(tmp_path, "CITATION.cff", r"^version: .*$", "version: 4.5.6\ndate-released: 2031-02-03")
    change(tmp_path, "CHANGELOG.md", r"\A", "## 4.5.6 (2031-02-03)\n")
    return tmp_path


def test_nothing_is_missing_once_everything_is_filled_in(ready: Path) -> None:
    assert list(missing(ready)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("CITATION.cff", r"^authors:", f"# {MARK} name the people\nauthors:", r"CITATION\.cff:\d+: name the people"),
        ("README.md", r"\A", f"<!-- {MARK} say it -->\n", r"README\.md:1: say it$"),
        ("CITATION.cff", r"^version: .*$", "version: 4.5.5", r"CITATION.*4\.5\.5.*4\.5\.6"),
        ("CITATION.cff", r"^date-released: .*\n", "", "date-released"),
        ("CITATION.cff", "2031-02-03", "2031-02-04", r"CHANGELOG.*2031-02-04"),
        ("CHANGELOG.md", r"2031-02-03", "unreleased", r"CHANGELOG.*2031-02-03"),
        (VERSION, r"4\.5\.6", "4.5.7", r"CITATION.*4\.5\.6.*4\.5\.7"),
    ],
)
def test_what_is_missing_is_named(file: str, old: str, new: str, found: str, ready: Path) -> None:
    change(ready, file, old, new)
    assert any(re.search(found, line) for line in missing(ready))


def test_every_mark_is_in_a_file_that_is_searched() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.toml"),
        *ROOT.glob("*.cff"),
        *ROOT.glob("*.yml"),
        *(ROOT / "docs").rglob("*.md"),
    ]
    marked = {p.relative_to(ROOT).as_posix() for p in pages if MARK in p.read_text(encoding="utf-8")}
    assert marked - {"HOW_TO_RELEASE.md"} <= set(MARKED)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git searches the files")
def test_no_file_names_another_address() -> None:
    pattern = r"github(usercontent)?(\.com)?/[^/ ]+/convrnn_zoo\b|[a-z-]+\.github\.io/convrnn_zoo"
    search = subprocess.run(["git", "grep", "-hoIE", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    found, urls = search.stdout.split(), project()["urls"]
    site, repository = urls["Documentation"].split("/")[2], urls["Source"].partition("github.com")[2]
    assert len(found) > 10
    assert not [address for address in found if not re.search(f"{site}|{repository}|/OWNER/", address)]


@pytest.mark.parametrize("source", ["", "https://github.com/some-one/rain.zoo"])
def test_pages_link_the_repository_once_it_is_public(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "public_address", lambda: source)
    parts = (
        models.release("README.md"),
        models.badge("docs/tutorials/clips.md"),
        models.citation("docs/project/cite.md"),
    )
    for part in parts:
        assert ("github" in part) == bool(source)
        assert source in part
    assert ('torch.hub.load("some-one/rain.zoo"' in parts[0]) == bool(source)
