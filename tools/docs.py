"""Writes the generated parts of README, pages and model cards: ``python -m tools.docs``.

A generated part is enclosed by ``<!-- generated: NAME -->`` and ``<!-- end -->``. The text around it is preserved. The
function of that name is in one of :data:`MODULES`. ``--check`` lists stale files, writes nothing and fails if there are
any.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType

from benchmarks.tables import narrow
from convrnn_zoo import WEIGHTS

from . import models, notebooks, nowcasts, reference, timings
from .weights import shipped_card

ROOT = Path(__file__).parent.parent
MODULES = (models, nowcasts, reference, timings)
PARTS: dict[str, Callable[[str], str]] = {
    name: part
    for module in MODULES
    for name, part in vars(module).items()
    if isinstance(part, FunctionType | partial) and list(inspect.signature(part).parameters) == ["page"]
}
"""The functions that write the generated parts, by name."""
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, page: str) -> str:
    """Returns the text of a page with all generated parts updated."""
    return _PART.sub(lambda part: f"{part[1]}{narrow(PARTS[part[2]](page))}\n{part[3]}", text)


def stale(root: Path = ROOT) -> dict[Path, str]:
    """Returns the stale files with their new text."""
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    texts = {p: p.read_text(encoding="utf-8") for p in pages}
    updates = {p: fill(text, p.relative_to(root).as_posix()) for p, text in texts.items() if _PART.search(text)}
    for page, text in {**updates}.items():
        if notebooks.has_notebook(page):
            updates[root / notebooks.path(page)] = notebooks.notebook(text)
    for name, metadata in WEIGHTS.items():
        card = root / "model_cards" / f"{name}.md"
        text = shipped_card(metadata, card.read_text(encoding="utf-8") if card.exists() else "")
        updates[card] = fill(text, card.relative_to(root).as_posix())
    return {p: text for p, text in updates.items() if not p.exists() or p.read_text(encoding="utf-8") != text}


def main(argv: Sequence[str]) -> int:
    """Updates stale files, or lists them and fails with ``--check``."""
    updates = stale()
    for path, text in updates.items():
        print(path.relative_to(ROOT))
        if "--check" not in argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int("--check" in argv and bool(updates))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
