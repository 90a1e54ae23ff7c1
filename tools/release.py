"""Facts of a release: ``python -m tools.release`` lists what is missing, and fails if anything is.

HOW_TO_RELEASE.md describes the steps. ``python -m tools.release EXTRA…`` prints the lowest versions that pyproject.toml
allows for the extras. All of it needs Python only: the workflow that publishes runs it first.
"""

import re
import runpy
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import ROOT

MARK = "PUBLISHER:"
"""Marks the places that only the publisher can fill in."""
MARKED = ("CITATION.cff", "pyproject.toml", "mkdocs.yml", "CHANGELOG.md", "README.md", "LICENSE", "docs/install.md")


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
    if "date-released" not in citation:
        yield "CITATION.cff: date-released is missing"
    heading = f"## {version} ({citation.get('date-released', 'DATE')})"
    if heading not in text["CHANGELOG.md"].splitlines():
        yield f"CHANGELOG.md: expected the heading {heading!r}"


def project(root: Path = ROOT) -> dict[str, Any]:
    """Returns the table ``project`` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def public_address() -> str:
    """Returns the address of the public repository, or ``""`` before there is one."""
    address = (ROOT / "docs/project/address").read_text(encoding="utf-8").strip()
    return "" if address.startswith("#") else address


def requirements(project: dict[str, Any], *extras: str) -> Iterator[str]:
    """Yields the requirements of the package, of `extras`, and of the extras that `extras` include.

    Example:
        >>> extras = {"cli": ["click>=8"], "test": ["p[cli]", "pytest>=9"]}
        >>> list(requirements({"name": "p", "dependencies": ["torch>=2.6"], "optional-dependencies": extras}, "test"))
        ['torch>=2.6', 'click>=8', 'pytest>=9']
    """
    yield from project["dependencies"]
    own = {**project, "dependencies": []}
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            included = re.fullmatch(rf"{project['name']}\[(.*)\]", requirement)
            yield from requirements(own, *included[1].split(",")) if included else [requirement]


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
        match = re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", requirement)
        if match is None:
            raise ValueError(f"expected NAME>=VERSION with the lowest version that works, got {requirement!r}")
        name, bound = match.groups()
        versions[name] = max(versions.get(name, bound), bound, key=lambda v: [int(part) for part in v.split(".")])
    return versions


def main(*extras: str) -> None:
    """Prints the lowest versions for `extras` as constraints for pip, or without any what is missing."""
    if extras:
        print("\n".join(map("==".join, lowest(requirements(project(), *extras)).items())))
    elif found := list(missing()):
        sys.exit("\n".join([*found, f"{len(found)} points are open; see HOW_TO_RELEASE.md"]))
    else:
        print("ready for the release")


if __name__ == "__main__":
    main(*sys.argv[1:])
