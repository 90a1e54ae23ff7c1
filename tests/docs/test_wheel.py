"""Test that runs the examples of every page with an installed wheel."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.docs.pages import ROOT
from tools.release import copy_examples, run


@pytest.mark.slow
def test_a_wheel_runs_every_example(tmp_path: Path) -> None:
    source, installed, away = tmp_path / "source", tmp_path / "installed", tmp_path / "away"
    for folder in ("convrnn_zoo", "convrnn_zoo_command", "licenses"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    copy_examples(away)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)], tmp_path)
    assert {path.name for path in installed.glob("*.dist-info/licenses/licenses/*")} >= {"README.md"}
    where = run([sys.executable, "-c", "import convrnn_zoo; print(convrnn_zoo.__file__)"], away, installed)
    assert Path(where.strip()).is_relative_to(installed)
    pytest_of_all = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow"]
    run([*pytest_of_all, "tests/docs/test_examples.py"], away, installed)
