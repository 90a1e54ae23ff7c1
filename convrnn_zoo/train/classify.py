"""Classifiers of sequences: from a recipe to weights with a record of what they reach."""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from .._extras import need
from ..data import Labelled, sequences_of
from ..models import Metric, Weights, ZooModel
from .confusion import Confusion, confusion_of
from .fit import checksum, fingerprint, fit
from .launch import launched
from .parts import check_groups, drawn, heard_by, load_splits, most_frequent, parted, split_of, standard_of  # noqa: F401
from .recipe import ClassifierRecipe
from .start import falling, rest, started, waiting
from .weights import check_writable, write_weights


class Run(NamedTuple):
    """One seed: the model, and its accuracy on the test split, with the lengths and, if that is compared, without."""

    model: ZooModel
    accuracy: float
    accuracy_reading_padding: float


@torch.no_grad()
def logits_of(model: nn.Module, data: Labelled, *, read_padding: bool = False, batch_size: int | None = None) -> Tensor:
    """The logits of every sequence, all in one batch unless `batch_size` is given.

    With `read_padding` the model does not get the lengths: it reads the padding up to the end of its batch.
    """
    model.eval()
    logits = []
    for chosen in torch.arange(len(data.labels)).split(batch_size or len(data.labels)):
        x, lengths, _ = data.batch(chosen.tolist())
        x = model.normalize(x).to(next(model.parameters()).dtype)  # type: ignore[operator]
        logits.append(model(x, lengths=None if read_padding else lengths))
    return torch.cat(logits)


def accuracy(model: nn.Module, data: Labelled, **how: Any) -> float:
    """The fraction classified correctly; `how` is that of :func:`logits_of`."""
    score = need("torchmetrics.functional.classification", "eval").multiclass_accuracy
    logits = logits_of(model, data, **how)
    return score(logits, data.labels, logits.shape[1], average="micro").item()


def percent(fraction: float) -> float:
    """As records tell it."""
    return round(100 * fraction, 2)


def at_once(data: Labelled, recipe: ClassifierRecipe) -> int | None:
    """Sequences that are evaluated at once: all, or of such as are read when they are asked for, those of a batch."""
    return None if isinstance(data.sequences, list) else recipe.batch_size


def train_one(
    recipe: ClassifierRecipe,
    seed: int,
    train: Labelled,
    test: Labelled,
    *,
    read_padding: bool = False,
    left_out: str = "",
    checkpoint: Path | None = None,
    progress: bool = True,
) -> Run:
    """Trains one seed of a recipe; with `read_padding` on padded sequences whose lengths are withheld.

    `left_out` names the group of the data that `train` lacks, to tell its checkpoint from others.
    """
    torch.manual_seed(seed)
    standard = standard_of(recipe, train)
    model = recipe.create_model(
        in_chans=len(standard["mean"]),
        num_classes=len(train.label_names),
        pretrained_cfg_overlay=standard,
    )
    if getattr(model, "global_pool", None) == "":
        raise ValueError('[model] global_pool must be "avg", "max" or "last" to classify sequences, got ""; change it')
    model.front_end = train.front_end
    if recipe.start:
        started(model, recipe)
    decay: Any = {"weight_decay": recipe.weight_decay}
    if recipe.layer_decay == 1:
        optimizer = create_optimizer_v2(model.parameters(), "adamw", lr=recipe.lr, **decay)
    else:
        optimizer = create_optimizer_v2(model, "adamw", lr=recipe.lr, layer_decay=recipe.layer_decay, **decay)
    rounds = -(-len(train.labels) // recipe.batch_size)
    steps = recipe.epochs * rounds
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, falling(optimizer), total_steps=steps)
    trunk = waiting(model, recipe) if recipe.freeze else []

    some = train.sequences if isinstance(train.sequences, list) else ()  # clips are read when a batch asks
    trained_on = {"classes": list(train.label_names), "checksum": checksum(train.labels, *some)}
    augment, center = recipe.augmentation(), torch.tensor(standard["mean"])
    lengths = [len(x) for x in train.sequences] if recipe.bucket else [0] * len(train.labels)
    change = (lambda x: augment(x, center)) if augment is not None else (lambda x: x)

    def batches(done: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rest(model, done < recipe.freeze * rounds)
        for chosen in drawn(lengths, recipe):
            yield train.batch(chosen, change)

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
        run=fingerprint(recipe, seed=seed, read_padding=read_padding, left_out=left_out, trained_on=trained_on),
        checkpoint=checkpoint,
        title=f"seed {seed}" + (", padding read" if read_padding else "") + (left_out and f", without {left_out}"),
        progress=progress,
        frozen=lambda update: trunk if update < recipe.freeze * rounds else (),
    )  # fmt: skip
    rest(model, False)
    withheld = accuracy(model, test, read_padding=True) if recipe.compare_padding else math.nan
    return Run(model, accuracy(model, test, batch_size=at_once(test, recipe)), withheld)


def leave_one_out(
    recipe: ClassifierRecipe, train: Labelled, test: Labelled, *, out: Path, progress: bool
) -> dict[str, tuple[float, int]]:
    """For each group the accuracy, on all of its recordings, of a model that was trained on the others' training split.

    Returns:
        By the group's name, the accuracy and the number of its recordings.

    Raises:
        ValueError: the data have no groups, or one alone.
    """
    names = check_groups(train)
    found = {}
    for name in names:
        others = parted(train, [i for i, g in enumerate(train.groups) if g != name])
        own = [parted(part, [i for i, g in enumerate(part.groups) if g == name]) for part in (train, test)]
        both = own[0]._replace(
            sequences=[*own[0].sequences, *own[1].sequences], labels=torch.cat([part.labels for part in own])
        )
        run = train_one(
            recipe, recipe.seeds[0], others, both,
            left_out=name, checkpoint=out / f"without-{name}.ckpt", progress=progress,
        )  # fmt: skip
        found[name] = (run.accuracy, len(both.labels))
    return found


class Evaluation(NamedTuple):
    """Accuracies in per cent by what they are of, and which classes were taken for which."""

    accuracies: dict[str, float]
    confusion: Confusion


def evaluate_classifier(model: ZooModel, recipe: ClassifierRecipe, data: Any) -> Evaluation:
    """The accuracy of a model on the test part of its data, in per cent, beside that of the commonest class."""
    source = sequences_of(recipe.data)
    train, test = load_splits(source, recipe, data, model.front_end)
    names = model.pretrained_cfg.get("label_names") or test.label_names
    if tuple(names) != test.label_names or model.num_classes != len(names):
        raise ValueError(
            f"the classes of the data are {', '.join(test.label_names)}, and the model has {model.num_classes}: "
            f"{', '.join(names)}; pass the data that it was trained for"
        )
    found = confusion_of(logits_of(model, test, batch_size=at_once(test, recipe)), test)
    accuracies = {"prediction": 100 * found.accuracy, "commonest class": most_frequent(train, test)}
    return Evaluation(accuracies, found)


def train_classifier(
    recipe: ClassifierRecipe, *, data: Any, out: Path, into: Path | None, progress: bool
) -> Weights | None:
    """Trains every seed, with the lengths and, where the recipe compares, without, and writes the weights of the first.

    See :func:`~convrnn_zoo.train.tasks.train` for the arguments.
    """
    source = sequences_of(recipe.data)
    ear = heard_by(recipe)
    train, test = load_splits(source, recipe, data, ear)
    if recipe.leave_one_out:
        check_groups(train)
    with launched() as accelerator:
        if accelerator.num_processes > 1:
            raise ValueError(
                "a classifier is trained in one process: start it without accelerate's or torch's launcher"
            )
    check_writable(into or out, recipe)

    def train_all(name: str, read_padding: bool) -> list[Run]:
        return [
            train_one(
                recipe, seed, train, test,
                read_padding=read_padding, checkpoint=out / f"seed{seed}{name}.ckpt", progress=progress,
            )
            for seed in recipe.seeds
        ]  # fmt: skip

    tested = f"{source.split_words} ({len(test.labels)})"

    def metric(name: str, value: float, of: Sequence[float] = (), note: str = "", split: str = tested) -> Metric:
        mean, std = (percent(f(of)) if of else None for f in (statistics.fmean, statistics.pstdev))
        return Metric(name, percent(value), source.title, split, mean, std, len(of) or 1, note)

    runs = train_all("", read_padding=False)
    own = [r.accuracy for r in runs]
    commonest = {"commonest class": most_frequent(train, test)}
    metrics = [dataclasses.replace(metric("accuracy", own[0], own), baselines=commonest)]
    if recipe.compare_padding:
        others = train_all("-padding-read", read_padding=True)
        for what, found, note in (
            ("lengths withheld", [r.accuracy_reading_padding for r in runs],
             "the same models, with the padding read as data"),
            ("trained without lengths", [r.accuracy_reading_padding for r in others],
             "other models, trained on padding as data; one batch padded to the longest recording"),
            ("trained without lengths, one at a time", [accuracy(r.model, test, batch_size=1) for r in others],
             "those models on one recording at a time: their predictions depend on the batch"),
        ):  # fmt: skip
            metrics.append(metric(f"accuracy, {what}", found[0], found, note))
    if recipe.leave_one_out:
        groups = leave_one_out(recipe, train, test, out=out, progress=progress)
        found = [value for value, _ in groups.values()]
        note = "mean of other models, each trained without one of the groups"
        split = "all recordings of the group that was held out"
        metrics.append(metric("accuracy, unseen groups", statistics.fmean(found), found, note, split))
        for name, (value, n) in groups.items():
            metrics.append(metric(f"accuracy, {name} unseen", value, split=f"all {n} recordings of {name}"))
    model = runs[0].model
    return write_weights(
        recipe, model, source, tuple(metrics), out, into,
        input_shape=("T", *train.sequences[0].shape[1:]),
        label_names=train.label_names,
        mean=tuple(model.pretrained_cfg["mean"]),
        std=tuple(model.pretrained_cfg["std"]),
        split=tested,
    )  # fmt: skip
