"""Runs the command line for ``python -m convrnn_zoo``."""

from .cli import main

if __name__ == "__main__":
    main()
