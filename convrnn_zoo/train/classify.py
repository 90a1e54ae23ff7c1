"""Classifiers of sequences: from a recipe to weights with a record of what they reach."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from .._extras import need
from ..models import Metric, Weights
from .data import DATA_SETS, Labelled
from .fit import fingerprint, fit
from .recipe import ClassifierRecipe
from .weights import write_weights


class Run(NamedTuple):
    """One seed: the model, and its accuracy on the test split, with the lengths and without them."""

    model: nn.Module
    accuracy: float
    accuracy_reading_padding: float


def statistics_of(data: Labelled) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over every step and pixel."""
    values = torch.cat([x.movedim(1, 0).flatten(1) for x in data.sequences], dim=1)
    return tuple(values.mean(1).tolist()), tuple(values.std(1).tolist())


@torch.no_grad()
def accuracy(model: nn.Module, data: Labelled, *, read_padding: bool = False, batch_size: int | None = None) -> float:
    """The fraction classified correctly, all in one batch unless `batch_size` is given.

    With `read_padding` the model does not get the lengths: it reads the padding up to the end of its batch.
    """
    score = need("torchmetrics.functional.classification", "eval").multiclass_accuracy
    model.eval()
    logits = []
    for chosen in torch.arange(len(data.labels)).split(batch_size or len(data.labels)):
        x, lengths, _ = data.batch(chosen.tolist())
        x = model.normalize(x).to(next(model.parameters()).dtype)  # type: ignore[operator]
        logits.append(model(x, lengths=None if read_padding else lengths))
    return score(torch.cat(logits), data.labels, logits[0].shape[1], average="micro").item()


def train_one(
    recipe: ClassifierRecipe,
    seed: int,
    train: Labelled,
    test: Labelled,
    *,
    read_padding: bool = False,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> Run:
    """Trains one seed of a recipe; with `read_padding` on padded sequences whose lengths are withheld."""
    torch.manual_seed(seed)
    mean, std = statistics_of(train)
    model = recipe.create_model(
        in_chans=len(mean),
        num_classes=len(DATA_SETS[recipe.data].label_names),
        pretrained_cfg_overlay={"mean": mean, "std": std},
    )
    optimizer = create_optimizer_v2(model.parameters(), "adamw", lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(train.labels) // recipe.batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for chosen in torch.randperm(len(train.labels)).split(recipe.batch_size):
            yield train.batch(chosen.tolist())

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, lengths, labels = batch
        x = model.normalize(x)  # type: ignore[operator]
        x = x + recipe.noise * torch.randn_like(x)
        logits = model(x, lengths=None if read_padding else lengths)
        return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)

    fit(
        model, batches, loss, optimizer, scheduler,
        updates=steps,
        clip=recipe.clip,
        run=fingerprint(recipe, seed, read_padding),
        checkpoint=checkpoint,
        title=f"seed {seed}" + (", padding read" if read_padding else ""),
        progress=progress,
    )  # fmt: skip
    return Run(model, accuracy(model, test), accuracy(model, test, read_padding=True))


def train_classifier(recipe: ClassifierRecipe, *, data: Path | None, out: Path, into: Path, progress: bool) -> Weights:
    """Trains every seed, with the lengths and without, and writes the weights of the first with their record.

    See :func:`~convrnn_zoo.train.tasks.train` for the arguments.
    """
    source = DATA_SETS[recipe.data]
    train, test = source.load(data, "train"), source.load(data, "test")

    def train_all(name: str, read_padding: bool) -> list[Run]:
        return [
            train_one(
                recipe, seed, train, test,
                read_padding=read_padding, checkpoint=out / f"seed{seed}{name}.ckpt", progress=progress,
            )
            for seed in recipe.seeds
        ]  # fmt: skip

    runs, without_lengths = train_all("", read_padding=False), train_all("-padding-read", read_padding=True)

    def metric(name: str, values: list[float], note: str = "") -> Metric:
        value, mean, std = (round(100 * v, 2) for v in (values[0], statistics.fmean(values), statistics.pstdev(values)))
        split = f"official test split ({len(test.labels)})"
        return Metric(name, value, source.title, split, mean=mean, std=std, runs=len(values), note=note)

    metrics = (
        metric("accuracy", [r.accuracy for r in runs]),
        metric(
            "accuracy, lengths withheld",
            [r.accuracy_reading_padding for r in runs],
            note="the same models, the padding read as data",
        ),
        metric(
            "accuracy, trained without lengths",
            [r.accuracy_reading_padding for r in without_lengths],
            note="other models, trained reading the padding, on one batch padded to the longest recording",
        ),
        metric(
            "accuracy, trained without lengths, alone",
            [accuracy(r.model, test, batch_size=1) for r in without_lengths],
            note="those models on each recording by itself: what they answer depends on the batch",
        ),
    )
    mean, std = statistics_of(train)
    return write_weights(
        recipe, runs[0].model, source, metrics, into,
        model_args=dict(recipe.model),
        input_shape=("T", *train.sequences[0].shape[1:]),
        in_chans=len(mean),
        num_classes=len(source.label_names),
        label_names=source.label_names,
        mean=mean,
        std=std,
    )  # fmt: skip
