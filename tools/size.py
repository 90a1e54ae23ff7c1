"""Prints the statements and lines of the package by folder, and the words of the pages: ``python -m tools.size``.

A word is a token with a letter or a digit outside of examples. Generated parts are not counted, nor are the reference,
the model cards and the changelog.
"""

import ast
import re
from collections import Counter
from pathlib import Path

from . import ROOT

_NOT_TEXT = re.compile(r"<!-- generated: \w+ -->.*?<!-- end -->|<!--.*?-->|^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def count_statements(text: str) -> int:
    """Returns the number of statements; docstrings and comments are none.

    Example:
        >>> count_statements('def f(x):\\n    "Doubles."\\n    return 2 * x')
        2
    """
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    return sum(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in nodes)


if __name__ == "__main__":
    statements, lines, words = Counter[str](), Counter[str](), Counter[Path]()
    for path in sorted((ROOT / "convrnn_zoo").rglob("*.py")):
        text, parts = path.read_text(encoding="utf-8"), path.relative_to(ROOT / "convrnn_zoo").parts
        for folder in (parts[0] if len(parts) > 1 else ".", "total"):
            statements[folder] += count_statements(text)
            lines[folder] += text.count("\n")
    for folder, count in sorted(statements.items(), key=lambda item: (item[0] == "total", -item[1])):
        print(f"{folder:<12}{count:>8,}{lines[folder]:>8,}")
    docs = [p for p in (ROOT / "docs").rglob("*.md") if not p.is_symlink() and "reference" not in p.parts]
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs):
        text = _NOT_TEXT.sub("", page.read_text(encoding="utf-8"))
        words[page.relative_to(ROOT)] = sum(any(map(str.isalnum, word)) for word in text.split())
    print(f"\n{words.total():,} words on {len(words)} pages; most are on")
    for page, count in words.most_common(10):
        print(f"{count:>6,} {page}")
