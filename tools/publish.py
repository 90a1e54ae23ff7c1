"""Pushes the weights of the package to the Hub: ``python -m tools.publish --namespace OWNER``.

``--dry-run DIR`` needs neither network nor account: it writes each repository to a directory, loads it, and compares
its output.
"""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import safetensors.torch
import torch
from huggingface_hub import HfApi, ModelCard
from torch import Tensor, nn

from benchmarks.tables import narrow
from convrnn_zoo import WEIGHTS, WeightsError, WeightsMetadata, create_model, from_pretrained
from convrnn_zoo.hub.cards import card_text, check_card
from convrnn_zoo.hub.push import hub_api, upload
from convrnn_zoo.hub.save import config_text, model_config
from convrnn_zoo.pretrained.config import CARD, CONFIG, WEIGHTS_FILE
from convrnn_zoo.pretrained.download import HubFile, download, hub_errors
from convrnn_zoo.pretrained.state_dict import file_sha256, read_safetensors

NOT_GENERATED = "<!-- not generated -->"
"""The text of a card after this marker, and an image below the title, are not generated."""
GOLDEN = "golden.safetensors"


@dataclasses.dataclass(frozen=True)
class Published:
    """Location of published weights: the ``hub_id`` and ``hub_commit`` to enter in their metadata."""

    name: str
    hub_id: str
    hub_commit: str
    changed: bool


def shipped_card(metadata: WeightsMetadata, existing: str = "") -> str:
    """Returns the card of a set of weights, with the image and the text after the marker of the existing card."""
    card = narrow(card_text(metadata))
    if picture := re.search(r"^# .*\n\n(!\[.*\n\n)", existing, re.MULTILINE):
        card = card.replace(title := f"# {metadata.name}\n\n", title + picture[1], 1)
    _, marker, text = existing.partition(NOT_GENERATED)
    return card + (f"\n{marker}{text}" if marker else "")


def publish(
    namespace: str, only: str | None = None, *, cards: Path | None = None, token: str | None = None
) -> Iterator[Published]:
    """Pushes weights, config, card and a golden pair of input and output, one repository per set of weights.

    An unchanged repository gets no commit.

    Args:
        namespace: the owner, a user or an organization.
        only: name of one set of weights.
        cards: directory with one card ``<name>.md`` per set of weights. Their text is kept and their images are pushed.
        token: access token; the default is that of ``hf auth login`` or HF_TOKEN.

    Raises:
        WeightsError: the package does not contain these weights, or as :func:`write`.
        HubAccessError: the Hub, the network or missing permissions prevent the push.
    """
    api = hub_api(token)
    for metadata in chosen(namespace, only):
        hub_id = str(metadata.hub_id)
        with TemporaryDirectory() as temporary:
            directory = Path(temporary)
            write(metadata, directory, cards)
            with hub_errors(HubFile(hub_id)):
                before = api.model_info(hub_id).sha if api.repo_exists(hub_id) else None
                if before is not None and _golden_holds(api, hub_id, before, from_pretrained(directory)):
                    (directory / GOLDEN).unlink()  # the repository keeps its pair
            commit = upload(api, hub_id, directory, message=f"{metadata.name} ({metadata.sha256[:12]})").oid
        yield Published(metadata.name, hub_id, commit, commit != before)


def chosen(namespace: str, only: str | None = None) -> list[WeightsMetadata]:
    """Returns the metadata of the weights to push, with the repositories that they get."""
    shipped = {n: w for n, w in WEIGHTS.items() if w.file.is_file()}
    if only is not None and only not in shipped:
        raise WeightsError(f"the package contains no weights {only!r}; expected one of: {', '.join(shipped) or 'none'}")
    return [dataclasses.replace(w, hub_id=f"{namespace}/{n}") for n, w in shipped.items() if only in (None, n)]


def write(metadata: WeightsMetadata, directory: Path, cards: Path | None = None) -> None:
    """Writes the files of a repository, and checks them.

    Raises:
        WeightsError: the weights do not match their metadata, the card is invalid, or the written model differs from
            that of the package.
    """
    if file_sha256(metadata.file) != metadata.sha256:
        raise WeightsError(
            f"{metadata.file}: the file does not match its metadata (sha256 {metadata.sha256}); restore the file"
        )
    model = create_model(metadata.name, pretrained=True).eval()
    words = cards / f"{metadata.name}.md" if cards else None
    card = shipped_card(metadata, words.read_text(encoding="utf-8") if words and words.is_file() else "")
    directory.mkdir(parents=True, exist_ok=True)
    for link in set(re.findall(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)", card)) if cards else ():
        shutil.copy(cards / link, directory)  # an image next to the card
        card = card.replace(f"]({link})", f"]({Path(link).name})")
    check_card(ModelCard(card))
    (directory / CARD).write_text(card, encoding="utf-8")
    (directory / WEIGHTS_FILE).write_bytes(metadata.file.read_bytes())
    config = config_text({**model_config(model), "weights_sha256": metadata.sha256}, metadata)
    (directory / CONFIG).write_text(config, encoding="utf-8")
    pair = golden(metadata, model)
    safetensors.torch.save_file(pair, directory / GOLDEN, {"format": "pt"})
    if not torch.equal(run(from_pretrained(directory), pair["input"]), pair["output"]):
        raise WeightsError(f"{directory}: the written model has other outputs than {metadata.name}")


@torch.no_grad()
def run(model: nn.Module, x: Tensor) -> Tensor:
    """Returns the output of a model."""
    return model(x).contiguous()


def golden(metadata: WeightsMetadata, model: nn.Module) -> dict[str, Tensor]:
    """Returns a fixed random input and the output of the model, with which users can check the loaded weights."""
    shape = [8 if isinstance(size, str) else size for size in metadata.input_shape]
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return {"input": x, "output": run(model, x)}


@torch.no_grad()
def _golden_holds(api: HfApi, hub_id: str, commit: str, model: Any) -> bool:
    """Returns whether the pair in the repository matches the model, up to differences between processors."""
    if GOLDEN not in api.list_repo_files(hub_id, revision=commit):
        return False
    file = HubFile(hub_id, GOLDEN, commit, token=api.token)
    pair = read_safetensors(download(file), str(file))
    return {"input", "output"} == set(pair) and torch.allclose(model(pair["input"]), pair["output"], atol=1e-4)


@click.command()
@click.option("--namespace", required=True, help="User or organization that owns the repositories.")
@click.option("--only", metavar="NAME", help="Name of one set of weights.")
@click.option(
    "--cards",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory with one card NAME.md per set of weights.",
)
@click.option("--pin", is_flag=True, help="Write hub_id and hub_commit to the metadata in the package.")
@click.option(
    "--dry-run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the repositories to DIR and check them, without network or account.",
)
def main(namespace: str, only: str | None, cards: Path | None, pin: bool, dry_run: Path | None) -> None:
    """Push all weights of the package and print the values to pin in their metadata.

    Unchanged repositories get no commit.
    """
    if dry_run:
        for metadata in chosen(namespace, only):
            write(metadata, dry_run / metadata.name, cards)
            sizes = [file.stat().st_size for file in (dry_run / metadata.name).iterdir()]
            click.echo(f"{metadata.hub_id}: {len(sizes)} files, {sum(sizes):,} bytes")
        return
    for done in publish(namespace, only, cards=cards):
        state = "pushed" if done.changed else "unchanged"
        click.echo(f'{done.name} ({state})\n  "hub_id": "{done.hub_id}",\n  "hub_commit": "{done.hub_commit}"')
        if pin:
            metadata = WEIGHTS[done.name]
            pinned = dataclasses.replace(metadata, hub_id=done.hub_id, hub_commit=done.hub_commit)
            pinned.save(metadata.file.parent)


if __name__ == "__main__":
    main()
