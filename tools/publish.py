"""Pushes the weights that the package carries to the Hub: ``python -m tools.publish --namespace OWNER``."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import safetensors.torch
import torch
from huggingface_hub import HfApi
from torch import Tensor, nn

from convrnn_zoo.hub import card_text
from convrnn_zoo.hub._files import config_text, model_config
from convrnn_zoo.hub._push import api_of, upload
from convrnn_zoo.models import WEIGHTS, Weights, WeightsError, create_model
from convrnn_zoo.pretrained.config import CARD, CONFIG, WEIGHTS_FILE
from convrnn_zoo.pretrained.download import fetch
from convrnn_zoo.pretrained.hub_errors import Where, explained
from convrnn_zoo.pretrained.state_dict import read_file, sha256_of

GOLDEN = "golden.safetensors"


@dataclasses.dataclass(frozen=True)
class Published:
    """Where a set of weights now lies: what its record is to hold as ``hub_id`` and ``hub_commit``."""

    name: str
    hub_id: str
    hub_commit: str
    changed: bool


def publish(
    namespace: str, only: str | None = None, *, cards: Path | None = None, token: str | None = None
) -> Iterator[Published]:
    """Pushes weights, config, card and a golden pair of input and output, a repository each.

    A repository that has all of it already gets no commit.

    Args:
        namespace: the owner, a user or an organization.
        only: the name of one set of weights.
        cards: a directory with cards whose words are kept, ``<name>.md`` each, and their pictures pushed.
        token: by default that of ``hf auth login`` or HF_TOKEN.

    Raises:
        WeightsError: no such weights in the package.
        HubAccessError: the Hub, the network or the account's rights do not allow it.
    """
    having = {n: w for n, w in WEIGHTS.items() if w.file.is_file()}
    if only is not None and only not in having:
        raise WeightsError(f"the package carries no weights {only!r}; it carries: {', '.join(having) or 'none'}")
    api = api_of(token)
    for name, record in having.items():
        if only in (None, name):
            yield _publish(api, dataclasses.replace(record, hub_id=f"{namespace}/{name}"), cards)


def _publish(api: HfApi, record: Weights, cards: Path | None) -> Published:
    hub_id = str(record.hub_id)
    if sha256_of(record.file) != record.sha256:
        raise WeightsError(f"{record.file}: not the file of its record (sha256 {record.sha256}); restore it")
    model = create_model(record.name, pretrained=True).eval()
    config = config_text(model_config(model), record.sha256, record)
    words = cards / f"{record.name}.md" if cards else None
    card = card_text(record, words.read_text(encoding="utf-8") if words and words.is_file() else None)
    files: dict[str, Path | bytes] = {WEIGHTS_FILE: record.file, CONFIG: config.encode()}
    for link in set(re.findall(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)", card)) if cards else ():
        files[Path(link).name] = cards / link  # a picture beside the card here goes beside it there
        card = card.replace(f"]({link})", f"]({Path(link).name})")
    files[CARD] = card.encode()
    with explained(Where(hub_id)):
        before = api.model_info(hub_id).sha if api.repo_exists(hub_id) else None
        kept = before is not None and _golden_holds(api, hub_id, before, model)
    if not kept:
        files[GOLDEN] = safetensors.torch.save(golden(record, model), metadata={"format": "pt"})
    commit = upload(api, hub_id, files, message=f"{record.name} ({record.sha256[:12]})").oid
    return Published(record.name, hub_id, commit, commit != before)


@torch.no_grad()
def golden(record: Weights, model: nn.Module) -> dict[str, Tensor]:
    """An input, drawn from a fixed seed, and what the model makes of it: a check for whoever loads the weights."""
    shape = [8 if isinstance(size, str) else size for size in record.input_shape]
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return {"input": x, "output": model(x).contiguous()}


@torch.no_grad()
def _golden_holds(api: HfApi, hub_id: str, commit: str, model: Any) -> bool:
    """Whether the pair of the repository is there and still true; the last bits may differ between processors."""
    if GOLDEN not in api.list_repo_files(hub_id, revision=commit):
        return False
    where = Where(hub_id, commit, GOLDEN)
    pair = read_file(fetch(where, token=api.token), str(where))
    return {"input", "output"} == set(pair) and torch.allclose(model(pair["input"]), pair["output"], atol=1e-4)


@click.command()
@click.option("--namespace", required=True, help="Owner of the repositories: a user or an organization.")
@click.option("--only", metavar="NAME", help="One set of weights.")
@click.option(
    "--cards", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Directory of cards, NAME.md each."
)
def main(namespace: str, only: str | None, cards: Path | None) -> None:
    """Push every set of weights that the package carries; print what to pin in the records.

    Unchanged repositories get no commit.
    """
    for done in publish(namespace, only, cards=cards):
        state = "pushed" if done.changed else "unchanged"
        click.echo(f'{done.name} ({state})\n  "hub_id": "{done.hub_id}",\n  "hub_commit": "{done.hub_commit}"')


if __name__ == "__main__":
    main()
