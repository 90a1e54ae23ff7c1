"""Test that runs the examples of every page with an installed wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT

FILES = ("README.md", "CONTRIBUTING.md", "Makefile", "hubconf.py", "conftest.py", "pyproject.toml")


@pytest.mark.slow
def test_a_wheel_runs_every_example(tmp_path: Path) -> None:
    source, installed, away = tmp_path / "source", tmp_path / "installed", tmp_path / "away"
    for package in ("convrnn_zoo", "convrnn_zoo_command"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    for file in FILES:
        (away / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, away / file)
    for folder in ("docs", "model_cards", "tools", "tests/docs", "tests/interop"):
        shutil.copytree(ROOT / folder, away / folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)], tmp_path)
    where = run([sys.executable, "-c", "import convrnn_zoo; print(convrnn_zoo.__file__)"], away, installed)
    assert Path(where.strip()).is_relative_to(installed)
    pytest_of_all = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow"]
    run([*pytest_of_all, "tests/docs/test_examples.py"], away, installed)


def run(command: list[str], directory: Path, path: Path | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
