"""How good forecasts are, by lead time, beside those of the baselines."""

import json
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .._extras import need
from ..data import FrameSequences, read_frame_dataset
from ..data.datasets.frame_files import FrameDataset
from ..models import Forecaster, Metric
from ._values import finite, value_range_of
from .apply import preprocessing_of
from .baselines import BASELINES, Baseline
from .fit import progress_bar
from .pictures import new_figure, save_figure
from .recipe import ForecasterRecipe

Scores = dict[str, dict[str, list[float]]]
"""Of each method, of each metric, the value at every lead time from the first frame on."""

LESS_IS_BETTER = {"MSE", "MAE", "FAR"}
"""By the first word of a metric's name; of the others more is."""
WINDOW = 7
"""Of SSIM, in pixels; smaller frames have none."""
log = logging.getLogger(__name__)


def frame_scores(made: Tensor, truth: Tensor, value_range: tuple[float, float] | None) -> dict[str, Tensor]:
    """Returns MSE, MAE, SSIM and PSNR of every frame: each ``(N, T)`` for frames ``(N, T, C, H, W)``.

    The errors are means over the pixels whose truth is known. SSIM uses a flat window of 7×7 pixels. SSIM and PSNR are
    computed on values clipped to `value_range`, counted from its lower end; without one they are left out.

    References:
        Wang, Z. et al. (2004). Image quality assessment. https://doi.org/10.1109/TIP.2003.819861

    Example:
        >>> frames = torch.rand(2, 3, 1, 8, 8)
        >>> scores = frame_scores(frames * 0, frames * 0 + 0.5, (0.0, 1.0))
        >>> scores["MSE"][0, 0].item(), scores["MAE"][0, 0].item()
        (0.25, 0.5)
    """
    image = need("torchmetrics.functional.image", "eval")
    known = torch.isfinite(truth)
    share = known.float().mean((2, 3, 4))
    made, truth = (torch.where(known, x, 0).nan_to_num(0) for x in (made, truth))
    error = made - truth
    scores = {"MSE": error.square().mean((2, 3, 4)) / share, "MAE": error.abs().mean((2, 3, 4)) / share}
    if value_range is None:
        return scores
    low, high = value_range
    flat = [torch.where(known, x.clamp(low, high) - low, 0).flatten(0, 1) for x in (made, truth)]
    peak = high - low
    if min(error.shape[-2:]) >= WINDOW:
        similar = image.structural_similarity_index_measure(
            *flat, gaussian_kernel=False, kernel_size=WINDOW, data_range=peak, reduction="none"
        )
        scores["SSIM"] = similar.reshape(error.shape[:2])
    noise = image.peak_signal_noise_ratio(*flat, data_range=peak, reduction="none", dim=(1, 2, 3))
    scores["PSNR"] = noise.reshape(error.shape[:2]) + 10 * share.log10()
    return scores


class Occurrences:
    """CSI, POD and FAR of a threshold at every lead time, over all pixels of all sequences.

    With hits H, misses M and false alarms F: CSI = H / (H + M + F), POD = H / (H + M), FAR = F / (H + F); NaN where
    there is nothing to divide by.

    Reference:
        Shi, X. et al. (2015), section 4.2. https://arxiv.org/abs/1506.04214

    Example:
        >>> counted = Occurrences(0.5, horizon=1)
        >>> made, truth = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]).reshape(2, 1, 1, 1, 1, 4)
        >>> counted.add(made, truth)
        >>> {k: [round(v, 3) for v in values] for k, values in counted.scores().items()}
        {'CSI': [0.333], 'POD': [0.5], 'FAR': [0.5]}
    """

    def __init__(self, threshold: float, horizon: int) -> None:
        index = need("torchmetrics.regression", "eval").CriticalSuccessIndex
        self.at = [index(threshold) for _ in range(horizon)]

    def add(self, made: Tensor, truth: Tensor) -> None:
        """Counts frames ``(N, T, C, H, W)``."""
        for i, index in enumerate(self.at):
            index.update(*(x[:, i].nan_to_num(0) for x in (made, truth)))

    def scores(self) -> dict[str, list[float]]:
        """Each by lead time."""
        counts = [[float(x) for x in (i.hits, i.misses, i.false_alarms)] for i in self.at]
        hits, missed, false = torch.tensor(counts, dtype=torch.float64).unbind(1)
        found = {"CSI": hits / (hits + missed + false), "POD": hits / (hits + missed), "FAR": false / (hits + false)}
        return {name: values.tolist() for name, values in found.items()}


def usable(baselines: Mapping[str, Baseline], sample: Tensor) -> dict[str, Baseline]:
    """The baselines that can forecast a step from a sample; the log says how to install what another one needs."""
    found = {}
    for name, baseline in baselines.items():
        try:
            baseline(sample, 1)
        except ImportError as e:
            log.warning("the %s is left out: %s", name, e)
        else:
            found[name] = baseline
    return found


def evaluate(
    model: Forecaster,
    recipe: ForecasterRecipe,
    clips: FrameSequences,
    sequences: int | None = None,
    *,
    batch_size: int = 16,
    progress: bool = False,
) -> Scores:
    """The scores of the model (``"forecast"``) and of its data's baselines on the fixed sequences.

    A baseline whose package is not installed is left out, and the log says so. Of `clips`, the test split, there are
    `sequences`, by default the recipe's number, `batch_size` of them at once.
    """
    data, values = read_frame_dataset(recipe.data), model.preprocessing or preprocessing_of(recipe)
    known = clips.fixed(sequences or recipe.test_sequences)
    value_range = value_range_of(values, known[:, recipe.inputs :])
    methods: dict[str, Baseline] = {
        "forecast": lambda x, horizon: model.forecast(x, horizon, batch_size=batch_size),
        **usable({name: BASELINES[name] for name in data.baselines}, known[:1, : recipe.inputs]),
    }
    frames: dict[str, list[dict[str, Tensor]]] = {m: [] for m in methods}
    counted = {m: {t: Occurrences(t, recipe.horizon) for t in data.thresholds} for m in methods}
    with progress_bar("evaluation", progress, iterable=known.split(batch_size)) as parts:
        for x, truth in ((part[:, : recipe.inputs], part[:, recipe.inputs :]) for part in parts):
            truth = truth.masked_fill(x[:, -1:].isnan(), torch.nan)  # where the last frame knows nothing, none is asked
            for name, method in methods.items():
                made = torch.where(truth.isnan(), 0, method(x, recipe.horizon))
                frames[name].append(frame_scores(made, truth, value_range))
                for occurrences in counted[name].values():
                    occurrences.add(made, truth)
    return {
        name: {
            **{k: torch.cat([s[k] for s in each]).double().nanmean(0).tolist() for k in each[0]},
            **{
                f"{k} {threshold:g} {data.unit}".rstrip(): values
                for threshold, occurrences in counted[name].items()
                for k, values in occurrences.scores().items()
            },
        }
        for name, each in frames.items()
    }


class Mean(NamedTuple):
    """A mean over lead times, and over how many of them: a score is undefined where there is nothing to divide by."""

    value: float
    count: int
    total: int

    def __str__(self) -> str:
        return f"{self.value:.4g}" + ("" if self.count in (0, self.total) else f" ({self.count} of {self.total})")


def mean_of(values: Sequence[float], like: Sequence[float] | None = None) -> Mean:
    """Returns the mean over the lead times that have a finite value, in `like` as well if that is given.

    Example:
        >>> str(mean_of([1.0, float("nan"), 3.0]))
        '2 (2 of 3)'
    """
    there = [v for v, w in zip(values, like or values, strict=True) if math.isfinite(v) and math.isfinite(w)]
    return Mean(statistics.fmean(there) if there else math.nan, len(there), len(values))


def better(scores: Scores, metric: str, baseline: str) -> str:
    """At which lead times the forecast is better than a baseline, in a few words; those without a value do not count.

    Example:
        >>> better({"forecast": {"MSE": [3, 2, 2]}, "zero": {"MSE": [2, 3, 4]}}, "MSE", "zero")
        'from frame 2 on'
    """
    sign = -1 if metric.partition(" ")[0] in LESS_IS_BETTER else 1
    pairs = zip(scores["forecast"][metric], scores[baseline][metric], strict=True)
    wins = {i: sign * a > sign * b for i, (a, b) in enumerate(pairs, 1) if not math.isnan(a + b)}
    lost = [i for i, won in wins.items() if not won]
    won_last = [i for i in wins if i > max(lost, default=0)]
    if not any(wins.values()):
        return "at no lead time"
    if not lost:
        return "at every lead time"
    if len(won_last) == sum(wins.values()):
        return f"from frame {won_last[0]} on"
    return f"at {sum(wins.values())} of {len(wins)} lead times"


def metrics_of(scores: Scores, data: FrameDataset) -> tuple[Metric, ...]:
    """Returns the metrics for the metadata of weights: means over all lead times, and what the baselines reach.

    A score that is undefined at some lead times says how many it is the mean of. A baseline is compared on the lead
    times of the forecast; one that lacks some of them is described in the note only, on those that both have.
    """
    units = {"MSE": f"({data.unit})²" if data.unit else "", "MAE": data.unit, "PSNR": "dB"}

    def metric(name: str, values: list[float]) -> Metric:
        mean = mean_of(values)
        baselines, notes = {}, []
        for baseline, by in scores.items():
            theirs, ours = mean_of(by[name], values), mean_of(values, by[name])
            if baseline == "forecast" or not theirs.count:
                continue
            if theirs.count == mean.count:
                baselines[baseline] = float(f"{theirs.value:.4g}")
                notes.append(f"{baseline} ({theirs.value:.4g}) {better(scores, name, baseline)}")
            else:
                on = f"{theirs.value:.4g} to {ours.value:.4g} on {theirs.count} of {theirs.total} frames"
                notes.append(f"{baseline} ({on}) {better(scores, name, baseline)}")
        over = f"{mean.count} of {mean.total}" if mean.count < mean.total else f"{mean.total}"
        return Metric(
            name,
            float(f"{mean.value:.6g}"),
            data.title,
            data.split_words,
            unit=units.get(name, ""),
            note=f"mean over {over} frames" + (f"; better than {', '.join(notes)}" if notes else ""),
            baselines=baselines,
            summed_over=data.summed_over if name in ("MSE", "MAE") else None,
        )

    return tuple(metric(name, values) for name, values in scores["forecast"].items() if mean_of(values).count)


def curves(scores: Scores, path: Path, heading: str) -> None:
    """A picture of every metric over lead time, a line a method; written whole or not at all."""
    names = list(scores["forecast"])
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    figure = new_figure(3.6 * columns, 2.8 * lines)
    figure.suptitle(heading)
    for axis, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        for method, values in scores.items():
            axis.plot(range(1, len(values[name]) + 1), values[name], marker=".", label=method)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("lead time in frames", fontsize=8)
    for axis in figure.axes[len(names) :]:
        axis.set_visible(False)
    figure.axes[0].legend(fontsize=8)
    save_figure(figure, path)


def to_json(scores: Scores) -> str:
    """The scores as JSON, null for what is not finite."""
    return json.dumps(finite(scores), indent=2) + "\n"
