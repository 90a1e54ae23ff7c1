"""Fine-tuning: weights that a run begins with, and what of a model stays as it is at first."""

import logging

import torch
from timm.models import group_parameters
from torch import nn

from ..models import Forecaster, VideoModel, ZooModel, from_pretrained
from ..pretrained.state_dict import adapt_state_dict, check_state_dict
from .recipe import Recipe

log = logging.getLogger(__name__)


def started(model: ZooModel, recipe: Recipe) -> None:
    """Loads the weights that a recipe starts from into its model.

    A classifier may have another head or other input channels than they: the head is then new, and the weights of the
    input are adapted by timm's rule. A forecaster may have other channels: the parameters that read or make frames are
    then new. The log says so.

    Raises:
        ValueError: they are of another architecture, or differ in other sizes.
    """
    known = from_pretrained(recipe.start)
    architecture = known.pretrained_cfg["architecture"]
    if architecture != recipe.architecture:
        raise ValueError(
            f"the recipe's start must be weights of {recipe.architecture}, got {recipe.start!r}, of {architecture}"
        )
    mine = model.state_dict()
    cfg, made_for = model.pretrained_cfg, (known.in_chans, known.num_classes)
    state = adapt_state_dict(known.state_dict(), model, cfg, *made_for, recipe.start)
    if isinstance(model, Forecaster) and known.in_chans != model.in_chans:
        new = [k for k, v in mine.items() if k not in state or state[k].shape != v.shape]
        log.warning("%s: %s are new, for %d channels", recipe.start, ", ".join(new), model.in_chans)
        state |= {k: mine[k] for k in new}
    check_state_dict(state, model, recipe.start)
    model.load_state_dict(state)


def trunk_of(model: ZooModel) -> list[nn.Parameter]:
    """The parameters of everything before the last of timm's groups of a model, which is its head where it has one.

    Example:
        >>> import convrnn_zoo
        >>> len(trunk_of(convrnn_zoo.create_model("convgru1d_1layer", num_classes=2)))
        4
    """
    depth = group_parameters(model, model.group_matcher(), reverse=True)
    return [p for name, p in model.named_parameters() if depth[name] < max(depth.values())]


def waiting(model: ZooModel, recipe: Recipe) -> list[nn.Parameter]:
    """What `freeze` keeps as it is: :func:`trunk_of` a model, or where a video model is new but for its encoder, that.

    Example:
        >>> recipe = Recipe(weights="video_convrnn.a", data="b", description="c", license="mit", batch_size=1, lr=1)
        >>> model = VideoModel("resnet18", num_classes=2, device="meta")
        >>> len(waiting(model, recipe)) == len(list(model.encoder.parameters()))
        True
    """
    if isinstance(model, VideoModel) and not recipe.start:
        return list(model.encoder.parameters())
    return trunk_of(model)


def rest(model: ZooModel, resting: bool) -> None:
    """Whether the encoder of a video model rests: no gradients, and its norms keep their statistics.

    Of other models nothing changes; nor of an encoder that was built to stay as it is.
    """
    if isinstance(model, VideoModel):
        model.encoder.frozen = resting or bool(model.model_args.get("freeze_encoder"))
        model.encoder.train(model.training)


def falling(optimizer: torch.optim.Optimizer) -> list[float]:
    """Brings each group of timm's to its part of the learning rate, by its depth, and gives their rates.

    Example:
        >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr_scale": 0.5}], lr=0.1)
        >>> falling(optimizer)
        [0.05]
    """
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    return [group["lr"] for group in optimizer.param_groups]
