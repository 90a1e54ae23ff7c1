"""README and cards: their examples run, their tables are fresh, their links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch

from convrnn_zoo import docs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def test_generated_parts_are_fresh():
    assert not {p.name for p in docs.stale()}, "run `make docs`"


def test_a_stale_part_is_found(tmp_path):
    for page in docs.pages():
        copy = tmp_path / page.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        text = page.read_text(encoding="utf-8")
        copy.write_text(re.sub(r"(<!-- (generated|facts): .*-->\n)", r"\1old\n", text), encoding="utf-8")
    assert set(docs.stale(tmp_path)) == {tmp_path / p.relative_to(ROOT) for p in docs.pages()}


def test_every_part_has_its_place():
    assert set(re.findall(r"<!-- generated: (\w+) -->", README)) == set(docs.PARTS)


def test_examples_of_the_readme_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {"torch": torch}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
        for line, shape in re.findall(r"^(\w+)[^=\n]*=[^\n]*#\s*\(([\d, ]+)\)", block, flags=re.MULTILINE):
            assert tuple(names[line].shape) == tuple(map(int, shape.split(",")))


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("target", re.findall(r"`make ([\w-]+)`", README))
def test_make_targets_that_are_named_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
