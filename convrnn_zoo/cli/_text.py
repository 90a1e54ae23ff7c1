"""Tables for the terminal."""

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
