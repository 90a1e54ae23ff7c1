"""The program ``convrnn-zoo``: the group of commands, which imports torch and timm only for a command that runs.

It is a package of its own, since a module of ``convrnn_zoo`` cannot be imported without the package. That registers the
architectures in timm's registry, which imports torch, so that help and shell completion would take seconds.
"""

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
