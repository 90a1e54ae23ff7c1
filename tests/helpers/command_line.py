"""Helper that calls the command line in tests."""

import warnings

from click.testing import CliRunner

from convrnn_zoo.cli._text import format_warning
from convrnn_zoo_command.group import cli


def run(*args, code=0):
    """Runs a command that must exit with `code`, and returns its output, then its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output + "".join(format_warning(w.message) for w in caught)
