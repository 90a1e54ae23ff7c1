"""``convrnn-zoo convert``."""

import json
from pathlib import Path
from typing import Any

import click

from ..interop import SOURCES
from ..interop import convert as convert_checkpoint
from ..interop._conversion import AUTO
from ..values.units import plural
from ._options import Choice, output_directory


def parse_option(text: str) -> tuple[str, Any]:
    """Splits ``KEY=VALUE``. The value is parsed as JSON; a value that is not JSON stays a string.

    Example:
        >>> parse_option("padding=same"), parse_option("strides=[2, 1]"), parse_option("groups=2")
        (('padding', 'same'), ('strides', [2, 1]), ('groups', 2))
    """
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise click.BadParameter(f"expected KEY=VALUE, such as padding=same, got {text!r}", param_hint="--set")
    try:
        return key, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except ValueError:
        return key, value


@click.command()
@click.argument("source_and_file", nargs=-1, required=True, metavar="[SOURCE] FILE")
@click.option("--source", type=Choice([AUTO, *SOURCES]), help="SOURCE as an option [default: auto].")
@output_directory("Directory to create.", required=True)
@click.option("--name", help="OWNER/NAME on the Hub, or a title [default: the name of the directory].")
@click.option("--prefix", default="", help="Prefix of the layer's keys in the checkpoint of a larger model.")
@click.option(
    "--set", "options", multiple=True, metavar="KEY=VALUE", help="Option of the source; see below. Repeatable."
)
def convert(
    source_and_file: tuple[str, ...],
    source: str | None,
    output: Path,
    name: str | None,
    prefix: str,
    options: tuple[str, ...],
) -> None:
    """Convert the checkpoint FILE of another project into a model of the zoo.

    SOURCE is one of those listed below. The default, auto, recognizes the source by the keys of the checkpoint. The
    output directory receives config.json, model.safetensors and a model card.

    \b
    convrnn-zoo convert ndrplz convlstm.pth -o convlstm
    convrnn-zoo convert keras model.keras -o convlstm --set layer=conv_lstm2d
    convrnn-zoo convert auto rnn.pth -o rnn --prefix encoder. --set nonlinearity=tanh
    """
    *sources, file = source_and_file
    if len(sources) > 1 or (sources and source):
        raise click.UsageError(f"expected [SOURCE] FILE with one source, got {' '.join(source_and_file)}")
    source = Choice([AUTO, *SOURCES])(sources[0]) if sources else source or AUTO
    arguments: dict[str, Any] = {}
    for key, value in map(parse_option, options):
        if key in arguments or key in ("source", "checkpoint", "directory", "name", "prefix"):
            reason = "is set twice" if key in arguments else "is no option of a source; see convrnn-zoo convert --help"
            raise click.BadParameter(f"{key} {reason}", param_hint="--set")
        arguments[key] = value
    result = convert_checkpoint(source, Path(file), output, name=name, prefix=prefix, **arguments)
    click.echo(f"{result.directory}: {result.architecture}, {plural(result.parameters, 'parameter')}")
    click.echo(f"source: {result.source}, because {result.reason}")


convert.epilog = "\b\nOptions for --set, by source:\n" + "\n".join(
    f"  {name}: {key} ({description})"
    for name, source in SOURCES.items()
    for key, description in source.options.items()
)
convert.spellings = {key: f"--set {key}=" for source in SOURCES.values() for key in source.options}  # type: ignore[attr-defined]
"""Text before the value of an argument in messages, which :func:`~convrnn_zoo.cli._text.spell_options` inserts."""
