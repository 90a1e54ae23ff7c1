"""Text for the terminal."""

from collections.abc import Sequence


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural unless the count is 1.

    Example:
        >>> plural(1, "frame"), plural(1200, "frame")
        ('1 frame', '1,200 frames')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def columns(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Returns rows as aligned columns.

    Example:
        >>> print(columns([("a", 1), ("long", 22)], header=("name", "n")))
        name  n
        a     1
        long  22
    """
    cells = [[str(c) for c in row] for row in ([header, *rows] if header else rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
