"""Tables, for the terminal and for Markdown."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Rows as aligned columns.

    Example:
        >>> print(columns([("a", 1), ("long", 22)], header=("name", "n")))
        name  n
        a     1
        long  22
    """
    cells = [[str(c) for c in row] for row in ([header, *rows] if header else rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as a Markdown table.

    Example:
        >>> print(markdown(("a", "b"), [(1, 2)]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    rule = "|" + "---|" * len(header)
    first, *rest = ("| " + " | ".join(map(str, row)) + " |" for row in (header, *rows))
    return "\n".join((first, rule, *rest))
