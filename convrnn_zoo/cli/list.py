"""``convrnn-zoo list``."""

import fnmatch
import json
import math
import re

import click

from .._hints import suggest
from ..models import list_models
from ..pretrained.metadata import WEIGHTS
from ..pretrained.published import PUBLISHED
from ._options import json_option
from ._text import columns, format_metric


@click.command("list")
@click.argument("pattern", default="")
@click.option("--pretrained", is_flag=True, help="List weights, with their data, main metric, location and licence.")
@json_option
def list_names(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the names of the zoo.

    PATTERN is a shell pattern in quotes, such as 'convgru2d*'. Without it, a core family is one line, such as
    convgru{1,2,3}d{,_bi}_{1,2,3}layer, which a shell expands.
    """
    table: list[tuple[str, ...]] = [(name,) for name in list_models()]
    if pretrained:
        shipped, others = WEIGHTS.values(), PUBLISHED.values()
        table = [(w.name, w.trained_on, format_metric(w.metrics[0]), "in the package", w.license) for w in shipped]
        table += [(p.name, p.dataset, "", p.location, p.license_text) for p in others]
    rows = [row for row in table if fnmatch.fnmatch(row[0], pattern or "*")]
    if not rows:
        hint = suggest(pattern, (row[0] for row in table), 5)
        raise click.ClickException(f"no name matches {pattern!r}; {hint} Quote patterns such as 'conv*2d*'.")
    if as_json:
        click.echo(json.dumps([row[0] for row in rows], indent=2))
    else:
        rows = rows if pretrained or pattern else [(name,) for name in group_names([row[0] for row in rows])]
        click.echo(columns(rows, header=("weights", "data", "metric", "file", "licence") if pretrained else ()))


def group_names(names: list[str]) -> list[str]:
    """Replaces the models of a core family, of which there is one for every size, by a pattern that a shell expands.

    Example:
        >>> group_names(["convgru1d_1layer", "convgru1d_2layer", "irene"])
        ['convgru1d_{1,2}layer', 'irene']
    """
    families: dict[str, list[re.Match[str]]] = {}
    for name in names:
        if core := re.fullmatch(r"([a-z]+)(\d)d(_bi|)_(\d)layer", name):
            families.setdefault(core[1], []).append(core)
    patterns: dict[str, str] = {}
    for family, members in families.items():
        options = [sorted({core[i] for core in members}) for i in (2, 3, 4)]
        if len(members) == math.prod(map(len, options)):
            dimension, direction, layers = (f"{{{','.join(o)}}}" if len(o) > 1 else o[0] for o in options)
            patterns |= {core[0]: f"{family}{dimension}d{direction}_{layers}layer" for core in members}
    return list(dict.fromkeys(patterns.get(name, name) for name in names))
