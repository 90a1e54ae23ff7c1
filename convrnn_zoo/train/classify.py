"""Classifiers of sequences: from a recipe to weights with a record of what they reach."""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import Metric, Weights
from ..models._loading import sha256_of
from .data import DATA_SETS, Labelled
from .fit import fit
from .recipe import ClassifierRecipe
from .weights import write_tensors


class Run(NamedTuple):
    """One seed: the model, and its accuracy on the test split with and without being told the lengths."""

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

    With `read_padding` the model is not told where a sequence ends: it reads the padding up to the end of its batch.
    """
    model.eval()
    right = 0
    for chosen in torch.arange(len(data.labels)).split(batch_size or len(data.labels)):
        x, lengths, labels = data.batch(chosen.tolist())
        logits = model(model.normalize(x), lengths=None if read_padding else lengths)  # type: ignore[operator]
        right += int((logits.argmax(1) == labels).sum())
    return right / len(data.labels)


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
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
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

    told = json.dumps([dataclasses.asdict(recipe), seed, read_padding], sort_keys=True)
    fit(
        model, batches, loss, optimizer, scheduler,
        updates=steps,
        clip=recipe.clip,
        identity=hashlib.sha256(told.encode()).hexdigest(),
        checkpoint=checkpoint,
        title=f"seed {seed}" + (", padding read" if read_padding else ""),
        progress=progress,
    )  # fmt: skip
    return Run(model, accuracy(model, test), accuracy(model, test, read_padding=True))


def train_recipe(
    recipe: ClassifierRecipe, *, data: Path | None = None, out: Path, into: Path | None = None, progress: bool = True
) -> Weights:
    """Trains every seed, told the lengths and not, and writes the weights of the first with their record.

    Args:
        recipe: what to train.
        data: directory of the data set; None for its default place.
        out: directory of the checkpoints; an interrupted run goes on from them.
        into: directory of the weights and the record; `out` by default.
        progress: whether to show a bar for every run.
    """
    source = DATA_SETS[recipe.data]
    train, test = source.load(data, "train"), source.load(data, "test")
    runs = [
        train_one(recipe, seed, train, test, checkpoint=out / f"seed{seed}.ckpt", progress=progress)
        for seed in recipe.seeds
    ]
    blind = [
        train_one(
            recipe, seed, train, test,
            read_padding=True, checkpoint=out / f"seed{seed}-padding-read.ckpt", progress=progress,
        )
        for seed in recipe.seeds
    ]  # fmt: skip

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
            [r.accuracy_reading_padding for r in blind],
            note="other models, trained reading the padding, on one batch padded to the longest recording",
        ),
        metric(
            "accuracy, trained without lengths, alone",
            [accuracy(r.model, test, batch_size=1) for r in blind],
            note="those models on each recording by itself: what they answer depends on the batch",
        ),
    )
    return write(recipe, runs[0].model, train, metrics, into or out)


def write(
    recipe: ClassifierRecipe, model: nn.Module, train: Labelled, metrics: tuple[Metric, ...], into: Path
) -> Weights:
    """Writes safetensors and record, each whole or not at all, the record last."""
    source = DATA_SETS[recipe.data]
    path = write_tensors(model, into / f"{recipe.weights}.safetensors")
    mean, std = statistics_of(train)
    record = Weights(
        name=recipe.weights,
        sha256=sha256_of(path),
        model_args=dict(recipe.model),
        num_params=sum(p.numel() for p in model.parameters()),
        input_shape=("T", *train.sequences[0].shape[1:]),
        in_chans=len(mean),
        num_classes=len(source.label_names),
        label_names=source.label_names,
        mean=mean,
        std=std,
        task=source.task,
        dataset=f"{source.title} ({source.license})",
        dataset_url=source.url,
        metrics=metrics,
        recipe=recipe.name,
        license=recipe.license,
        description=recipe.description,
        citation=recipe.citation,
        remarks=recipe.remarks,
    )
    record.save(into)
    return record
