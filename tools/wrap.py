"""MkDocs hook: names in tables wrap after an underscore or a dot, so that tables fit a phone."""

import re
from typing import Any

_CODE = re.compile(r"(<td[^>]*>(?:<a [^>]*>)?<code>)([^<]+)")


def on_post_page(output: str, **_: Any) -> str:
    """Inserts ``<wbr>`` into the names, after the search has indexed the page."""
    return _CODE.sub(lambda cell: cell[1] + re.sub(r"(?<=[_.])(?=\w)", "<wbr>", cell[2]), output)
