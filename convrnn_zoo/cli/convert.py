"""``convrnn-zoo convert``."""

import json
from pathlib import Path
from typing import Any

import click

from ..interop import SOURCES
from ..interop import convert as convert_checkpoint
from ..interop._load import AUTO
from ._options import Choice


def parse_option(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` as a name and a value: JSON where it is JSON, words otherwise.

    Example:
        >>> parse_option("padding=same"), parse_option("strides=[2, 1]"), parse_option("groups=2")
        (('padding', 'same'), ('strides', [2, 1]), ('groups', 2))
    """
    key, given, value = text.partition("=")
    if not given or not key.isidentifier():
        raise click.BadParameter(f"expected KEY=VALUE, such as padding=same, got {text!r}")
    try:
        return key, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except ValueError:
        return key, value


@click.command()
@click.argument("source_and_file", nargs=-1, required=True, metavar="[SOURCE] FILE")
@click.option("--source", type=Choice([AUTO, *SOURCES]), help="SOURCE as an option [default: auto].")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory to make.")
@click.option("--name", help="OWNER/NAME it will have on the Hub, or a title [default: the directory's name].")
@click.option("--prefix", default="", help="What stands before the layer's keys in a larger model.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="What the weights do not tell. Repeatable.")
def convert(
    source_and_file: tuple[str, ...],
    source: str | None,
    out: Path,
    name: str | None,
    prefix: str,
    options: tuple[str, ...],
) -> None:
    """Convert the checkpoint FILE of another code base into a model of the zoo.

    SOURCE is one of those below; auto, the default, goes by the keys, and says how it
    knew. The directory holds config.json, model.safetensors and a card, and appears whole or not at all.

    \b
    convrnn-zoo convert ndrplz convlstm.pth -o convlstm
    convrnn-zoo convert keras model.keras -o convlstm --set layer=conv_lstm2d
    convrnn-zoo convert auto rnn.pth -o rnn --prefix encoder. --set nonlinearity=tanh
    """
    *first, file = source_and_file
    if len(first) > 1 or (first and source):
        raise click.UsageError(f"expected [SOURCE] FILE, the source named once, got {' '.join(source_and_file)}")
    chosen = Choice([AUTO, *SOURCES])(first[0]) if first else source or AUTO
    given = dict(map(parse_option, options))
    made = convert_checkpoint(chosen, Path(file), out, name=name, prefix=prefix, **given)
    click.echo(f"{made.directory}: {made.architecture}, {made.parameters:,} parameters")
    click.echo(f"source: {made.source}, because {made.why}")


convert.epilog = "\b\nWhat to --set, by source:\n" + "\n".join(
    f"  {name}: {key} ({words})" for name, known in SOURCES.items() for key, words in known.options.items()
)
