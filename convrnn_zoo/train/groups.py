"""Accuracy on groups that training excludes, such as new speakers: one model per group, trained without the group."""

import dataclasses
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from ..data import Labelled
from ..data.datasets.labelled_sequences import LazySequences
from ..pretrained.metadata import Metric
from ..recipes import ClassifierRecipe
from .classifier import accuracy_metric, initial_front_end, load_splits, percent, train_one
from .launch import Processes


def load_parts(recipe: ClassifierRecipe, data: Any) -> tuple[Labelled, ...]:
    """Returns the training split, the test split and, if the recipe has one, the validation split."""
    return load_splits(recipe, data, initial_front_end(recipe), recipe.list_splits(data))


def group_names(parts: Sequence[Labelled], selected_on: Sequence[str] = ()) -> list[str]:
    """Returns the names of the groups in all splits of the data, and checks that `selected_on` are some of them.

    Raises:
        ValueError: there are fewer than two groups, a sequence has no group, or `selected_on` includes an unknown
            group or all groups.
    """
    names = sorted({group for part in parts for group in part.groups})
    if len(names) < 2 or "" in names:
        raise ValueError(
            "--groups needs data in two or more groups, such as speakers: set data.group_pattern in the recipe, or add "
            "an array groups to the .npz files"
        )
    if not set(selected_on) < set(names):
        raise ValueError(
            f"--selected-on must be some of the groups {', '.join(names)}, and not all of them; got "
            f"{', '.join(selected_on)}"
        )
    return names


def _read(parts: Sequence[Labelled], place: tuple[int, int]) -> torch.Tensor:
    return parts[place[0]].sequences[place[1]]


def join(parts: Sequence[Labelled]) -> Labelled:
    """Joins parts of one dataset; sequences that are read when they are indexed stay so."""
    places = [(i, j) for i, part in enumerate(parts) for j in range(len(part.labels))]
    sequences = LazySequences(places, partial(_read, parts))
    return parts[0]._replace(
        sequences=list(sequences) if all(isinstance(part.sequences, list) for part in parts) else sequences,
        labels=torch.cat([part.labels for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        names=tuple(name for part in parts for name in part.names),
    )


def measure_groups(
    recipe: ClassifierRecipe, data: Any, out: Path, selected_on: Sequence[str] = (), progress: bool = True,
    device: torch.device | None = None,
) -> list[Metric]:  # fmt: skip
    """Trains one model per group without the group, and returns its accuracy on all recordings of the group.

    The models are trained on the training part. If no group of the test part is in it, as with ``split = "group"``,
    they are also trained on the test part: on all recordings of all other groups.

    The first metric is the mean over the groups that are not in `selected_on`. The models are trained on `device`, by
    default torch's.

    Raises:
        ValueError: as in :func:`group_names`.
    """
    dataset = recipe.data
    parts = load_parts(recipe, data)
    values, metrics = [], []
    names, processes = group_names(parts, selected_on), Processes() if device is None else Processes(device=device)
    for name in names:
        own = [part.subset([i for i, g in enumerate(part.groups) if g == name]) for part in parts]
        train_part, test_part, *validation = (
            part.subset([i for i, g in enumerate(part.groups) if g != name]) for part in parts
        )
        unseen = join(own)
        if not set(parts[0].groups) & set(parts[1].groups):
            train_part = join([train_part, test_part])
        run = train_one(
            recipe, recipe.seed, train_part, unseen, *(part for part in validation if len(part.labels)),
            name=f"without {name}", processes=processes,
            checkpoint=out / f"without-{quote(name, safe='')}.ckpt", progress=progress,
        )  # fmt: skip
        values += [run.accuracy] if name not in selected_on else []
        split = f"all {len(unseen.labels)} recordings of {name}"
        metrics.append(Metric(f"accuracy, {name} unseen", percent(run.accuracy), dataset.title, split))
    mean, split = statistics.fmean(values), "all recordings of the group that was held out"
    note = "mean of other models, each trained without one of the groups"
    if selected_on:
        note += f" {', '.join(n for n in names if n not in selected_on)}"
    total = accuracy_metric("accuracy, unseen groups", values, dataset.title, split, note=note)
    return [dataclasses.replace(total, value=percent(mean)), *metrics]
