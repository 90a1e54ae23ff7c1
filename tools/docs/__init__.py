"""Writes the generated parts of README, pages and model cards: ``python -m tools.docs``.

A generated part is enclosed by ``<!-- generated: NAME -->`` and ``<!-- end -->``. The text around it is preserved. The
function of that name is in one of :data:`MODULES`. ``--check`` lists stale files, writes nothing and fails if there are
any.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType

from benchmarks.tables import narrow
from convrnn_zoo import WEIGHTS

from .. import ROOT
from ..weights import CARDS, shipped_card
from . import models, notebooks, nowcasts, reference, timings

MODULES = (models, nowcasts, reference, timings)
PARTS: dict[str, Callable[[str], str]] = {
    name: part
    for module in MODULES
    for name, part in vars(module).items()
    if isinstance(part, FunctionType | partial) and list(inspect.signature(part).parameters) == ["page"]
}
"""The functions that write the generated parts, by name."""


def fill(text: str, page: Path) -> str:
    """Returns the text of a page with all generated parts updated."""
    path = page.relative_to(ROOT).as_posix()
    parts = r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)"
    return re.sub(parts, lambda p: f"{p[1]}{narrow(PARTS[p[2]](path))}\n{p[3]}", text, flags=re.DOTALL)


def stale() -> dict[Path, str]:
    """Returns the stale files with their new text."""
    updates: dict[Path, str] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        updates[page] = fill(page.read_text(encoding="utf-8"), page)
        if notebooks.has_notebook(page):
            updates[ROOT / notebooks.path(page)] = notebooks.notebook(updates[page])
    for name, metadata in WEIGHTS.items():
        card = CARDS / f"{name}.md"
        text = shipped_card(metadata, card.read_text(encoding="utf-8") if card.exists() else "")
        updates[card] = fill(text, card)
    return {p: text for p, text in updates.items() if not p.exists() or p.read_text(encoding="utf-8") != text}
