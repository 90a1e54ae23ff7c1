"""The command line as tests call it."""

from click.testing import CliRunner

from convrnn_zoo.cli._group import cli


def run(*args, code=0):
    """The output of a command that must end with `code`."""
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == code, done.output
    return done.output
