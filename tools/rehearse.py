"""Installs a wheel as users do, and tests it away from the checkout: ``python -m tools.rehearse [WHEEL]``.

With ``--index URL``, the wheel is that of a release: of TestPyPI before it is published, of PyPI afterwards. Only the
package comes from there; its dependencies come from PyPI.
"""

import argparse
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "CONTRIBUTING.md", "Makefile", "hubconf.py", "conftest.py", "pyproject.toml")
FOLDERS = ("docs", "model_cards", "notebooks", "tools", "tests/docs", "tests/helpers", "tests/interop")
"""What the tests of examples need of the checkout, which is everything but the package."""


def copy_examples(away: Path) -> None:
    """Copies the pages and the tests of their examples to a directory without the package."""
    away.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copy(ROOT / file, away / file)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, away / folder, symlinks=True)


def run(command: list[str], directory: Path, path: Path | None = None) -> str:
    """Runs a program in a directory and returns its output; `path` is searched for packages first.

    Raises:
        RuntimeError: the program fails.
    """
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def rehearse(wheel: Path, version: str) -> None:
    """Installs a wheel with its extras into a new environment, runs the demo, and runs the examples of README.

    Raises:
        RuntimeError: a step fails, or the installed version is another one.
    """
    with TemporaryDirectory() as directory:
        away = Path(directory) / "away"
        copy_examples(away)
        run([sys.executable, "-m", "venv", str(Path(directory) / "venv")], away)
        scripts = Path(directory) / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        pip = [python, "-m", "pip", "--quiet", "install"]
        tests = ["pytest>=9", "pytest-timeout"]
        run([*pip, f"{wheel.resolve()}[cli,draw,sound]", *tests], away)
        code = "import convrnn_zoo; print(convrnn_zoo.__version__, convrnn_zoo.__file__)"
        installed, _, file = run([python, "-c", code], away).strip().partition(" ")
        if installed != version or Path(directory).resolve() not in Path(file).resolve().parents:
            raise RuntimeError(f"expected version {version} in {directory}, got {installed} in {file}")
        print(run([str(scripts / "convrnn-zoo"), "demo"], away))
        print(run([python, "-m", "pytest", "-q", "tests/docs/test_examples.py", "-k", "README"], away))


def main() -> None:
    """Rehearses the wheel of ``dist/``, or of an index."""
    version = runpy.run_path(str(ROOT / "convrnn_zoo" / "_version.py"))["__version__"]
    parser = argparse.ArgumentParser(description="Installs a wheel into a new environment and tests it.")
    parser.add_argument("wheel", nargs="?", type=Path, help="[default: that of this version in dist/]")
    parser.add_argument("--index", help="index with the release, such as https://test.pypi.org/simple/")
    parser.add_argument("--version", default=version, help=f"version of the release [default: {version}]")
    args = parser.parse_args()
    with TemporaryDirectory() as directory:
        wheel = args.wheel
        if args.index:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            release = f"convrnn-zoo=={args.version}"
            run([*pip, "--index-url", args.index, "--dest", directory, release], ROOT)
            (wheel,) = Path(directory).glob("*.whl")
        wheel = wheel or next((ROOT / "dist").glob(f"convrnn_zoo-{args.version}-*.whl"))
        rehearse(wheel, args.version)
        print(f"{wheel.name}: installed, and passes")


if __name__ == "__main__":
    main()
