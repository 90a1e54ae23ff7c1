"""Ensembles of forecasts: how good they are, and their pictures."""

from typing import Any

import torch
from torch import Tensor

from .._extras import need
from ..data.rain_events import quiet
from ..models import Preprocessing
from ._values import value_range_of
from .pictures import UNKNOWN, WIDTH, Paint, new_figure, paints_of, pixels_of


def ensemble_scores(members: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """Of every lead time the CRPS, by pysteps, the root mean square error of the mean, and the members' spread.

    The continuous ranked probability score is in the unit of the data, and less is better; of one member it is the mean
    absolute error. In a good ensemble, the spread is as large as the error of the mean.

    Args:
        members: ``(M, T, H, W)`` in the unit of the data, such as ``model.forecast(frames, members=20, seed=0)`` gives.
        truth: ``(T, H, W)``; what is not known (NaN) in either is left out.

    Raises:
        ValueError: members and truth that are not of the same frames.
        ImportError: pysteps is not installed.

    References:
        Hersbach, H. (2000). Decomposition of the continuous ranked probability score for ensemble prediction systems.
        https://doi.org/10.1175/1520-0434(2000)015<0559:DOTCRP>2.0.CO;2
    """
    if members.dim() < 2 or members.shape[1:] != truth.shape or not len(members):
        raise ValueError(
            f"expected members (M, T, H, W) of truth (T, H, W), got {tuple(members.shape)} and {tuple(truth.shape)}"
        )
    with quiet():
        probability = need("pysteps.verification.probscores", "nowcast")
    made, true = members.double(), truth.double()
    error = (made.mean(0) - true).square()
    variance = made.var(0) if len(made) > 1 else torch.zeros_like(true)
    variance = variance.masked_fill(error.isnan(), torch.nan)
    return {
        "CRPS": [float(probability.CRPS(m.numpy(), t.numpy())) for m, t in zip(made.unbind(1), true, strict=True)],
        "RMSE of the mean": error.flatten(1).nanmean(1).sqrt().tolist(),
        "spread": variance.flatten(1).nanmean(1).sqrt().tolist(),
    }


def ensemble_rows(members: Tensor, threshold: float, truth: Tensor | None, unit: str) -> dict[str, Tensor]:
    """What a picture of an ensemble shows, by the title of its row: ``(T, H, W)`` each.

    Example:
        >>> rows = ensemble_rows(torch.tensor([0.0, 2.0, 4.0]).reshape(3, 1, 1, 1), 1.0, None, "mm/h")
        >>> {title: round(float(frames), 3) for title, frames in rows.items()}
        {'mean': 2.0, 'spread': 2.0, 'P(over 1 mm/h)': 0.667}
    """
    above = (members > threshold).float().masked_fill(members.isnan(), torch.nan).mean(0)
    spread = members.std(0) if len(members) > 1 else torch.zeros_like(members[0])
    rows = {"mean": members.mean(0), "spread": spread, f"P(over {threshold:g} {unit})".replace(" )", ")"): above}
    return rows if truth is None else {"truth": truth, **rows}


def ensemble_strip(
    members: Tensor,
    scale: Preprocessing,
    *,
    threshold: float,
    truth: Tensor | None = None,
    heading: str = "",
    most: int = 6,
) -> Any:
    """A picture of an ensemble as Pillow's image: mean, spread and probability of more than a threshold, over time.

    Args:
        members: ``(M, T, H, W)`` in the unit of the data.
        scale: the model's `preprocessing`, which knows the unit.
        threshold: in the unit of the data, such as 1 mm/h.
        truth: ``(T, H, W)``, where it is known.
        heading: what stands above.
        most: lead times that are shown, evenly chosen.
    """
    rows = ensemble_rows(members, threshold, truth, scale.unit)
    length = members.shape[1]
    times = torch.linspace(0, length - 1, min(most, length)).round().long().tolist()
    values, _ = paints_of(scale, value_range_of(scale, members if truth is None else truth))
    values = values._replace(label=scale.unit or "brightness")
    viridis = need("matplotlib", "draw").colormaps["viridis"].with_extremes(bad=UNKNOWN)
    chance = Paint({"cmap": viridis, "vmin": 0, "vmax": 1}, "")
    edge = WIDTH / max(len(times), 4)
    height = edge * members.shape[-2] / members.shape[-1]
    figure = new_figure(edge * len(times) + 1.6, len(rows) * (height + 0.3) + 0.6, heading)
    axes = figure.subplots(len(rows), len(times), squeeze=False)
    for (title, frames), line in zip(rows.items(), axes, strict=True):
        paint = chance if title.startswith("P(") else values
        for axis, t in zip(line, times, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.imshow(frames[t].numpy(), interpolation="nearest", **paint.image)
            axis.set_title(f"+{t + 1}", fontsize=8, pad=2)
        line[0].set_ylabel(title, fontsize=10)
        bar = figure.colorbar(line[0].images[0], ax=list(line), fraction=0.04, extend=paint.extend)
        bar.set_label(paint.label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return pixels_of(figure)
