"""Prints the number of statements and of lines in each folder of the package: ``python -m tools.size``."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def count_statements(text: str) -> int:
    """Returns the number of statements; docstrings and comments are none.

    Example:
        >>> count_statements('def f(x):\\n    "Doubles."\\n    return 2 * x')
        2
    """
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    texts = [n for n in nodes if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    return len(nodes) - len(texts)


def main() -> None:
    """Prints the table; the files at the top of the package are in the row "."."""
    statements: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    package = ROOT / "convrnn_zoo"
    for path in sorted(package.rglob("*.py")):
        text, parts = path.read_text(encoding="utf-8"), path.relative_to(package).parts
        folder = parts[0] if len(parts) > 1 else "."
        statements[folder] += count_statements(text)
        lines[folder] += text.count("\n")
    for folder, count in [*statements.most_common(), ("total", statements.total())]:
        print(f"{folder:<12}{count:>8,}{lines[folder] if folder != 'total' else lines.total():>8,}")


if __name__ == "__main__":
    main()
