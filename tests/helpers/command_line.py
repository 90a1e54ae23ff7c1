"""Helper that calls the command line in tests."""

from click.testing import CliRunner

from convrnn_zoo.cli._group import cli


def run(*args, code=0):
    """Runs a command that must exit with `code`, and returns its output."""
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output
