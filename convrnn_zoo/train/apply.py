"""A forecaster applied to frames in the unit of its data."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import WEIGHTS, Forecaster, Weights, create_model
from .frames import FRAME_SETS, FrameSet
from .losses import LOSSES, Loss
from .recipe import ForecasterRecipe, Recipe, choose


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
    the forecast is cut back. Unknown values (NaN) are read as zero.

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


class Trained(NamedTuple):
    """A trained forecaster with its recipe and its record.

    Called, it forecasts frames in the unit of its data and of any size: see :func:`forecast`.
    """

    model: nn.Module
    recipe: ForecasterRecipe
    record: Weights

    def __call__(self, frames: Tensor, horizon: int | None = None) -> Tensor:
        """The frames that follow: ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, the recipe's horizon by default."""
        return forecast(self.model, self.recipe, frames, horizon)


def load_forecaster(name: str, recipe: str | None = None) -> Trained:
    """A trained forecaster by the name of its weights.

    Args:
        name: weights of the zoo, or the file of a record that has its safetensors file beside it.
        recipe: name or file of the recipe; the record's by default.

    Raises:
        ValueError: there are no such weights, or they are not a forecaster's.
        FileNotFoundError: there is no such file or recipe.
    """
    if name.endswith(".json"):
        path = Path(name)
        try:
            record = Weights.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError, KeyError) as e:
            raise ValueError(f"{path} is not a record of weights ({e}); `convrnn-zoo train` writes such") from e
        cfg = {**record.cfg(), "file": str(path.with_name(f"{record.name}.safetensors"))}
        model: Any = create_model(record.architecture, pretrained=True, pretrained_cfg_overlay=cfg, **record.model_args)
    elif name in WEIGHTS:
        record, model = WEIGHTS[name], create_model(name, pretrained=True)
    else:
        raise ValueError(f"no weights {name!r}; `convrnn-zoo list --pretrained` lists them")
    chosen = Recipe.read(recipe or record.recipe)
    if not isinstance(model, Forecaster) or not isinstance(chosen, ForecasterRecipe):
        raise ValueError(f"{name} is no forecaster; `convrnn-zoo info {name}` tells what it is")
    if chosen.weights != record.name:
        raise ValueError(f"the recipe makes {chosen.weights}, and these weights are {record.name}; pass theirs")
    return Trained(model.eval(), chosen, record)
