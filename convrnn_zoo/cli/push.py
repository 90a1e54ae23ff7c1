"""``convrnn-zoo push``."""

import re
from pathlib import Path

import click

from ..hub import from_pretrained, push_to_hub
from ..pretrained.config import CARD
from ._options import WEIGHTS_EPILOG


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--private/--public", default=None, help="Visibility of a new repository.")
@click.option("--revision", help="Branch, which is created if it does not exist [default: main].")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of pushing to the branch.")
@click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="README.md to push.")
def push(
    weights: str, repo_id: str, private: bool | None, revision: str | None, create_pr: bool, card: Path | None
) -> None:
    """Push a model to the Hugging Face Hub, in one commit.

    The model card of a directory is pushed with it. Log in with `hf auth login`, or set HF_TOKEN.
    """
    model = from_pretrained(weights)
    own_card = Path(weights).expanduser() / CARD
    text = card.read_text(encoding="utf-8") if card else None
    if card is None and own_card.is_file():  # its example loads the directory, which others do not have
        text = re.sub(r'(?<=from_pretrained\()"[^"]*"', f'"{repo_id}"', own_card.read_text(encoding="utf-8"), count=1)
    commit = push_to_hub(model, repo_id, private=private, revision=revision, create_pr=create_pr, card=text)
    click.echo(commit.pr_url or commit.commit_url)
