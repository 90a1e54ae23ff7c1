"""Steps of a release: ``python -m tools.release``. HOW_TO_RELEASE.md describes when they are taken.

Without a command it lists what is missing, and fails if anything is. ``move ADDRESS`` moves the project to another
repository, ``lowest EXTRA…`` prints the lowest versions that pyproject.toml allows, and ``rehearse [INDEX]`` installs
the wheel as users do and tests it. All of it needs Python and git only: the workflow that publishes runs it first.
"""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import ROOT

# ---- what is missing -------------------------------------------------------------------------------------------
MARK = "PUBLISHER:"
"""Marks the places that only the publisher can fill in."""
MARKED = ("CITATION.cff", "pyproject.toml", "CHANGELOG.md", "README.md", "LICENSE", "docs/install.md")


def version(root: Path = ROOT) -> str:
    """Returns the version of the package."""
    return str(runpy.run_path(str(root / "convrnn_zoo" / "_version.py"))["__version__"])


def missing(root: Path = ROOT) -> Iterator[str]:
    """Yields a sentence for each step of HOW_TO_RELEASE.md that the files do not show to be done."""
    text = {file: (root / file).read_text(encoding="utf-8") for file in MARKED}
    for file, content in text.items():
        for number, line in enumerate(content.splitlines(), 1):
            if MARK in line:
                yield f"{file}:{number}: {line.partition(MARK)[2].strip(' ->')}"
    citation = dict(re.findall(r"^([\w-]+): (.+)$", text["CITATION.cff"], re.MULTILINE))
    if citation["version"] != version(root):
        yield f"CITATION.cff: version is {citation['version']}, and that of the package is {version(root)}"
    date = citation.get("date-released", "DATE")
    if date == "DATE":
        yield "CITATION.cff: date-released is missing"
    heading = f"## {version(root)} ({date})"
    if heading not in text["CHANGELOG.md"].splitlines():
        yield f"CHANGELOG.md: expected the heading {heading!r}"


def check() -> None:
    """Lists what is missing, and fails if anything is."""
    if found := list(missing()):
        sys.exit("\n".join([*found, f"{len(found)} points are open; see HOW_TO_RELEASE.md"]))
    print("ready for the release")


# ---- the address of the repository -----------------------------------------------------------------------------
FILE = Path("docs/project/address")
"""States the address once the repository is public: badges, the citation and the site show it from then on."""


def public_address(root: Path = ROOT) -> str:
    """Returns the address of the public repository, or ``""`` before there is one."""
    address = (root / FILE).read_text(encoding="utf-8").strip()
    return "" if address.startswith("#") else address


def addresses(root: Path = ROOT) -> tuple[str, str]:
    """Returns the addresses of repository and site in pyproject.toml, without a slash at the end."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Source"].rstrip("/"), urls["Documentation"].rstrip("/")


def texts(words: Iterable[str], root: Path) -> Iterator[tuple[Path, str]]:
    """Yields the text files of a checkout that contain one of `words`. Files that git ignores are left out."""
    patterns = [f"-e{word}" for word in words]
    command = ["git", "grep", "-z", "--name-only", "--untracked", "-I", "--fixed-strings", *patterns]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(done.stderr.decode())
    for path in (root / os.fsdecode(name) for name in done.stdout.split(b"\0")[:-1]):
        if not path.is_symlink():
            yield path, path.read_bytes().decode("utf-8")


def move(source: str, root: Path = ROOT) -> list[Path]:
    """Replaces the addresses of repository and site in all text files, and prints and returns the files that changed.

    The new site is that of GitHub's Pages.

    Raises:
        ValueError: `source` is not the address of a repository on GitHub.
    """
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", source):
        raise ValueError(f"expected https://github.com/OWNER/NAME, got {source!r}")
    old_name, new_name = (address.removeprefix("https://github.com/") for address in (addresses(root)[0], source))
    owner, _, repository = new_name.partition("/")
    old_site, new_site = addresses(root)[1].removeprefix("https://"), f"{owner.lower()}.github.io/{repository}"
    name = re.compile(rf"(?<=/){re.escape(old_name)}(?![\w-])")
    updates = {root / FILE: f"{source}\n"} if public_address(root) != source else {}
    for path, text in texts([old_name, old_site], root):
        new = name.sub(new_name, text.replace(old_site, new_site))
        if new != text:
            updates[path] = new
    for path, text in updates.items():
        path.write_text(text, encoding="utf-8", newline="")
        print(path.relative_to(root))
    return list(updates)


_ADDRESS = re.compile(
    r"github(?:usercontent)?(?:\.com)?/(?!OWNER/)([\w.-]+/convrnn_zoo\b)|([\w-]+\.github\.io/convrnn_zoo\b)"
)


def leftovers(root: Path = ROOT) -> dict[Path, set[str]]:
    """Returns the files that name another repository or site of this project than pyproject.toml does."""
    known = {re.sub(r"^https://(github\.com/)?", "", address) for address in addresses(root)}
    found = {path: set(map("".join, _ADDRESS.findall(text))) - known for path, text in texts(["convrnn_zoo"], root)}
    return {path: others for path, others in found.items() if others}


# ---- the lowest versions -----------------------------------------------------------------------------------------
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)")


def requirements(project: dict[str, Any], *extras: str) -> Iterator[str]:
    """Yields the requirements of the package, of `extras`, and of the extras that `extras` include.

    Example:
        >>> extras = {"cli": ["click>=8"], "test": ["p[cli]", "pytest>=9"]}
        >>> list(requirements({"name": "p", "dependencies": ["torch>=2.6"], "optional-dependencies": extras}, "test"))
        ['torch>=2.6', 'pytest>=9', 'click>=8']
    """
    yield from project["dependencies"]
    pending = list(extras)
    for extra in pending:  # grows in the loop
        for requirement in project["optional-dependencies"][extra]:
            if included := re.fullmatch(rf"{project['name']}\[(.*)\]", requirement):
                pending += included[1].split(",")
            else:
                yield requirement


def lowest(required: Iterable[str]) -> dict[str, str]:
    """Returns the lowest version of each package that all requirements allow.

    Raises:
        ValueError: a requirement is not of the form ``NAME>=VERSION``.

    Example:
        >>> lowest(["torch>=2.6", "timm>=1.0.9", "timm>=1.0.10"])
        {'torch': '2.6', 'timm': '1.0.10'}
    """
    versions: dict[str, str] = {}
    for requirement in required:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"expected NAME>=VERSION with the lowest version that works, got {requirement!r}")
        name, bound = match.groups()
        versions[name] = max(versions.get(name, bound), bound, key=lambda v: [int(part) for part in v.split(".")])
    return versions


def print_lowest(*extras: str) -> None:
    """Prints the lowest versions of the package and of extras as constraints for pip."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print("\n".join(map("==".join, lowest(requirements(project, *extras)).items())))


# ---- a rehearsal -------------------------------------------------------------------------------------------------
FILES = ("README.md", "CONTRIBUTING.md", "Makefile", "hubconf.py", "conftest.py", "pyproject.toml")
FOLDERS = ("docs", "model_cards", "notebooks", "tools", "benchmarks", "tests/docs", "tests/helpers", "tests/interop")
"""What the tests of examples need of the checkout, which is everything but the package."""


def copy_examples(away: Path) -> None:
    """Copies the pages and the tests of their examples to a directory without the package."""
    away.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copy(ROOT / file, away / file)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, away / folder, symlinks=True)


def run(command: list[Any], directory: Path, path: Path | None = None) -> str:
    """Runs a program in a directory and returns its output; `path` is searched for packages first.

    Raises:
        RuntimeError: the program fails.
    """
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def rehearse(index: str = "") -> None:
    """Installs the wheel with its extras into a new environment, runs the demo, and runs the examples of README.

    The wheel is that of `dist/`. With an `index`, it is that of a release: of TestPyPI before it is published, of PyPI
    afterwards. Only the package comes from there; its dependencies come from PyPI.

    Raises:
        RuntimeError: a step fails, or the installed version is not that of the checkout.
    """
    with TemporaryDirectory() as directory:
        folder, away = Path(directory).resolve(), Path(directory).resolve() / "away"
        if index:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            run([*pip, "--index-url", index, "--dest", folder, f"convrnn-zoo=={version()}"], ROOT)
        [wheel] = (folder if index else ROOT / "dist").glob(f"convrnn_zoo-{version()}-*.whl")
        copy_examples(away)
        run([sys.executable, "-m", "venv", folder / "venv"], away)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = [scripts / "python", "-m"]
        run([*python, "pip", "--quiet", "install", f"{wheel}[cli,draw,sound]", "pytest>=9", "pytest-timeout"], away)
        code = "import convrnn_zoo; print(convrnn_zoo.__version__, convrnn_zoo.__file__)"
        installed, _, file = run([scripts / "python", "-c", code], away).strip().partition(" ")
        if installed != version() or folder not in Path(file).resolve().parents:
            raise RuntimeError(f"expected version {version()} in {directory}, got {installed} in {file}")
        print(run([scripts / "convrnn-zoo", "demo"], away))
        print(run([*python, "pytest", "-q", "tests/docs/test_examples.py", "-k", "README"], away))
        print(f"{wheel.name}: installed, and passes")


COMMANDS: dict[str, Callable[..., Any]] = {"check": check, "move": move, "lowest": print_lowest, "rehearse": rehearse}


def main() -> None:
    """Runs a command, by default lists what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="check")
    parser.add_argument("arguments", nargs="*")
    args = parser.parse_args()
    COMMANDS[args.command](*args.arguments)


if __name__ == "__main__":
    main()
