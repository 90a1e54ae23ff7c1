"""The pages and the examples on them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CARDS = sorted((ROOT / "model_cards").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *CARDS]
PAGES += sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.M
)


class Block(NamedTuple):
    """An example: its language, and why it is not run, where it is not."""

    language: str
    code: str
    reason: str | None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m[2], m[3], m[1]) for m in found]
