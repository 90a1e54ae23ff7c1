"""The sequences that a classifier is trained and tested on: splits, parts, batches and standards."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from ..data import Labelled, LabelledSet, OwnSequences
from ..layers._base import SPACE
from ..models import ConvRNNModel, LogMel, VideoModel, from_pretrained
from ..models.video import cfg_of
from .recipe import ClassifierRecipe

log = logging.getLogger(__name__)


def drawn(lengths: Sequence[int], recipe: ClassifierRecipe) -> Iterator[list[int]]:
    """The batches of an epoch: at random, or with the recipe's `bucket` of recordings of like length."""
    order, size = torch.randperm(len(lengths)), recipe.batch_size
    if not recipe.bucket:
        yield from (chosen.tolist() for chosen in order.split(size))
        return
    for pool in order.split(recipe.bucket * size):
        batches = pool[torch.tensor(lengths)[pool].argsort(stable=True)].split(size)
        yield from (batches[i].tolist() for i in torch.randperm(len(batches)))


def parted(data: Labelled, chosen: Sequence[int]) -> Labelled:
    """Some of the recordings."""
    sequences: Any = Subset(data.sequences, chosen)  # type: ignore[arg-type]
    return data._replace(
        sequences=list(sequences) if isinstance(data.sequences, list) else sequences,
        labels=data.labels[list(chosen)],
        groups=tuple(data.groups[i] for i in chosen) if data.groups else (),
    )


def shaped(data: Labelled, recipe: ClassifierRecipe) -> Labelled:
    """Sequences as the recipe's network takes them: ``(T, C)`` are maps of one pixel.

    Raises:
        ValueError: it is no network of sequences, or they have other axes.
    """
    network = recipe.create_model(in_chans=1, num_classes=2, device="meta")
    if not isinstance(network, ConvRNNModel | VideoModel):
        raise ValueError(
            f"{recipe.architecture} classifies no sequences; a recipe of one can, such as convlstm1d_1layer"
        )
    ndim, sequences = network.ndim, data.sequences
    if isinstance(sequences, list):
        sequences = [x.reshape(*x.shape, *(1,) * ndim) if x.dim() == 2 else x for x in sequences]
    told = sequences if isinstance(sequences, list) else sequences[:1]  # of what is read later, all have these axes
    if wrong := [tuple(x.shape) for x in told if x.dim() != ndim + 2]:
        raise ValueError(f"{recipe.architecture} takes sequences (T, C, {SPACE[ndim]}), or (T, C); got {wrong[0]}")
    return data._replace(sequences=sequences)


def split_of(
    source: LabelledSet | OwnSequences,
    recipe: ClassifierRecipe,
    data: Any,
    split: str,
    front_end: LogMel | None = None,
) -> Labelled:
    """The sequences of a split, from a path, or of Python's own by the names of the splits."""
    given = () if front_end is None else (front_end,)
    found: Labelled = data[split] if isinstance(data, Mapping) else source.load(data, split, *given)
    names = found.label_names or getattr(source, "label_names", ())
    names = names or tuple(str(i) for i in range(int(found.labels.max()) + 1))
    augment = recipe.augmentation()
    if augment is not None and augment.of_sound and found.front_end is None:
        raise ValueError(f"the recipe's augment has {', '.join(augment.of_sound)}, for sound, and the data are none")
    return shaped(found._replace(label_names=names), recipe)


def heard_by(recipe: ClassifierRecipe) -> LogMel | None:
    """The front end of the weights that a run begins with; None where the recipe says how sound is heard.

    Raises:
        ValueError: the recipe says it otherwise than those weights.
    """
    ear = from_pretrained(recipe.start).front_end if recipe.start else None
    said = recipe.data.get("sound")
    if ear is not None and said and LogMel(**{"rate": ear.rate, **said}) != ear:
        raise ValueError(
            f"the recipe's data.sound differs from how {recipe.start} hears; leave it out, or write {ear.to_json()}"
        )
    return ear


def most_frequent(train: Labelled, test: Labelled) -> float:
    """The accuracy, in per cent, of naming the commonest class of the training split, whatever comes."""
    return round(100 * (test.labels == train.labels.mode().values).float().mean().item(), 2)


def statistics_of(data: Labelled) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over every step and pixel; 1 for one that never changes.

    Sequences that are read when they are asked for are read one at a time.
    """
    if isinstance(data.sequences, list):
        values = torch.cat([x.movedim(1, 0).flatten(1) for x in data.sequences], dim=1)
        return _scales(values.mean(1), values.std(1))
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for x in data.sequences:
        each = x.movedim(1, 0).flatten(1).double()
        count, total, squares = count + each.shape[1], total + each.sum(1), squares + each.square().sum(1)
    mean = total / count
    std = ((squares / count - mean.square()).clamp_min(0) * count / max(count - 1, 1)).sqrt()
    return _scales(mean, std)


def _scales(mean: Tensor, std: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    changes = std > 1e-6 * mean.abs()  # more than rounding makes of a constant
    if not changes.all():
        still = ", ".join(str(i) for i in (~changes).nonzero().flatten().tolist())
        log.warning("channel %s of the data never changes and tells nothing; it is not scaled", still)
    return tuple(mean.tolist()), tuple(torch.where(changes, std, 1.0).tolist())


def standard_of(recipe: ClassifierRecipe, train: Labelled) -> dict[str, Any]:
    """The part of timm's cfg with `mean` and `std`, for the model of a recipe.

    A video model reads frames as its encoder did where that was trained, if they have as many channels; any other
    sequences are standardised by what is found in the training split.
    """
    network = recipe.create_model(in_chans=1, num_classes=2, device="meta")
    if isinstance(network, VideoModel):
        known = cfg_of(network.encoder.name)
        if len(known.get("mean", ())) == train.sequences[0].shape[1]:
            return known
    mean, std = statistics_of(train)
    return {"mean": mean, "std": std}
