"""Markdown tables."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


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


def table(rows: Iterable[Any], columns: Mapping[str, str | Callable[[Any], object]]) -> str:
    """Formats a Markdown table with a row for each item.

    A column is a title, and a format string for the keys of an item or a function of the item.

    Example:
        >>> print(table([{"n": 2, "s": 0.25}], {"share": "{s:.0%}", "square": lambda row: row["n"] ** 2}))
        | share | square |
        |---|---|
        | 25% | 4 |
    """
    cells = [[c.format_map(row) if isinstance(c, str) else c(row) for c in columns.values()] for row in rows]
    return markdown(tuple(columns), cells)


def rows_of(rows: Iterable[Any], columns: Mapping[str, str | Callable[[Any], object]], page: str) -> str:
    """Formats the same table on every page."""
    return table(rows, columns)


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
