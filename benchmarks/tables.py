"""Markdown tables."""

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
