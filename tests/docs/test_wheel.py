"""Test that runs the examples of every page with an installed wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.docs.pages import ROOT


@pytest.mark.slow
def test_a_wheel_runs_every_example(tmp_path: Path) -> None:
    source, installed, away = tmp_path / "source", tmp_path / "installed", tmp_path / "away"
    for folder in ("convrnn_zoo", "convrnn_zoo_command", "licenses"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    others = shutil.ignore_patterns("convrnn_zoo*", ".*", "build", "dist", "runs", "site")
    shutil.copytree(ROOT, away, symlinks=True, ignore=others)
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=away, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    run("-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    run("-m", "pip", "--quiet", "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel))
    assert {path.name for path in installed.glob("*.dist-info/licenses/licenses/*")} >= {"README.md"}
    where = run("-c", "import convrnn_zoo; print(convrnn_zoo.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    run("-m", "pytest", "-q", "-m", "slow or not slow", "tests/docs/test_examples.py")
