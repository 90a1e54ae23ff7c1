"""Steps of a release: ``python tools/release.py``. HOW_TO_RELEASE.md describes when they are taken.

Without a command it lists what is missing, and fails if anything is. ``move ADDRESS`` moves the project to another
repository, ``lowest EXTRA…`` prints the lowest versions that pyproject.toml allows, and ``rehearse [WHEEL]`` installs a
wheel as users do and tests it. All of it needs Python only: the workflow that publishes runs it first.
"""

import argparse
import contextlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent


def version() -> str:
    """Returns the version of the package."""
    return str(runpy.run_path(str(ROOT / "convrnn_zoo" / "_version.py"))["__version__"])


# ---- what is missing -------------------------------------------------------------------------------------------
MARK = "PUBLISHER:"
"""Marks the places that only the publisher can fill in."""
MARKED = ("CITATION.cff", "pyproject.toml", "CHANGELOG.md", "README.md", "LICENSE", "docs/install.md")


def missing(root: Path = ROOT) -> Iterator[str]:
    """Yields a sentence for each step of HOW_TO_RELEASE.md that the files do not show to be done."""
    text = {file: (root / file).read_text(encoding="utf-8") for file in MARKED}
    for file, content in text.items():
        for number, line in enumerate(content.splitlines(), 1):
            if MARK in line:
                yield f"{file}:{number}: {line.partition(MARK)[2].strip(' ->')}"
    version = runpy.run_path(str(root / "convrnn_zoo" / "_version.py"))["__version__"]
    citation = dict(re.findall(r"^([\w-]+): (.+)$", text["CITATION.cff"], re.MULTILINE))
    if citation["version"] != version:
        yield f"CITATION.cff: version is {citation['version']}, and that of the package is {version}"
    date = citation.get("date-released")
    if date is None:
        yield "CITATION.cff: date-released is missing"
    heading = re.search(rf"^## {re.escape(version)} \((.+)\)$", text["CHANGELOG.md"], re.MULTILINE)
    if heading is None or heading[1] != date:
        yield f"CHANGELOG.md: expected the heading '## {version} ({date or 'DATE'})'"


# ---- the address of the repository -----------------------------------------------------------------------------
FILE = Path("docs/project/address")
"""States the address once the repository is public: badges, the citation and the site show it from then on."""
_NOT_TRACKED = re.compile(r"\.git|\.venv.*|build|dist|runs|site|__pycache__|.*_cache|.*\.egg-info|\.hypothesis")
_REPOSITORY = re.compile(
    r"(?:github\.com|githubusercontent\.com|colab\.research\.google\.com/github)/(?!OWNER/)([\w.-]+/convrnn_zoo\b)"
)
_SITE = re.compile(r"[\w-]+\.github\.io/convrnn_zoo\b")


def public_address(root: Path = ROOT) -> str:
    """Returns the address of the public repository, or ``""`` before there is one."""
    address = (root / FILE).read_text(encoding="utf-8").strip()
    return "" if address.startswith("#") else address


def addresses(root: Path = ROOT) -> tuple[str, str]:
    """Returns the addresses of repository and site in pyproject.toml, without a slash at the end."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Source"].rstrip("/"), urls["Documentation"].rstrip("/")


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields the text files of a checkout with their contents. Environments and build outputs are left out."""
    for path in sorted(root.rglob("*")):
        if any(map(_NOT_TRACKED.fullmatch, path.relative_to(root).parts)) or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            with contextlib.suppress(UnicodeDecodeError):
                yield path, content.decode("utf-8")


def move(source: str, site: str | None = None, root: Path = ROOT) -> list[Path]:
    """Replaces the addresses of repository and site in all text files, and returns the files that changed.

    By default the site is that of GitHub's Pages.

    Raises:
        ValueError: `source` is not the address of a repository on GitHub.
    """
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", source):
        raise ValueError(f"expected https://github.com/OWNER/NAME, got {source!r}")
    old_source, old_site = addresses(root)
    old_name, new_name = (address.removeprefix("https://github.com/") for address in (old_source, source))
    owner, _, repository = new_name.partition("/")
    new_site = (site or f"{owner.lower()}.github.io/{repository}").rstrip("/").removeprefix("https://")
    name = re.compile(rf"(?<=/){re.escape(old_name)}(?![\w-])")
    changed = []
    if public_address(root) != source:
        (root / FILE).write_text(f"{source}\n", encoding="utf-8")
        changed.append(root / FILE)
    for path, text in texts(root):
        new = name.sub(new_name, text.replace(old_site.removeprefix("https://"), new_site))
        if new != text:
            path.write_text(new, encoding="utf-8", newline="")
            changed.append(path)
    return changed


def leftovers(root: Path = ROOT) -> dict[Path, set[str]]:
    """Returns the files that name another repository or site of this project than pyproject.toml does."""
    source, site = (address.removeprefix("https://") for address in addresses(root))
    known = {source.removeprefix("github.com/"), site}
    found = {path: {*_REPOSITORY.findall(text), *_SITE.findall(text)} - known for path, text in texts(root)}
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
            raise ValueError(
                f"a requirement must be NAME>=VERSION, got {requirement!r}; use the lowest version that works"
            )
        name, bound = match.groups()
        versions[name] = max(versions.get(name, bound), bound, key=lambda v: [int(part) for part in v.split(".")])
    return versions


# ---- a rehearsal -------------------------------------------------------------------------------------------------
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


def rehearse(wheel: Path | None, index: str | None, release: str) -> None:
    """Installs a wheel with its extras into a new environment, runs the demo, and runs the examples of README.

    The wheel is by default that of `dist/`. With an `index`, it is that of a release: of TestPyPI before it is
    published, of PyPI afterwards. Only the package comes from there; its dependencies come from PyPI.

    Raises:
        RuntimeError: a step fails, or the installed version is not `release`.
    """
    with TemporaryDirectory() as directory:
        folder, away = Path(directory).resolve(), Path(directory).resolve() / "away"
        if index:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            run([*pip, "--index-url", index, "--dest", directory, f"convrnn-zoo=={release}"], ROOT)
            (wheel,) = folder.glob("*.whl")
        wheel = (wheel or next((ROOT / "dist").glob(f"convrnn_zoo-{release}-*.whl"))).resolve()
        copy_examples(away)
        run([sys.executable, "-m", "venv", str(folder / "venv")], away)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        tests = ["pytest>=9", "pytest-timeout"]
        run([python, "-m", "pip", "--quiet", "install", f"{wheel}[cli,draw,sound]", *tests], away)
        code = "import convrnn_zoo; print(convrnn_zoo.__version__, convrnn_zoo.__file__)"
        installed, _, file = run([python, "-c", code], away).strip().partition(" ")
        if installed != release or folder not in Path(file).resolve().parents:
            raise RuntimeError(f"expected version {release} in {directory}, got {installed} in {file}")
        print(run([str(scripts / "convrnn-zoo"), "demo"], away))
        print(run([python, "-m", "pytest", "-q", "tests/docs/test_examples.py", "-k", "README"], away))
        print(f"{wheel.name}: installed, and passes")


def main() -> int:
    """Runs a command, by default lists what is missing; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command")
    command = commands.add_parser("move", help="replaces the address of the repository everywhere")
    command.add_argument("address", help="https://github.com/OWNER/NAME")
    command.add_argument("--site", help="address of the documentation [default: https://OWNER.github.io/NAME]")
    command = commands.add_parser("lowest", help="prints the lowest versions as constraints for pip")
    command.add_argument("extras", nargs="*")
    command = commands.add_parser("rehearse", help="installs a wheel into a new environment and tests it")
    command.add_argument("wheel", nargs="?", type=Path, help="[default: that of this version in dist/]")
    command.add_argument("--index", help="index with the release, such as https://test.pypi.org/simple/")
    command.add_argument("--version", default=version(), help="version of the release [default: %(default)s]")
    args = parser.parse_args()
    if args.command == "move":
        print("\n".join(str(path.relative_to(ROOT)) for path in move(args.address, args.site)))
    elif args.command == "lowest":
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for package, bound in lowest(requirements(declared, *args.extras)).items():
            print(f"{package}=={bound}")
    elif args.command == "rehearse":
        rehearse(args.wheel, args.index, args.version)
    else:
        found = list(missing())
        print(
            "\n".join(
                [*found, f"{len(found)} points are open; see HOW_TO_RELEASE.md"] if found else ["ready for the release"]
            )
        )
        return int(bool(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
