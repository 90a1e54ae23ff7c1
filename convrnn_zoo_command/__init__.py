"""The program ``convrnn-zoo``.

``import convrnn_zoo`` imports torch and timm, which takes seconds. If this module is imported first, ``convrnn_zoo``
imports its public names at their first use instead, so that a command imports only the packages that it needs.
"""


def main() -> None:
    """Runs the command line."""
    from convrnn_zoo.cli import main as run

    run()
