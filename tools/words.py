"""Counts the words of the pages that are written by hand: ``python -m tools.words``.

A word is a token with a letter or a digit. Examples are counted apart. Generated parts are not counted, nor are the
reference, the model cards and the changelog.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST, MOST_OF_A_PAGE = 28_000, 2_000
"""Words of text of all pages together, and of one."""
_NOT_WRITTEN = re.compile(r"<!-- generated: \w+ -->.*?<!-- end -->|<!--.*?-->", re.DOTALL)


_EXAMPLE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def count(text: str) -> tuple[int, int]:
    """Returns the words of text and of examples of a page, without its generated parts."""
    text = _NOT_WRITTEN.sub("", text)
    every, written = (sum(any(map(str.isalnum, w)) for w in t.split()) for t in (text, _EXAMPLE.sub("", text)))
    return written, every - written


def pages(root: Path = ROOT) -> dict[Path, tuple[int, int]]:
    """Returns the words of README, CONTRIBUTING and every page of docs/ outside the reference."""
    docs = [p for p in (root / "docs").rglob("*.md") if not p.is_symlink() and "reference" not in p.parts]
    return {p: count(p.read_text(encoding="utf-8")) for p in (root / "README.md", root / "CONTRIBUTING.md", *docs)}


if __name__ == "__main__":
    counts = pages()
    for path, (written, examples) in sorted(counts.items(), key=lambda item: item[1]):
        print(f"{written:6,} + {examples:5,} {path.relative_to(ROOT)}")
    written, examples = map(sum, zip(*counts.values(), strict=True))
    print(f"{written:6,} words of text, of {MOST:,}, and {examples:,} of examples")
