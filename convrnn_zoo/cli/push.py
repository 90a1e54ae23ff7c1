"""``convrnn-zoo push``."""

import json
import re
from pathlib import Path

import click

from .._atomic import write_text
from ..hub import from_pretrained, push_to_hub, save_pretrained
from ..hub.save import check_replaceable
from ..models.factory import is_path, split_address
from ..pretrained.config import CARD, CONFIG
from ._options import WEIGHTS_EPILOG, FilePath


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@click.argument("repo_id", metavar="OWNER/REPO|./DIR")
@click.option("--private/--public", default=None, help="Visibility of a new repository.")
@click.option("--revision", help="Branch, which is created if it does not exist [default: main].")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of pushing to the branch.")
@click.option("--card", type=FilePath(exists=True, dir_okay=False), help="README.md to push.")
def push(
    weights: str, repo_id: str, private: bool | None, revision: str | None, create_pr: bool, card: Path | None
) -> None:
    """Push a model to the Hugging Face Hub, in one commit, or save it to a directory.

    If WEIGHTS is a directory, its model card is pushed as well. Log in with `hf auth login`, or set HF_TOKEN. If the
    second argument is a path, such as ./DIR, /DIR or DIR/, the files of the repository are saved there instead.

    \b
    convrnn-zoo push run me/radar
    convrnn-zoo push convgru_forecaster.rain ./rain
    """
    directory = repo_id.removeprefix("local-dir:")
    is_directory = directory != repo_id or is_path(directory) or directory.endswith("/")
    unused = {"--private/--public": private is not None, "--revision": revision, "--create-pr": create_pr}
    if is_directory and any(unused.values()):
        names = ", ".join(name for name, value in unused.items() if value)
        raise click.UsageError(f"{names}: only valid for a repository, OWNER/REPO; {repo_id} is a directory")
    model = from_pretrained(weights)
    scheme, location = split_address(weights)
    own_card = Path(location).expanduser() / CARD
    text = card.read_text(encoding="utf-8") if card else None
    if card is None and scheme == "local-dir" and own_card.is_file():
        # Its example loads the directory, which others do not have.
        name = json.dumps(directory, ensure_ascii=False)
        content = own_card.read_text(encoding="utf-8")
        text = re.sub(r'(?<=from_pretrained\()"[^"]*"', lambda _: name, content, count=1)
    if is_directory:
        output = Path(directory).expanduser()
        if (output / CARD).is_file() and not (output / CONFIG).is_file():
            raise FileExistsError(f"{output / CARD} is not of a model, and would be replaced; choose another directory")
        check_replaceable(output)
        if text is not None:
            write_text(output / CARD, text)
        click.echo(f"{save_pretrained(model, output)}: saved; load it by this path")
        return
    commit = push_to_hub(model, repo_id, private=private, revision=revision, create_pr=create_pr, card=text)
    click.echo(commit.pr_url or commit.commit_url)
