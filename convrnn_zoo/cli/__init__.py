"""Command line, ``convrnn-zoo`` or ``python -m convrnn_zoo``: one file per command, which calls the other packages.

The program starts in the package ``convrnn_zoo_command``, so that a command imports only what it needs.
"""

import sys
import warnings

from .._extras import need


def main() -> None:
    """Runs the command line, or prints how to install its dependencies."""
    try:
        need("click", "cli")
    except ImportError as e:
        sys.exit(str(e))
    from ._group import cli
    from ._text import format_warning

    warnings.formatwarning = lambda message, *_: format_warning(message)
    cli()
