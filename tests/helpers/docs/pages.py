"""Pages and their examples."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
CARDS = sorted((ROOT / "model_cards").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *CARDS]
PAGES += sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.M
)


class Block(NamedTuple):
    """Example with its language, and the reason if it is not run."""

    language: str
    code: str
    reason: str | None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    matches = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m[2], m[3], m[1]) for m in matches]
