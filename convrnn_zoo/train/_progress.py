"""Progress bars."""

import sys
from typing import Any

from .._extras import need


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """Returns click's progress bar on standard error, hidden unless that is a terminal.

    `options` are those of ``click.progressbar``.
    """
    return need("click", "train").progressbar(
        label=title, hidden=not (show and sys.stderr.isatty()), file=sys.stderr, **options
    )
