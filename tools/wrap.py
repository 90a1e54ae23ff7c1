"""MkDocs hook: links the public repository, and makes tables fit a phone."""

import re
from pathlib import Path
from typing import Any

_CODE = re.compile(r"(<t[dh][^>]*>(?:<a [^>]*>)?<code>)([^<]+)")
_BREAK = re.compile(r"(?<=[^\W_][_.])(?=\w)|(?<=\w)(?=\[)|(?<=]_)")
_TABLE = re.compile(r"<table>(.*?)</table>", re.DOTALL)
_ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td(?=[ >])")


def on_config(config: Any, **_: Any) -> Any:
    """Links the public repository, if there is one."""
    address = Path(config.docs_dir, "project", "address").read_text(encoding="utf-8").strip()
    if not address.startswith("#"):
        config.repo_url, config.repo_name = address, address.removeprefix("https://github.com/")
    return config


def on_post_page(output: str, **_: Any) -> str:
    """Marks wide tables, and lets names wrap at underscores, dots and brackets, after the page was indexed."""
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
