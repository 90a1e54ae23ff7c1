"""Loading of the argument WEIGHTS of a command."""

from typing import Any

import click

from ..models import ZooModel, from_pretrained
from ..pretrained.published import find_published
from ..pretrained.registry import find_weights


def load_weights(weights: str, quiet: bool, **kwargs: Any) -> ZooModel:
    """Loads a model; reports the weights on stderr if `weights` is an architecture with several."""
    model: ZooModel = from_pretrained(weights, **kwargs)
    names = [w.name for w in find_weights(weights)] + [p.name for p in find_published(weights)]
    default, *others = names or [weights]
    if others and not quiet and model.metadata and model.metadata.name == default:
        click.echo(f"{weights}: its default weights {default} are used; others: {', '.join(others)}", err=True)
    return model
