"""Counts the words of the pages that are written by hand: ``python -m tools.words``.

A word is a token with a letter or a digit, in text and in code. Generated parts are not counted, nor are the reference,
the model cards and the changelog.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST, MOST_OF_A_PAGE = 28_000, 2_000
"""Words of all pages together, and of one."""
_NOT_WRITTEN = re.compile(r"<!-- generated: \w+ -->.*?<!-- end -->|<!--.*?-->", re.DOTALL)


def count(text: str) -> int:
    """Returns the number of words of a page without its generated parts."""
    return sum(any(map(str.isalnum, word)) for word in _NOT_WRITTEN.sub("", text).split())


def pages(root: Path = ROOT) -> dict[Path, int]:
    """Returns the number of words of README, CONTRIBUTING and every page of docs/ outside the reference."""
    docs = [p for p in (root / "docs").rglob("*.md") if not p.is_symlink() and "reference" not in p.parts]
    return {p: count(p.read_text(encoding="utf-8")) for p in (root / "README.md", root / "CONTRIBUTING.md", *docs)}


if __name__ == "__main__":
    counts = pages()
    for path, words in sorted(counts.items(), key=lambda item: item[1]):
        print(f"{words:6,} {path.relative_to(ROOT)}")
    print(f"{sum(counts.values()):6,} of {MOST:,}")
