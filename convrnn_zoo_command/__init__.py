"""The program ``convrnn-zoo``: the group of commands, which imports torch and timm only for a command that runs."""

import os
import sys


def main() -> None:
    """Runs the command line, or prints how to install its dependencies."""
    try:
        import click  # noqa: F401

        from .group import cli
    except ImportError as e:
        sys.exit(f"{e}; run: pip install 'convrnn-zoo[cli]'")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks Linux for huge pages, which large maps fill sooner
    cli()
