"""The lowest versions that pyproject.toml allows, as constraints for pip: ``python tools/lowest.py EXTRA…``.

So what is declared is what `make test-versions` installs and tests.
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
    """What the package requires, and what the extras do and those that they include.

    Example:
        >>> extras = {"cli": ["click>=8"], "test": ["p[cli]", "pytest>=9"]}
        >>> list(requirements({"name": "p", "dependencies": ["torch>=2.6"], "optional-dependencies": extras}, "test"))
        ['torch>=2.6', 'pytest>=9', 'click>=8']
    """
    yield from project["dependencies"]
    wanted = list(extras)
    for extra in wanted:  # which grows
        for requirement in project["optional-dependencies"][extra]:
            included = re.fullmatch(rf"{project['name']}\[(.*)\]", requirement)
            if included:
                wanted += included[1].split(",")
            else:
                yield requirement


def lowest(required: Iterable[str]) -> dict[str, str]:
    """The lowest version of each package that all of the requirements allow.

    Raises:
        ValueError: a requirement that says something else than its lowest version.

    Example:
        >>> lowest(["torch>=2.6", "timm>=1.0.9", "timm>=1.0.10"])
        {'torch': '2.6', 'timm': '1.0.10'}
    """
    found: dict[str, str] = {}
    for requirement in required:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"a requirement must be NAME>=VERSION, got {requirement!r}; name the lowest that runs")
        name, version = match.groups()
        found[name] = max(found.get(name, version), version, key=lambda v: [int(part) for part in v.split(".")])
    return found


if __name__ == "__main__":
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    for package, version in lowest(requirements(declared, *sys.argv[1:])).items():
        print(f"{package}=={version}")
