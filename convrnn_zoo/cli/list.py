"""``convrnn-zoo list``."""

import json

import click

from .._hints import suggest
from ..models import WEIGHTS, list_models
from ._options import json_option
from ._text import columns, format_metric


@click.command("list")
@click.argument("pattern", default="")
@click.option("--pretrained", is_flag=True, help="List only weights, with their data and main metric.")
@json_option
def list_names(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the names of the zoo.

    PATTERN is a shell pattern in quotes, such as 'convgru2d*'.
    """
    names = list_models(pattern, pretrained=pretrained)
    if not names:
        hint = suggest(pattern, list_models(pretrained=pretrained), 5)
        raise click.ClickException(f"no name matches {pattern!r}; {hint} Quote patterns such as 'conv*2d*'.")
    if as_json:
        click.echo(json.dumps(names, indent=2))
    elif pretrained:
        rows = [(n, WEIGHTS[n].trained_on, format_metric(WEIGHTS[n].metrics[0])) for n in names]
        click.echo(columns(rows, header=("weights", "data", "metric")))
    else:
        click.echo("\n".join(names))
