"""Command line: ``convrnn-zoo``, or ``python -m convrnn_zoo``."""

import sys

from .._extras import need


def main() -> None:
    """Runs the command line, or prints how to install its dependencies."""
    try:
        need("click", "cli")
    except ImportError as e:
        sys.exit(str(e))
    from ._group import cli

    cli()
