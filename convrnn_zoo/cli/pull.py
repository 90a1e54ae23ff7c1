"""``convrnn-zoo pull``."""

from pathlib import Path

import click

from .._atomic import write_text
from ..hub import from_pretrained, save_pretrained
from ..models import HubAccessError
from ..pretrained.config import CARD
from ..pretrained.download import fetch
from ..pretrained.hub_errors import Where
from ._text import plural


@click.command()
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--revision", help="Branch, tag or commit [default: main].")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path),
    help="Directory to save the model in [default: only the cache].",
)  # fmt: skip
def pull(repo_id: str, revision: str | None, output: Path | None) -> None:
    """Download a model from the Hugging Face Hub and check it."""
    repo_id = repo_id.removeprefix("hf-hub:")
    model = from_pretrained(f"hf-hub:{repo_id}", revision=revision)
    if output is not None:
        if model.record is not None:  # keeps the text of the card, whose tables are generated
            name, _, commit = model.pretrained_cfg["hf_hub_id"].partition("@")
            try:
                card = fetch(Where(name, commit, CARD)).read_text(encoding="utf-8")
            except HubAccessError as e:
                click.echo(f"Warning: the card is generated, since it could not be downloaded: {e}", err=True)
            else:
                write_text(output / CARD, card)
        save_pretrained(model, output)
    cfg = model.pretrained_cfg
    parameters = plural(sum(p.numel() for p in model.parameters()), "parameter")
    click.echo(f"{cfg['architecture']}, {parameters}, from {cfg['hf_hub_id']}")
