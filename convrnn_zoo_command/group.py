"""The group of all commands, which imports no other package than click."""

import warnings
from importlib import import_module
from typing import Any

import click

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
"""Function and short help of each command. The function is in the module of ``convrnn_zoo.cli`` of its name."""


class Group(click.Group):
    """Command group that imports commands when they are used, and reports user errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"convrnn_zoo.cli.{cmd_name}"), COMMANDS[cmd_name][0])
        from convrnn_zoo.cli._text import format_warning

        warnings.formatwarning = lambda message, *_: format_warning(message)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the names and the short help of the commands, without importing them."""
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
            from convrnn_zoo.cli._text import printable, spell_options

            command = self.get_command(ctx, ctx.invoked_subcommand or "") or self
            raise click.ClickException(spell_options(printable(e), command) or type(e).__name__) from e

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests a command in place of an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from convrnn_zoo._hints import suggest

            raise click.UsageError(f"no command {args[0]!r}; {suggest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "convrnn-zoo", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="convrnn-zoo", prog_name="convrnn-zoo")
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
