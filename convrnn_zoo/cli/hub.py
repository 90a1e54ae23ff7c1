"""``convrnn-zoo push`` and ``pull``."""

from pathlib import Path

import click

from .._atomic import write_text
from ..hub import from_pretrained, push_to_hub, save_pretrained
from ..models import HubAccessError
from ..pretrained.config import CARD
from ..pretrained.download import fetch
from ..pretrained.hub_errors import Where


@click.command()
@click.argument("source", metavar="NAME|DIR|RECORD.json")
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--private/--public", default=None, help="Visibility of a repository that is made.")
@click.option("--revision", help="Branch; made if it is not there. main by default.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead.")
@click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="README.md to push.")
def push(
    source: str, repo_id: str, private: bool | None, revision: str | None, create_pr: bool, card: Path | None
) -> None:
    """Push a model to the Hugging Face Hub, in one commit.

    It is weights of the zoo (architecture.tag), a directory that a training run or save_pretrained wrote, whose card
    goes along, or the record of a run. The token is that of `hf auth login`, or HF_TOKEN.
    """
    model = from_pretrained(source)
    beside = Path(source) / CARD
    words = card or (beside if beside.is_file() else None)
    done = push_to_hub(
        model, repo_id, private=private, revision=revision, create_pr=create_pr,
        card=words.read_text(encoding="utf-8") if words else None,
    )  # fmt: skip
    click.echo(done.pr_url or done.commit_url)


@click.command()
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--revision", help="Branch, tag or commit; main by default.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Directory to save the model in.")
def pull(repo_id: str, revision: str | None, into: Path | None) -> None:
    """Load a model from the Hugging Face Hub, check it whole, and keep it in the cache, or in a directory."""
    repo_id = repo_id.removeprefix("hf-hub:")
    model = from_pretrained(f"hf-hub:{repo_id}", revision=revision)
    if into is not None:
        if model.record is not None:  # with the words of its card; its facts are drawn from the record
            name, _, at = model.pretrained_cfg["hf_hub_id"].partition("@")
            try:
                card = fetch(Where(name, at, CARD)).read_text(encoding="utf-8")
            except HubAccessError as e:
                click.echo(f"its card is made anew: {e}", err=True)
            else:
                write_text(into / CARD, card)
        save_pretrained(model, into)
    cfg = model.pretrained_cfg
    parameters = sum(p.numel() for p in model.parameters())
    click.echo(f"{cfg['architecture']}, {parameters:,} parameters, from {cfg['hf_hub_id']}")
