"""Lists what is missing for a release: ``python tools/release.py``. Fails if anything is.

It needs no package but Python, since the workflow that publishes runs it before anything is installed.
"""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
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


def main() -> int:
    """Prints what is missing, and returns the exit status."""
    found = list(missing())
    for line in found:
        print(line)
    print(f"{len(found)} points are open; see HOW_TO_RELEASE.md" if found else "ready for the release")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
