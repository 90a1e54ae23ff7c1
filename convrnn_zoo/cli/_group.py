"""The group of all commands."""

from typing import Any

import click

from .._hints import suggest
from .._version import __version__
from .convert import convert
from .demo import demo
from .eval import eval_weights
from .export import export
from .info import info
from .list import list_names
from .predict import predict
from .pull import pull
from .push import push
from .train import train
from .windows import windows


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
    convrnn-zoo list 'convlstm2d*'         list architectures
    convrnn-zoo list --pretrained          list pretrained weights
    convrnn-zoo info NAME                  describe a model and its metrics
    convrnn-zoo demo                       run pretrained models on sample data
    convrnn-zoo predict WEIGHTS FILE.npy   run a pretrained model on your data
    convrnn-zoo train RECIPE --data DIR    train your own weights
    """


for command in (
    list_names, info, demo, predict, train, eval_weights, windows, convert, export, push, pull,
):  # fmt: skip
    cli.add_command(command)
