"""Programs of the project, which need a checkout. What they share needs Python only."""

import json
import os.path
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(
    r"(?P<head><!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
"""A block of code of a page with its language, and the reason why it is not run, if there is one."""


def figures(page: Path) -> list[str]:
    """Returns the names of the figures of a page."""
    return re.findall(r"!\[[^]]*\]\([./]*pictures/([\w.]+)\)", page.read_text(encoding="utf-8"))


def recorded(file: str) -> Any:
    """Returns the results in a JSON file, by its path in the repository."""
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def record(file: str, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, a line for each key."""
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in results.items())
    (ROOT / file).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def link(target: str, page: str) -> str:
    """Returns the path of a file relative to a page; both are given relative to the repository."""
    return os.path.relpath(target, os.path.dirname(page))
