"""The README of each folder of programs lists every program in it."""

import re

import pytest

from tools import ROOT


@pytest.mark.parametrize("folder", ["benchmarks", "references", "tools"])
def test_the_readme_of_a_folder_lists_its_programs(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py")
    programs = {
        p.relative_to(ROOT).with_suffix("") for p in files if "\nif __name__ ==" in p.read_text(encoding="utf-8")
    }
    names = {".".join(p.parts).removesuffix(".__main__") for p in programs}
    table = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `python -m ([\w.]+)", table, re.MULTILINE)) == names
