"""Markdown tables."""

import math
import re
from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Formats rows as a Markdown table.

    Example:
        >>> print(markdown(("a", "b"), [(1, 2)]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    rule = "|" + "---|" * len(header)
    first, *rest = ("| " + " | ".join(map(str, row)) + " |" for row in (header, *rows))
    return "\n".join((first, rule, *rest))


_TABLE = re.compile(r"^\|.*\|\n\|(?:-+\|)+$(?:\n\|.*\|$)*", re.MULTILINE)


def narrow(text: str, widest: int = 6) -> str:
    """Splits the tables of a Markdown text with more than `widest` columns; each part repeats the first column.

    Example:
        >>> print(narrow(markdown("abcd", [(1, 2, 3, 4)]), widest=3))
        | a | b | c |
        |---|---|---|
        | 1 | 2 | 3 |
        <BLANKLINE>
        | a | d |
        |---|---|
        | 1 | 4 |
    """

    def split(match: re.Match[str]) -> str:
        header, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in match[0].split("\n"))
        if len(header) <= widest:
            return match[0]
        parts = math.ceil((len(header) - 1) / (widest - 1))
        size = math.ceil((len(header) - 1) / parts)
        starts = range(1, len(header), size)
        return "\n\n".join(
            markdown([header[0], *header[i : i + size]], [[row[0], *row[i : i + size]] for row in rows]) for i in starts
        )

    return _TABLE.sub(split, text)
