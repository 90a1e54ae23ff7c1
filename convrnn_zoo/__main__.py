"""Runs the command line for ``python -m convrnn_zoo``."""

from convrnn_zoo_command import main

if __name__ == "__main__":
    main()
