"""MkDocs hook: names in tables wrap at underscores, dots and brackets, so that tables fit a phone."""

import re
from typing import Any

_CODE = re.compile(r"(<t[dh][^>]*>(?:<a [^>]*>)?<code>)([^<]+)")
_BREAK = re.compile(r"(?<=[^\W_][_.])(?=\w)|(?<=\w)(?=\[)|(?<=]_)")


def on_post_page(output: str, **_: Any) -> str:
    """Inserts ``<wbr>`` into the names, after the search has indexed the page."""
    return _CODE.sub(lambda cell: cell[1] + _BREAK.sub("<wbr>", cell[2]), output)
