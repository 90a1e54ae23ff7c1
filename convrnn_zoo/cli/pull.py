"""``convrnn-zoo pull``."""

from pathlib import Path

import click

from .._atomic import write_text
from ..hub import from_pretrained, save_pretrained
from ..models import ZooModel
from ..models.factory import split_address
from ..pretrained.config import CARD, MAX_TEXT, read_text
from ..pretrained.download import HubFile, download
from ..pretrained.errors import HubAccessError, WeightsError
from ..values.units import plural
from ._options import output_directory


@click.command()
@click.argument("repo_id", metavar="NAME")
@click.option("--revision", help="Branch, tag or commit [default: main].")
@output_directory("Directory to save the model in [default: only the cache].")
def pull(repo_id: str, revision: str | None, output: Path | None) -> None:
    """Download weights and check them.

    NAME is a repository of the Hugging Face Hub, OWNER/REPO, or weights of other projects by the name that the zoo has
    for them, such as firenet.evreal. Afterwards they load without network. An existing README.md in the output
    directory is kept.
    """
    scheme, name = split_address(repo_id)
    if not scheme and revision is not None:
        raise click.UsageError(f"{name} has no revisions; --revision is for repositories of the Hub")
    if scheme == "local-dir":
        raise click.UsageError(f"{repo_id} is a local directory; pull expects the name of a repository, OWNER/REPO")
    model = from_pretrained(f"hf-hub:{name}", revision=revision) if scheme else from_pretrained(name)
    cfg = model.pretrained_cfg
    if output is not None and scheme:
        _save_card(HubFile(name.partition("@")[0], CARD, cfg["hf_hub_id"].partition("@")[2]), output, model)
    if output is not None:
        save_pretrained(model, output)
    parameters = plural(sum(p.numel() for p in model.parameters()), "parameter")
    origin = f"from {cfg['hf_hub_id']}" if scheme else f"licence: {cfg['license']}"
    click.echo(f"{cfg['architecture']}{'' if scheme else '.' + cfg['tag']}, {parameters}, {origin}")


def _save_card(file: HubFile, output: Path, model: ZooModel) -> None:
    """Saves the text of a card; its tables are generated later if there is metadata."""
    if (output / CARD).is_file():
        click.echo(f"{output / CARD} exists and is kept", err=True)
        return
    try:
        write_text(output / CARD, read_text(download(file, max_bytes=MAX_TEXT), str(file)))
    except (HubAccessError, WeightsError) as e:
        result = "the card is generated" if model.metadata else "no card is saved"
        click.echo(f"Warning: {result}, since none could be downloaded: {e}", err=True)
