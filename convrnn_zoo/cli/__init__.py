"""Command line, ``convrnn-zoo`` or ``python -m convrnn_zoo``: one file per command, which calls the other packages.

The group of all commands is in the package ``convrnn_zoo_command``, so that its help imports no command.
"""
