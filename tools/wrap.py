"""MkDocs hook: tables fit a phone. Names wrap at underscores, dots and brackets, and cells name their column."""

import re
from typing import Any

_CODE = re.compile(r"(<t[dh][^>]*>(?:<a [^>]*>)?<code>)([^<]+)")
_BREAK = re.compile(r"(?<=[^\W_][_.])(?=\w)|(?<=\w)(?=\[)|(?<=]_)")
_TABLE = re.compile(r"<table>(.*?)</table>", re.DOTALL)
_ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td(?=[ >])")


def on_post_page(output: str, **_: Any) -> str:
    """Marks wide tables and inserts ``<wbr>`` into the names, after the search has indexed the page."""
    return _CODE.sub(lambda cell: cell[1] + _BREAK.sub("<wbr>", cell[2]), _TABLE.sub(_mark, output))


def _mark(table: re.Match[str]) -> str:
    """Adds the title of its column to each cell of a table with more than three columns, which style.css stacks."""
    titles = [re.sub(r"<[^>]+>", "", th).replace('"', "&quot;") for th in re.findall(r"<th[^>]*>(.*?)</th>", table[1])]
    if len(titles) < 4:
        return table[0]

    def label(row: re.Match[str]) -> str:
        cells = iter(titles)
        return _CELL.sub(lambda _: f'<td data-title="{next(cells)}"', row[0])

    return f"<table data-wide>{_ROW.sub(label, table[1])}</table>"
