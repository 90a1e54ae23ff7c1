"""``convrnn-zoo list``."""

import fnmatch
import json
from pathlib import Path

import click

from .._hints import suggest
from ._options import json_option
from ._text import columns

NAMES = Path(__file__).with_name("names.json")
"""Names of all architectures, and a row per set of weights. ``make docs`` writes it; `list` runs without torch."""


@click.command("list")
@click.argument("pattern", default="")
@click.option("--pretrained", is_flag=True, help="List only weights, with their data and main metric.")
@json_option
def list_names(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the names of the zoo.

    PATTERN is a shell pattern in quotes, such as 'convgru2d*'.
    """
    table = json.loads(NAMES.read_text(encoding="utf-8"))["weights" if pretrained else "architectures"]
    rows = [row for row in table if fnmatch.fnmatch(row[0], pattern or "*")]
    if not rows:
        hint = suggest(pattern, (row[0] for row in table), 5)
        raise click.ClickException(f"no name matches {pattern!r}; {hint} Quote patterns such as 'conv*2d*'.")
    if as_json:
        click.echo(json.dumps([row[0] for row in rows], indent=2))
    else:
        click.echo(columns(rows, header=("weights", "data", "metric") if pretrained else ()))
