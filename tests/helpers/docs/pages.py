"""Pages and their examples."""

from pathlib import Path
from typing import NamedTuple

from tools import EXAMPLE, ROOT

CARDS = sorted((ROOT / "model_cards").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *CARDS]
PAGES += sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())


class Block(NamedTuple):
    """Example with its language, and the reason if it is not run."""

    language: str
    code: str
    reason: str | None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    matches = EXAMPLE.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], m["code"], m["reason"]) for m in matches]
