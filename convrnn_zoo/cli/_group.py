"""The group of commands, each in its file."""

from typing import Any

import click

from .._hints import suggest
from .._version import __version__
from . import convert, demo, ensemble, evaluate, export, hub, names, predict, train, verify, windows


class Group(click.Group):
    """Group that reports the errors of users in one line, and bugs with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command and converts the exceptions that the package raises on purpose."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends silently when the reader of a pipe closes it
        except (ValueError, OSError, ImportError, FloatingPointError) as e:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(str(e) or type(e).__name__) from e

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or suggests names of commands."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}; {suggest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "convrnn-zoo", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="convrnn-zoo")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def cli(debug: bool) -> None:
    """A model zoo of convolutional RNNs.

    \b
    convrnn-zoo list 'convlstm2d*'        what there is
    convrnn-zoo list --pretrained         what has weights
    convrnn-zoo info NAME                 what it is and what it reaches
    convrnn-zoo demo                      a pretrained model on real recordings
    convrnn-zoo predict NAME FILE.npy     a pretrained model on yours
    convrnn-zoo train RECIPE --data DIR   your own weights, or the zoo's made again
    """


COMMANDS = (
    names.list_names, names.info, demo.demo, predict.predict, ensemble.ensemble, train.train, evaluate.eval_weights,
    windows.windows, verify.verify_weights,
    hub.push, hub.pull, convert.convert, export.export,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)
