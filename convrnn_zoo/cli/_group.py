"""The group of all commands."""

from importlib import import_module
from typing import Any

import click

from .._hints import suggest
from .._version import __version__
from ._text import printable, spell_options

COMMANDS = {
    "archive": ("archive", "Forecast from many issue times of an archive of frames into one .zarr store."),
    "convert": ("convert", "Convert the checkpoint FILE of another project into a model of the zoo."),
    "demo": ("demo", "Run pretrained models on the radar images, digits and recordings of the package."),
    "eval": ("eval_weights", "Evaluate WEIGHTS on the test split of their data, and compare them with baselines."),
    "export": ("export", "Export a model to ONNX or to a program of torch.export."),
    "info": ("info", "Describe a model: parameters, input, unit of its values, metrics, source and licence."),
    "list": ("list_names", "List the names of the zoo."),
    "predict": ("predict", "Classify the sequences in FILEs, or forecast the frames that follow those in FILE."),
    "pull": ("pull", "Download weights and check them."),
    "push": ("push", "Push a model to the Hugging Face Hub, in one commit, or save it to a directory."),
    "recipe": ("recipe", "Print a recipe to start from, with a comment on every key."),
    "spot": ("spot", "List the words in sounds of any length."),
    "train": ("train", "Train the weights of RECIPE, a .toml file or a recipe of the package."),
}
"""Function and short help of each command. The function is in the module of the command's name."""


class Group(click.Group):
    """Command group that imports commands when they are used, and reports user errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __package__), COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command. Without ``--debug``, errors about input become one line. Ctrl-C exits with status 130."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends silently when the reader of a pipe closes it
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(130) from None
        except (ValueError, OSError, ImportError, FloatingPointError) as e:
            if ctx.params.get("debug"):
                raise
            command = self.get_command(ctx, ctx.invoked_subcommand or "") or self
            raise click.ClickException(spell_options(printable(e), command) or type(e).__name__) from e

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
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
