"""Weights of a release: ``python -m tools.weights push OWNER`` pushes ours, ``… check`` tries those of others."""

import dataclasses
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from huggingface_hub import ModelCard
from torch import Tensor

from benchmarks.tables import narrow
from convrnn_zoo import WEIGHTS, WeightsError, WeightsMetadata, create_model, from_pretrained, save_pretrained
from convrnn_zoo.data.datasets.moving_mnist import FILES as MNIST_FILES
from convrnn_zoo.data.datasets.moving_mnist import MovingDigits, MovingMNIST, find_idx, read_idx
from convrnn_zoo.hub.cards import card_text, check_card
from convrnn_zoo.hub.push import hub_api, upload
from convrnn_zoo.pretrained.config import CARD
from convrnn_zoo.pretrained.download import HubFile, download, hub_errors
from convrnn_zoo.pretrained.fetch import recorded_file
from convrnn_zoo.pretrained.published import FILE, PUBLISHED, Published
from convrnn_zoo.pretrained.state_dict import read_safetensors

from . import ROOT

CARDS = ROOT / "model_cards"
NOT_GENERATED = "<!-- not generated -->"
"""The text of a card after this marker, and an image below the title, are not generated."""
GOLDEN = "golden.safetensors"
SCORES, SEEDS, TOLERANCE = ("MSE", "MAE", "SSIM"), (0, 1, 2), 0.02
"""Scores of Moving MNIST that OpenSTL publishes, seeds of our samples, and the largest relative difference."""


@click.group()
def main() -> None:
    """Push the weights of the package, and check those of other projects."""


# ---- our weights ---------------------------------------------------------------------------------------------------
def shipped_card(metadata: WeightsMetadata, existing: str = "") -> str:
    """Returns the card of a set of weights, with the image and the text after the marker of the existing card."""
    card = narrow(card_text(metadata))
    if picture := re.search(r"^# .*\n\n(!\[.*\n\n)", existing, re.MULTILINE):
        card = card.replace(title := f"# {metadata.name}\n\n", title + picture[1], 1)
    _, marker, text = existing.partition(NOT_GENERATED)
    return card + (f"\n{marker}{text}" if marker else "")


def push_weights(owner: str, only: str | None = None) -> Iterator[WeightsMetadata]:
    """Pushes the weights of the package, or one set, and yields their metadata with ``hub_id`` and ``hub_commit``.

    There is a repository for each set, with weights, config, card and a golden pair of input and output. An unchanged
    repository gets no commit.
    """
    api = hub_api(None)
    for metadata in chosen(owner, only):
        hub_id = str(metadata.hub_id)
        with TemporaryDirectory() as directory:
            pair = write(metadata, Path(directory))
            with hub_errors(HubFile(hub_id)):
                if api.file_exists(hub_id, GOLDEN):
                    pushed = HubFile(hub_id, GOLDEN, token=api.token)
                    before = read_safetensors(download(pushed), str(pushed))
                    # Outputs differ between processors: the repository keeps its pair.
                    if before.keys() == pair.keys() and all(
                        torch.allclose(before[k], pair[k], atol=1e-4) for k in pair
                    ):
                        Path(directory, GOLDEN).unlink()
            message = f"{metadata.name} ({metadata.sha256[:12]})"
            yield dataclasses.replace(metadata, hub_commit=upload(api, hub_id, Path(directory), message).oid)


def chosen(owner: str, only: str | None = None) -> list[WeightsMetadata]:
    """Returns the metadata of the weights to push, with the repositories that they get."""
    shipped = {n: w for n, w in WEIGHTS.items() if w.file.is_file()}
    if only is not None and only not in shipped:
        raise WeightsError(f"the package contains no weights {only!r}; expected one of: {', '.join(shipped) or 'none'}")
    return [dataclasses.replace(w, hub_id=f"{owner}/{n}") for n, w in shipped.items() if only in (None, n)]


@torch.no_grad()
def write(metadata: WeightsMetadata, directory: Path) -> dict[str, Tensor]:
    """Writes the files of a repository, checks them, and returns the golden pair.

    The pair is a fixed random input and the output of the model, with which users can check the loaded weights.
    """
    model: Any = create_model(metadata.name, pretrained=True).eval()
    file = CARDS / f"{metadata.name}.md"
    card = shipped_card(metadata, file.read_text(encoding="utf-8") if file.is_file() else "")
    directory.mkdir(parents=True, exist_ok=True)
    for link in set(re.findall(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)", card)):
        shutil.copy(CARDS / link, directory)  # an image next to the card
        card = card.replace(f"]({link})", f"]({Path(link).name})")
    check_card(ModelCard(card))
    (directory / CARD).write_text(card, encoding="utf-8")
    model.metadata = metadata
    save_pretrained(model, directory)
    shape = [8 if isinstance(size, str) else size for size in metadata.input_shape]
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    pair = {"input": x, "output": model(x).contiguous()}
    safetensors.torch.save_file(pair, directory / GOLDEN, {"format": "pt"})
    if not torch.equal(from_pretrained(directory)(x), pair["output"]):
        raise WeightsError(f"{directory}: the written model has other outputs than {metadata.name}")
    return pair


@main.command()
@click.argument("owner")
@click.option("--only", metavar="NAME", help="Name of one set of weights.")
@click.option("--pin", is_flag=True, help="Write hub_id and hub_commit to the metadata in the package.")
@click.option("--dry-run", type=click.Path(path_type=Path), metavar="DIR", help="Only write and check, in DIR.")
def push(owner: str, only: str | None, pin: bool, dry_run: Path | None) -> None:
    """Push all weights of the package to repositories of OWNER, and print the values to pin in their metadata.

    Unchanged repositories get no commit. With --dry-run it needs neither network nor account.
    """
    if dry_run:
        for metadata in chosen(owner, only):
            write(metadata, dry_run / metadata.name)
            sizes = [file.stat().st_size for file in (dry_run / metadata.name).iterdir()]
            click.echo(f"{metadata.hub_id}: {len(sizes)} files, {sum(sizes):,} bytes")
        return
    for pinned in push_weights(owner, only):
        state = "unchanged" if pinned.hub_commit == WEIGHTS[pinned.name].hub_commit else "pushed"
        click.echo(f'{pinned.name} ({state})\n  "hub_id": "{pinned.hub_id}",\n  "hub_commit": "{pinned.hub_commit}"')
        if pin:
            pinned.save(pinned.file.parent)


# ---- weights of other projects -------------------------------------------------------------------------------------
def pin_file(text: str, published: Published, size: int, sha256: str) -> str:
    """Returns the text of ``published.toml`` with the size and checksum of a set, where it states none.

    Example:
        >>> row = '[group.sets."firenet.evreal"]\\naddress = "a.pth"\\n'
        >>> bare = dataclasses.replace(PUBLISHED["firenet.evreal"], size=None, sha256="")
        >>> print(pin_file(row, bare, 3, "00"))
        [group.sets."firenet.evreal"]
        size = 3
        sha256 = "00"
        address = "a.pth"
        <BLANKLINE>
    """
    header = f'[group.sets."{published.name}"]\n'
    size_line = "" if published.size else f"size = {size}\n"
    return text.replace(header, header + size_line + ("" if published.sha256 else f'sha256 = "{sha256}"\n'))


@torch.no_grad()
def apply(model: Any) -> Tensor:
    """Applies a model to random input of its size, and returns the output."""
    channels, height, width = model.pretrained_cfg["input_size"]
    known = {}
    if chans := getattr(model, "static_chans", 0):
        known["static"] = torch.rand(1, chans, height, width)
    if chans := getattr(model, "future_chans", 0):
        known["future"] = torch.rand(1, 30, chans, height, width)
    frames = getattr(model, "input_frames", None) or 10
    return model(torch.rand(1, frames, channels, height, width), **known)


def openstl_similarity(forecast: Tensor, truth: Tensor) -> float:
    """Returns the mean SSIM of frames ``(T, 1, H, W)`` as OpenSTL computes it.

    It is that of scikit-image 0.19 for floats: windows of 7×7 pixels inside the frame, sample covariances, and a range
    of 2 (from -1 to 1), although frames are in [0, 1].
    """
    x, y = forecast.clamp(0, 1).double(), truth.double()
    mean_x, mean_y, *squares = (F.avg_pool2d(z, 7, stride=1) for z in (x, y, x * x, y * y, x * y))
    products = (mean_x * mean_x, mean_y * mean_y, mean_x * mean_y)
    var_x, var_y, cov = (49 / 48 * (a - b) for a, b in zip(squares, products, strict=True))
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    top, bottom = (2 * products[2] + c1) * (2 * cov + c2), (products[0] + products[1] + c1) * (var_x + var_y + c2)
    return (top / bottom).mean().item()


@torch.no_grad()
def openstl_errors(model: Any, sequences: Iterable[Tensor]) -> list[float]:
    """Returns MSE, MAE (both summed over the pixels of a frame) and SSIM of ten frames forecast from ten."""
    rows = []
    for frames in sequences:
        forecast, truth = model(frames[None, :10])[0], frames[10:20]
        error = forecast - truth
        sums = [e.sum((-3, -2, -1)).mean().item() for e in (error.square(), error.abs())]
        rows.append([*sums, openstl_similarity(forecast, truth)])
    return np.mean(rows, axis=0).tolist()


def load_draws(path: Path, count: int) -> list[Iterable[Tensor]]:
    """Returns the first `count` sequences of the published test file, or of three samples of its generator."""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")[:, :count]
        return [[torch.from_numpy(array[:, i, None].copy()) / 255 for i in range(array.shape[1])]]
    images = read_idx(find_idx(path, MNIST_FILES["test"], MovingMNIST.hint))
    draws: list[Any] = [MovingDigits(images, seed=seed) for seed in SEEDS]
    return [[draw[i] for i in range(min(count, len(draw)))] for draw in draws]


def compare_openstl(name: str, errors: list[list[float]], published: list[str]) -> str:
    """Describes the errors of several samples next to published ones.

    Raises ValueError if the mean of one of them differs by more than :data:`TOLERANCE` of the published value.
    """
    lines, differs = [], []
    for score, *values in zip(SCORES, published, *errors, strict=True):
        stated, measured = float(values[0]), np.array(values[1:], float)
        difference = measured.mean() / stated - 1
        spread = f" ± {measured.std():.4g}" if len(measured) > 1 else ""
        lines.append(f"{score} {measured.mean():.4g}{spread}, published {stated:g} ({difference:+.1%})")
        differs += [score] if not abs(difference) <= TOLERANCE else []
    text = f"{name}: {'; '.join(lines)}"
    if differs:
        raise ValueError(
            f"{text}: {', '.join(differs)} differ by more than {TOLERANCE:.0%}; check converter and scoring"
        )
    return text


def openstl_scores(epochs: str) -> dict[str, list[str]]:
    """Returns MSE, MAE and SSIM on Moving MNIST that the page Choose an architecture lists, by name."""
    page = (ROOT / "docs" / "models" / "choosing.md").read_text(encoding="utf-8")
    rows = page.partition(f"SSIM, {int(epochs):,} epochs |\n")[2].partition("\n\n")[0]
    return {name: scores.split(" | ") for name, scores in re.findall(r"^\| `(\w+)` \| (.*) \|$", rows, re.MULTILINE)}


@main.command()
@click.argument("names", nargs=-1)
@click.option(
    "--moving-mnist",
    type=click.Path(path_type=Path),
    help="Score OpenSTL's sets on mnist_test_seq.npy, or on three samples from a directory of MNIST.",
)
@click.option("--sequences", default=10_000, help="Number of sequences to score.")
def check(names: tuple[str, ...], moving_mnist: Path | None, sequences: int) -> None:
    """Download the sets NAMES of other projects, by default all, and run their networks on random input.

    Sizes and checksums that are missing in weights/published.toml are written to it. It needs the network and gigabytes
    of disk. Errors on Moving MNIST are printed next to the published ones; a difference of more than 2 % is a failure.
    """
    failures = 0
    for name in names or PUBLISHED:
        published = PUBLISHED[name]
        try:
            model = from_pretrained(name)
            y = apply(model)
            if not torch.isfinite(y).all():
                raise ValueError("its output holds NaN or Inf")
            click.echo(f"{name}: {tuple(y.shape)}, mean {y.mean():.4f}, standard deviation {y.std():.4f}")
            text = pin_file(FILE.read_text(encoding="utf-8"), published, *recorded_file(published))
            FILE.write_text(text, encoding="utf-8")
            epochs = re.fullmatch(r"openstl_mmnist_ep(\d+)", published.tag)
            stated = openstl_scores(epochs[1]).get(published.architecture) if epochs else None
            if moving_mnist and stated:
                errors = [openstl_errors(model, draw) for draw in load_draws(moving_mnist, sequences)]
                click.echo(compare_openstl(name, errors, stated))
        except (OSError, ValueError, RuntimeError) as e:
            failures += 1
            click.echo(f"{name}: {e}", err=True)
    sys.exit(min(failures, 1))


if __name__ == "__main__":
    main()
