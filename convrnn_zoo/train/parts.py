"""The sequences that a classifier is trained and tested on: splits, parts, batches and standards."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from .._tensors import to_tensor
from ..data import Labelled, LabelledDataset
from ..data.datasets.labelled_sequences import check_shapes
from ..data.readers.sequences import as_sequence
from ..layers._base import SPACE
from ..models import ConvRNNModel, LogMel, VideoModel, from_pretrained
from ..models.video import encoder_cfg
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


class Converted(Sequence[Tensor]):
    """Sequences made in Python, each converted and checked when it is read; `ndim` are the dimensions of a map."""

    def __init__(self, sequences: Any, name: str, ndim: int = 0) -> None:
        self.sequences, self.name, self.ndim = sequences, name, ndim

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: Any) -> Any:
        return add_space(convert(self.sequences[index], f"{self.name}.sequences[{index}]"), self.ndim)


def add_space(x: Tensor, ndim: int) -> Tensor:
    """Returns ``(T, C)`` as maps of one pixel, ``(T, C, *S)``, and other sequences as they are."""
    return x.reshape(*x.shape, *(1,) * ndim) if x.dim() == 2 else x


def convert(sequence: Any, name: str) -> Tensor:
    """Converts a sequence made in Python to float32; frames of bytes are divided by 255, as `classify` does."""
    x = to_tensor(name, sequence)
    return as_sequence(x / 255 if x.dtype == torch.uint8 and x.dim() == 4 else x, name)


def check_labelled(data: Any, split: str) -> Labelled:
    """Converts and checks labelled sequences made in Python.

    Raises:
        TypeError: `data` is not :class:`~convrnn_zoo.data.Labelled`.
        ValueError: labels are not class numbers, one for each sequence, or the sequences differ in shape.
    """
    name = f"data[{split!r}]"
    if not isinstance(data, Labelled):
        raise TypeError(f"{name} must be convrnn_zoo.data.Labelled(sequences, labels), got {type(data).__name__}")
    labels, count = to_tensor(f"{name}.labels", data.labels), len(data.sequences)
    if labels.shape not in ((count,), (count, 1)) or not count:
        raise ValueError(f"{name}: expected one label for each of {count} sequences, got {tuple(labels.shape)}")
    numbers = labels.reshape(-1).long()
    if labels.dtype == torch.bool or bool((numbers != labels.reshape(-1)).any()) or int(numbers.min()) < 0:
        raise ValueError(f"{name}.labels must be class numbers from 0, got {labels.dtype} from {labels.min()}")
    names = tuple(map(str, data.label_names))
    if len(set(names)) < len(names):
        raise ValueError(f"{name}.label_names must differ from each other, got {', '.join(names)}")
    if data.groups and len(data.groups) != count:
        raise ValueError(f"{name}: expected one group for each of {count} sequences, got {len(data.groups)}")
    sequences: Any = Converted(data.sequences, name)
    if isinstance(data.sequences, list | tuple | Tensor) or hasattr(data.sequences, "__array__"):
        sequences = [sequences[i] for i in range(count)]
        check_shapes([(f"{name}.sequences[{i}]", x) for i, x in enumerate(sequences)])
    return data._replace(sequences=sequences, labels=numbers, label_names=names)


def shaped(data: Labelled, recipe: ClassifierRecipe) -> Labelled:
    """Returns sequences with the axes that the recipe's model takes: ``(T, C)`` become maps of one pixel.

    Raises:
        ValueError: the model does not classify sequences, or they have other axes.
    """
    network = recipe.create_model(in_chans=1, num_classes=2, device="meta")
    if not isinstance(network, ConvRNNModel | VideoModel):
        raise ValueError(
            f"{recipe.architecture} does not classify sequences; choose an architecture that does, such as "
            "convlstm1d_1layer"
        )
    ndim, sequences = network.ndim, data.sequences
    if isinstance(sequences, list):
        sequences = [add_space(x, ndim) for x in sequences]
    elif isinstance(sequences, Converted):
        sequences = Converted(sequences.sequences, sequences.name, ndim)
    first = sequences[0]  # all have the same axes
    if first.dim() != ndim + 2:
        raise ValueError(
            f"{recipe.architecture} takes sequences (T, C, {SPACE[ndim]}), or (T, C); got {tuple(first.shape)}"
        )
    return data._replace(sequences=sequences)


def split_of(
    source: LabelledDataset,
    recipe: ClassifierRecipe,
    data: Any,
    split: str,
    front_end: LogMel | None = None,
) -> Labelled:
    """Returns the sequences of a split, read from a path or taken from a dictionary of splits.

    Raises:
        ValueError: the data are invalid, or the recipe's augmentation does not apply to them.
    """
    if isinstance(data, Mapping):
        if missing := [s for s in ("train", "test") if s not in data]:
            raise ValueError(f"data must have the splits 'train' and 'test', got no {' and no '.join(missing)}")
        found = check_labelled(data[split], split)
        names = found.label_names or check_labelled(data["train"], "train").label_names
    else:
        found = source.load(data, split, *(() if front_end is None else (front_end,)))
        names = found.label_names
    names = names or getattr(source, "label_names", ())
    if not names:
        reference = found.labels if not isinstance(data, Mapping) else to_tensor("labels", data["train"].labels)
        names = tuple(str(i) for i in range(int(reference.max()) + 1))
    if int(found.labels.max()) >= len(names):
        raise ValueError(
            f"the {split} part has class number {int(found.labels.max())}, and there are {len(names)} classes: "
            f"{', '.join(names[:20])}; correct the labels or label_names"
        )
    augment = recipe.augmentation()
    if augment is not None and augment.of_sound and found.front_end is None:
        raise ValueError(f"the recipe's augment has {', '.join(augment.of_sound)}, for sound, and the data are none")
    return shaped(found._replace(label_names=names), recipe)


def load_splits(
    source: LabelledDataset, recipe: ClassifierRecipe, data: Any, front_end: LogMel | None = None
) -> tuple[Labelled, Labelled]:
    """Returns the training and the test part, which have the same classes and channels.

    Raises:
        ValueError: the data are invalid, or the parts do not belong together.
    """
    train, test = (split_of(source, recipe, data, split, front_end) for split in ("train", "test"))
    if train.label_names != test.label_names:
        raise ValueError(
            f"the classes of the parts differ: train has {', '.join(train.label_names)}, test has "
            f"{', '.join(test.label_names)}; give both the same label_names"
        )
    channels = [part.sequences[0].shape[1] for part in (train, test)]
    if channels[0] != channels[1]:
        raise ValueError(f"the sequences of train have {channels[0]} channels, those of test {channels[1]}")
    return train, test


def check_groups(data: Labelled) -> list[str]:
    """Returns the names of the groups of data, of which `leave_one_out` needs two or more.

    Raises:
        ValueError: there are fewer.
    """
    names = sorted(set(data.groups) - {""})
    if len(names) < 2 or "" in data.groups:
        raise ValueError(
            "the recipe's leave_one_out needs data in two or more groups, such as speakers: set data.group_pattern, "
            "add an array groups to the .npz files, or remove leave_one_out"
        )
    return names


def heard_by(recipe: ClassifierRecipe) -> LogMel | None:
    """The front end of the weights that a run begins with; None where the recipe says how sound is heard.

    Raises:
        ValueError: the recipe says it otherwise than those weights.
    """
    ear = from_pretrained(recipe.start).front_end if recipe.start else None
    said = recipe.data.get("front_end")
    if ear is not None and said and LogMel(**{"rate": ear.rate, **said}) != ear:
        raise ValueError(
            f"the recipe's data.front_end differs from how {recipe.start} hears; leave it out, or write {ear.to_json()}"
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
        known = encoder_cfg(network.encoder.name)
        if len(known.get("mean", ())) == train.sequences[0].shape[1]:
            return known
    mean, std = statistics_of(train)
    return {"mean": mean, "std": std}
