"""Prints the lowest versions that pyproject.toml allows, as constraints for pip: ``python tools/lowest.py EXTRA…``.

`make test-versions` installs and tests exactly these versions.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
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
            included = re.fullmatch(rf"{project['name']}\[(.*)\]", requirement)
            if included:
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
        name, version = match.groups()
        versions[name] = max(versions.get(name, version), version, key=lambda v: [int(part) for part in v.split(".")])
    return versions


if __name__ == "__main__":
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    for package, version in lowest(requirements(declared, *sys.argv[1:])).items():
        print(f"{package}=={version}")
