"""Progress bars."""

import sys
from typing import Any

from .._extras import need


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """Returns click's progress bar on standard error; `options` are those of ``click.progressbar``."""
    return need("click", "train").progressbar(label=title, hidden=not show, file=sys.stderr, **options)
