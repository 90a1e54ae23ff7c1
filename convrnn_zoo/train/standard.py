"""By which mean and which standard deviation a classifier standardises its sequences."""

from typing import Any

import torch

from ..data import Labelled
from ..models import VideoModel
from ..models.video import cfg_of
from .recipe import ClassifierRecipe

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def statistics_of(data: Labelled) -> Statistics:
    """Mean and standard deviation of each channel over every step and pixel.

    Sequences that are read when they are asked for are read one at a time.
    """
    if isinstance(data.sequences, list):
        values = torch.cat([x.movedim(1, 0).flatten(1) for x in data.sequences], dim=1)
        return tuple(values.mean(1).tolist()), tuple(values.std(1).tolist())
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for x in data.sequences:
        each = x.movedim(1, 0).flatten(1).double()
        count, total, squares = count + each.shape[1], total + each.sum(1), squares + each.square().sum(1)
    mean = total / count
    std = ((squares / count - mean.square()).clamp_min(0) * count / max(count - 1, 1)).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


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
