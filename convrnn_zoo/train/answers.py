"""What a classifier of sound says while it listens, as a picture."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._atomic import check_suffix
from ..models import Stream
from ..models.base.model import evaluating
from .pictures import DRAWN, new_figure, save_figure

NAMED = 0.15
"""Classes whose probability never comes so high are drawn in grey and not named."""


def answers(model: Any, wave: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """The seconds ``(T,)`` at which a window of the front end ends, and what the model then says ``(T, K)``.

    Raises:
        ValueError: the model reads in both directions, or is not of sound; the sound is refused.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("convgru1d_2layer.fsdd", pretrained=True)
        >>> seconds, probabilities = answers(model, torch.zeros(4000), 8000)
        >>> tuple(probabilities.shape), round(seconds[0].item(), 3)
        ((24, 10), 0.032)
    """
    steps, ear = model.encode_sound("the sound", wave, rate), model.front_end
    with evaluating(model):
        stream = Stream(model)
        said = [stream(model.normalize(step)).softmax(1) for step in steps[:, None, None]]
    return (torch.arange(len(steps)) * ear.step + ear.size) / rate, torch.cat(said)


def draw_answers(model: Any, wave: Tensor, rate: int, path: Path, heading: str = "") -> None:
    """Draws the sound and, below it, the probability of each class after all that was heard, over time.

    Raises:
        ValueError: see :func:`answers`; the name ends in something else than .png or .svg.
        ImportError: matplotlib is missing; with the command that installs it.
    """
    check_suffix(path, DRAWN)
    figure = new_figure(7.2, 4.0, heading)  # which says what is missing before the model is asked
    seconds, probabilities = answers(model, wave, rate)
    labels = model.pretrained_cfg.get("label_names") or [str(i) for i in range(probabilities.shape[1])]
    sound, answer = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    sound.plot(torch.arange(len(wave)) / rate, wave, color="#4292c6", linewidth=0.5)
    sound.set_ylabel("sound")
    sound.set_yticks([])
    telling = (probabilities.max(0).values >= NAMED).nonzero().flatten().tolist()
    for i, values in enumerate(probabilities.T):
        style: dict[str, Any] = {"label": labels[i], "linewidth": 2} if i in telling else {"color": "#c8c8c8"}
        answer.plot(seconds, values, zorder=2 if i in telling else 1, **style)
    answer.set_ylim(0, 1)
    answer.set_xlim(0, len(wave) / rate)
    answer.set_ylabel("probability")
    answer.set_xlabel("seconds heard")
    answer.legend(loc="upper left", fontsize=9, frameon=False)
    for axis in (sound, answer):
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
