"""A forecaster applied to frames in the unit of its data."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frames import FRAME_SETS, FrameSet
from .losses import LOSSES, Loss
from .recipe import ForecasterRecipe


def choose(entry: str, name: str, table: dict[str, Any]) -> Any:
    """What a recipe names in a table, or an error that says what there is.

    Example:
        >>> choose("loss", "msa", {"mse": 1, "mae": 2})
        Traceback (most recent call last):
        ValueError: the recipe's loss must be one of mse, mae, got 'msa'
    """
    if name not in table:
        raise ValueError(f"the recipe's {entry} must be one of {', '.join(table)}, got {name!r}")
    return table[name]


def data_of(recipe: ForecasterRecipe) -> FrameSet:
    """The data set of a recipe."""
    return choose("data", recipe.data, FRAME_SETS)


def loss_of(recipe: ForecasterRecipe) -> Loss:
    """The loss of a recipe."""
    return choose("loss", recipe.loss, LOSSES)


@torch.no_grad()
def forecast(
    model: nn.Module, recipe: ForecasterRecipe, frames: Tensor, horizon: int | None = None, batch_size: int = 16
) -> Tensor:
    """The frames that follow, ``(N, horizon, C, H, W)``, in the unit of the data.

    Frames of any size will do: they are padded with zeros on the right and below to what the model can divide, and
    the forecast is cut back. What is not known (NaN) is read as zero.

    Args:
        model: a forecaster.
        recipe: how it was trained.
        frames: ``(N, T, C, H, W)`` in the unit of the data, such as mm/h.
        horizon: frames to forecast; the recipe's by default.
        batch_size: sequences at once.
    """
    scale, activation = data_of(recipe).scale, loss_of(recipe).activation
    height, width = frames.shape[-2:]
    reduction: int = model.reduction  # type: ignore[assignment]
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    out = []
    for part in frames.split(batch_size):
        x = F.pad(scale.encode(part), (0, -width % reduction, 0, -height % reduction)).to(device)
        y = activation(model(x, horizon=horizon or recipe.horizon).float())
        out.append(scale.decode(y[..., :height, :width].cpu()))
    model.train(training)
    return torch.cat(out)
