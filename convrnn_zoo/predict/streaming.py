"""Class probabilities of an audio classifier over time."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._atomic import check_suffix
from ..models import Stream
from ..models.base.model import evaluating
from ..verify.figures import FIGURES, new_figure, save_figure

MIN_NAMED = 0.15
"""Classes whose probability is always lower are plotted in grey, without a name."""


def stream_probabilities(model: Any, wave: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Returns the end times ``(T,)`` of the front end's windows, in seconds, and the class probabilities ``(T, K)``.

    Raises:
        ValueError: the model is bidirectional or has no front end, or the front end rejects the sound.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("convgru1d_2layer.fsdd", pretrained=True)
        >>> seconds, probabilities = stream_probabilities(model, torch.zeros(4000), 8000)
        >>> tuple(probabilities.shape), round(seconds[0].item(), 3)
        ((24, 10), 0.032)
    """
    steps, front_end = model.encode_sound("the sound", wave, rate), model.front_end
    with evaluating(model):
        stream, parameter = Stream(model), next(model.parameters())
        logits = [stream(model.normalize(step).to(parameter)) for step in steps[:, None, None]]
        probabilities = [y.float().softmax(1).cpu() for y in logits]
    return (torch.arange(len(steps)) * front_end.step + front_end.size) / rate, torch.cat(probabilities)


def draw_probabilities(model: Any, wave: Tensor, rate: int, path: Path, heading: str = "") -> None:
    """Plots a sound and the probability of each class over time, as ``.png`` or ``.svg``.

    Raises:
        ValueError: the suffix is not supported, or :func:`stream_probabilities` raises ValueError.
    """
    check_suffix(path, FIGURES)
    figure = new_figure(7.2, 4.0, heading)  # raises ImportError before the model runs
    seconds, probabilities = stream_probabilities(model, wave, rate)
    labels = model.pretrained_cfg.get("label_names") or [str(i) for i in range(probabilities.shape[1])]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    top.plot(torch.arange(len(wave)) / rate, wave, color="#4292c6", linewidth=0.5)
    top.set_ylabel("sound")
    top.set_yticks([])
    named = (probabilities.max(0).values >= MIN_NAMED).nonzero().flatten().tolist()
    for i, values in enumerate(probabilities.T):
        style: dict[str, Any] = {"label": labels[i], "linewidth": 2} if i in named else {"color": "#c8c8c8"}
        bottom.plot(seconds, values, zorder=2 if i in named else 1, **style)
    bottom.set_ylim(0, 1)
    bottom.set_xlim(0, len(wave) / rate)
    bottom.set_ylabel("probability")
    bottom.set_xlabel("seconds of sound")
    if named:
        bottom.legend(loc="upper left", fontsize=9, frameon=False)
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
