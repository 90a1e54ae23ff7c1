"""Scores of forecasts by lead time, compared with baselines."""

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._extras import need, progress_bar
from ..data import FrameSequences, split_channels
from ..data.datasets.frame_files import RAIN_THRESHOLDS, FrameDataset
from ..data.datasets.variables import ROLES
from ..models import Ensemble, EnsembleForecaster, Forecaster
from ..pretrained.metadata import Metric
from ..values.preprocessing import Encoding, Preprocessing, Variable
from ..values.steps import mean_minutes
from ..values.units import is_rain
from ._values import find_value_ranges, finite
from .baselines import Baseline, choose_baselines
from .losses import SSIM_WINDOW, fair_crps, quantile_crps

if TYPE_CHECKING:
    from ..recipes import ForecasterRecipe

Scores = dict[str, dict[str, list[float]]]
"""Values at every lead time by method, such as ``"forecast"``, and by metric."""
LESS_IS_BETTER = {"MSE", "MAE", "FAR", "CRPS", "Brier"}
"""First words of the names of metrics whose lower values are better."""
FSS_WINDOW = 9
"""Edge of the neighbourhood of the fractions skill score in pixels."""
MEMBERS = 20
"""Default number of members that represent the probabilities of a nowcast."""
BINS = 10
"""Number of bins of a reliability diagram."""


# ---- scores of frames --------------------------------------------------------------------------------------------
def frame_scores(forecast: Tensor, truth: Tensor, value_range: tuple[float, float] | None) -> dict[str, Tensor]:
    """Returns MSE, MAE, SSIM and PSNR of every frame: each ``(N, T)`` for frames ``(N, T, C, H, W)``.

    The errors are means over the pixels whose truth is known. For SSIM and PSNR, values are clipped to `value_range`,
    and its lower bound is subtracted. Both are left out if `value_range` is None. SSIM is the mean over all windows of
    7×7 pixels without an unknown pixel; frames are reflected at their edges. Frames smaller than 7×7 have no SSIM.

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
    forecast, truth = (torch.where(known, x, 0).nan_to_num(0) for x in (forecast, truth))
    error = forecast - truth
    scores = {"MSE": error.square().mean((2, 3, 4)) / share, "MAE": error.abs().mean((2, 3, 4)) / share}
    if value_range is None:
        return scores
    low, high = value_range
    flat = [torch.where(known, x.clamp(low, high) - low, 0).flatten(0, 1) for x in (forecast, truth)]
    if min(error.shape[-2:]) >= SSIM_WINDOW:
        _, similarity = image.structural_similarity_index_measure(
            *flat, gaussian_kernel=False, kernel_size=SSIM_WINDOW, data_range=high - low, reduction="none",
            return_full_image=True,
        )  # fmt: skip
        around = F.pad((~known).float().flatten(0, 1), (SSIM_WINDOW // 2,) * 4, mode="reflect")  # as torchmetrics does
        complete = F.max_pool2d(around, SSIM_WINDOW, 1) == 0
        total, count = torch.where(complete, similarity, 0).sum((1, 2, 3)), complete.sum((1, 2, 3))
        scores["SSIM"] = (total / count).reshape(error.shape[:2])
    psnr = image.peak_signal_noise_ratio(*flat, data_range=high - low, reduction="none", dim=(1, 2, 3))
    scores["PSNR"] = psnr.reshape(error.shape[:2]) + 10 * share.log10()
    return scores


class Occurrences:
    """CSI, POD, FAR and FSS of a threshold at every lead time, over all pixels of all sequences.

    A pixel is a hit if forecast and truth reach the threshold, a miss if only the truth does, and a false alarm if only
    the forecast does. With their numbers H, M and F: CSI = H / (H + M + F), POD = H / (H + M), FAR = F / (H + F). The
    fractions skill score (FSS) compares the fractions of pixels that reach the threshold in windows of 9×9 pixels. A
    score is NaN where its denominator is 0.

    References:
        Shi, X. et al. (2015), section 4.2. https://arxiv.org/abs/1506.04214
        Roberts, N. M. and Lean, H. W. (2008). Scale-selective verification of rainfall accumulations.
        https://doi.org/10.1175/2007MWR2123.1

    Example:
        >>> occurrences = Occurrences(0.5, horizon=1)
        >>> forecast, truth = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]).reshape(2, 1, 1, 1, 1, 4)
        >>> occurrences.add(forecast, truth)
        >>> {k: [round(v, 3) for v in values] for k, values in occurrences.scores().items()}
        {'CSI': [0.333], 'POD': [0.5], 'FAR': [0.5], 'FSS': [1.0]}
    """

    def __init__(self, threshold: float, horizon: int) -> None:
        self.threshold = threshold
        self.counts = torch.zeros(3, horizon, dtype=torch.float64)  # hits, misses, false alarms
        self.error, self.reference = torch.zeros(2, horizon, dtype=torch.float64)

    def add(self, forecast: Tensor, truth: Tensor) -> None:
        """Adds forecast and true frames ``(N, T, C, H, W)``."""
        pixels = (0, 2, 3, 4)
        occurs = [x.nan_to_num(0) >= self.threshold for x in (forecast, truth)]
        hits, predicted, observed = (x.sum(pixels) for x in (occurs[0] & occurs[1], *occurs))
        self.counts += torch.stack([hits, observed - hits, predicted - hits])
        maps = [x.float().flatten(0, 2)[:, None] for x in occurs]
        pooled = [F.avg_pool2d(x, FSS_WINDOW, 1, FSS_WINDOW // 2, count_include_pad=False) for x in maps]
        f, o = (x.reshape(forecast.shape).double() for x in pooled)
        self.error += (f - o).square().sum(pixels)
        self.reference += (f.square() + o.square()).sum(pixels)

    def scores(self) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        hits, missed, false = self.counts
        scores = {
            "CSI": hits / (hits + missed + false), "POD": hits / (hits + missed), "FAR": false / (hits + false),
            "FSS": 1 - self.error / self.reference,
        }  # fmt: skip
        return {name: values.tolist() for name, values in scores.items()}


# ---- scores of ensembles -----------------------------------------------------------------------------------------
def ensemble_scores(members: Tensor, truth: Tensor, are_quantiles: bool = False) -> dict[str, list[float]]:
    """Returns three scores of an ensemble by lead time: the CRPS, the RMSE of the ensemble mean, and the spread.

    The RMSE is the root mean square error. In a calibrated ensemble, the spread equals the RMSE of the ensemble mean.
    For M random members, the spread is the root of ``(M + 1) / M`` times their mean variance, since the mean of the
    members is random, too. For quantiles, it is the root of their mean variance. The CRPS is that of
    :func:`~convrnn_zoo.verify.losses.fair_crps` or :func:`~convrnn_zoo.verify.losses.quantile_crps`.

    Args:
        members: ``(M, T, H, W)`` in the unit of the data, such as ``model.forecast(frames, members=20, seed=0)``.
        truth: ``(T, H, W)``. Pixels that are NaN in the truth or in a member are left out.
        are_quantiles: whether the members are quantiles at each pixel, as those of ``convgru_advection``, and not
            random.

    Raises:
        ValueError: the shape of a member is not that of the truth.

    References:
        Fortin, V. et al. (2014). Why should ensemble spread match the RMSE of the ensemble mean?
        https://doi.org/10.1175/JHM-D-14-0008.1
    """
    if members.dim() < 2 or members.shape[1:] != truth.shape or not len(members):
        raise ValueError(
            f"expected members (M, T, H, W) of truth (T, H, W), got {tuple(members.shape)} and {tuple(truth.shape)}"
        )
    members, truth, count = members.double(), truth.double(), len(members)
    crps, error = choose_crps(are_quantiles)(members, truth), (members.mean(0) - truth).square()
    variance = members.var(0, correction=0)
    if not are_quantiles and count > 1:
        variance = variance * (count + 1) / (count - 1)
    variance = variance.masked_fill(error.isnan(), torch.nan)
    return {
        "CRPS": crps.flatten(1).nanmean(1).tolist(),
        "RMSE of the mean": error.flatten(1).nanmean(1).sqrt().tolist(),
        "spread": variance.flatten(1).nanmean(1).sqrt().tolist(),
    }


def choose_crps(are_quantiles: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the function that computes the CRPS of members that are quantiles at each pixel, or random."""
    return quantile_crps if are_quantiles else fair_crps


class ProbabilityScores:
    """CRPS and Brier scores of ensembles by lead time, and their reliability diagrams over all lead times.

    The members are random, or `are_quantiles` at each pixel; see :func:`ensemble_scores`.

    Example:
        >>> scores = ProbabilityScores((1.0,), horizon=1)
        >>> scores.add(torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1) * 3)
        >>> scores.scores(""), scores.reliability("")["1"]["observed"][5]
        ({'CRPS': [1.0], 'Brier 1': [0.25]}, 1.0)
    """

    def __init__(self, thresholds: Iterable[float], horizon: int, are_quantiles: bool = False) -> None:
        self.pixel_crps = choose_crps(are_quantiles)
        self.crps = torch.zeros(2, horizon, dtype=torch.float64)  # sum and number of frames
        self.known = torch.zeros(horizon, dtype=torch.float64)  # number of pixels
        self.brier = {t: torch.zeros(horizon, dtype=torch.float64) for t in thresholds}
        self.bins = {t: torch.zeros(3, BINS, dtype=torch.float64) for t in thresholds}  # count, forecast, observed

    def add(self, members: Tensor, truth: Tensor) -> None:
        """Adds members ``(M, N, T, C, H, W)`` and true frames ``(N, T, C, H, W)``; pixels with NaN are left out."""
        known = truth.isfinite() & members.isfinite().all(0)
        pixels = (0, 2, 3, 4)
        score = self.pixel_crps(members.nan_to_num(0).float(), truth.nan_to_num(0))
        by_frame = torch.where(known, score, 0).double().sum((2, 3, 4)) / known.sum((2, 3, 4))  # as the MAE
        self.crps += torch.stack([by_frame.nansum(0), by_frame.isfinite().double().sum(0)])
        self.known += known.double().sum(pixels)
        for threshold, brier in self.brier.items():
            probability = (members >= threshold).double().mean(0)
            occurred = (truth >= threshold).double()
            brier += torch.where(known, (probability - occurred).square(), 0).sum(pixels)
            numbers = (probability * BINS).long().clamp_max(BINS - 1)[known]
            for total, values in zip(self.bins[threshold], (torch.ones(()), probability, occurred), strict=True):
                total += torch.bincount(numbers, values.expand_as(probability)[known], BINS)

    def scores(self, unit: str) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        total, count = self.crps
        briers = {f"Brier {t:g} {unit}".rstrip(): (b / self.known).tolist() for t, b in self.brier.items()}
        return {"CRPS": (total / count).tolist(), **briers}

    def reliability(self, unit: str) -> dict[str, dict[str, list[float]]]:
        """Returns the mean forecast, observed frequency and pixel count of each bin of probability, by threshold."""
        return {
            f"{t:g} {unit}".rstrip(): {
                "forecast": (forecast / count).tolist(), "observed": (observed / count).tolist(),
                "count": count.tolist(),
            }
            for t, (count, forecast, observed) in self.bins.items()
        }  # fmt: skip


# ---- evaluation --------------------------------------------------------------------------------------------------
class Evaluation(NamedTuple):
    """Scores by method, and reliability diagrams by threshold.

    The diagrams are those of the first target. There are none if no ensemble was evaluated.
    """

    scores: Scores
    reliability: dict[str, dict[str, list[float]]]

    def to_json(self) -> str:
        """Returns the scores as JSON, with null for values that are not finite."""
        extra = {"reliability": self.reliability} if self.reliability else {}
        return json.dumps(finite({**self.scores, **extra}), indent=2) + "\n"


def evaluate(
    model: Forecaster,
    recipe: "ForecasterRecipe",
    clips: FrameSequences,
    sequences: int | None = None,
    *,
    ensemble_size: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = False,
    climatology: Baseline | None = None,
) -> Evaluation:
    """Scores a model (``"forecast"``) and the baselines of its data on equally spaced sequences of a split.

    Targets with names have separate scores in their own units, such as ``"MSE of t2m"``. Only one batch of sequences is
    in memory. If the range of the values is not declared, all sequences are read twice.

    Args:
        model, recipe, clips: the forecaster, its recipe and the test split.
        sequences: number of sequences; by default the recipe's.
        ensemble_size: number of members for CRPS, Brier scores and reliability; 0 leaves these scores out. The default
            is 20 for a model that forecasts probabilities, and the recipe's number for a model that reads noise.
        seed: seed of the noise of the members.
        batch_size, progress: sequences per batch, and whether to show a progress bar.
        climatology: further baseline, which receives the numbers of the sequences and the horizon.

    Raises:
        ValueError: `ensemble_size` is set for a model that makes one forecast, or the recipe has other variables than
            the model.
    """
    data, values, inputs = recipe.data, model.preprocessing or recipe.preprocessing(), recipe.inputs
    ensemble_size, members_are = choose_ensemble(model, recipe, ensemble_size)
    check_variables(values, data)
    batches = clips.fixed_samples(sequences or recipe.test_sequences).split(batch_size)

    def read_targets(samples: Tensor) -> Tensor:
        return values.select_targets(split_channels(clips.read(samples), values).frames)

    targets = values.target_variables
    step, pixel_km = getattr(data, "step", None), getattr(data, "pixel_km", None)
    baselines = choose_baselines(
        targets, read_targets(batches[0][:1])[:, :inputs], minutes=mean_minutes(step) if step else 5.0,
        pixel_km=pixel_km or 2.0, members=ensemble_size,
    )  # fmt: skip
    if climatology is not None:
        baselines["climatology"] = climatology
    channels = [slice(i, i + 1) if isinstance(target, Variable) else slice(None) for i, target in enumerate(targets)]
    truths = (read_targets(samples)[:, inputs:] for samples in batches)
    ranges = find_value_ranges(targets, ([truth[:, :, channel] for channel in channels] for truth in truths))
    collected = {
        method: [
            TargetScores(
                target,
                channel,
                value_range,
                data.thresholds,
                recipe.horizon,
                "random" if members_are and method == "STEPS" else members_are,
            )
            for target, channel, value_range in zip(targets, channels, ranges, strict=True)
        ]
        for method in ("forecast", *baselines)
    }
    with progress_bar("evaluation", progress, iterable=batches) as parts:
        for samples in parts:
            every, known = split_known(clips.read(samples), values)
            x, observed = every[:, :inputs], values.select_targets(every)
            if not x.isfinite().any():  # no forecast is possible, and none would be scored
                continue
            last, truth = observed[:, :inputs], observed[:, inputs:]
            truth = truth.masked_fill(last[:, -1:].isnan(), torch.nan)  # unknown in the last input: not scored
            for name, by_target in collected.items():
                if name == "forecast":
                    forecast = model.forecast(x, recipe.horizon, batch_size=batch_size, **known)
                elif name == "climatology":
                    mean = split_known(baselines[name](samples, recipe.horizon), values)[0]
                    forecast = values.select_targets(mean).to(truth)
                else:
                    forecast = baselines[name](last, recipe.horizon)
                members = forecast if forecast.dim() > truth.dim() else forecast[None]  # those of STEPS
                members = torch.where(truth.isnan(), 0, members)
                forecast = members.mean(0)
                if ensemble_size and name == "forecast":
                    ensemble: Any = {"members": ensemble_size, "seed": seed, "batch_size": batch_size}
                    members = model.forecast(x, recipe.horizon, **ensemble)
                for scores in by_target:
                    scores.add(forecast, truth, members)
    if not collected["forecast"][0].by_frame:
        raise ValueError(f"{data.title}: the input frames of all {len(clips)} sequences have no known value")
    probable = collected["forecast"][0].probable
    return Evaluation(
        {name: {k: v for one in each for k, v in one.scores().items()} for name, each in collected.items()},
        probable.reliability(targets[0].unit) if probable else {},
    )


def choose_ensemble(
    model: Forecaster, recipe: "ForecasterRecipe", size: int | None
) -> tuple[int, Literal["random", "quantiles"] | None]:
    """Returns the number of members to evaluate, and whether they are random or quantiles; ``(0, None)`` for none.

    Raises ValueError if a `size` is set for a model that makes one forecast.
    """
    has_members, are_random = isinstance(model, Ensemble), isinstance(model, EnsembleForecaster)
    if size and not has_members:
        raise ValueError(f"{recipe.weights} makes one forecast, and has no ensemble of {size} members")
    if size is None:
        size = recipe.ensemble_size if are_random else MEMBERS * has_members
    return size, None if not size else "random" if are_random else "quantiles"


def split_known(frames: Tensor, values: Preprocessing) -> tuple[Tensor, dict[str, Any]]:
    """Splits frames into variables ``(N, T, C, H, W)`` and a dictionary of the known inputs `static` and `future`."""
    observed, static, future = split_channels(frames, values)
    return observed, {k: v for k, v in {"static": static, "future": future}.items() if v is not None}


def check_variables(values: Preprocessing, data: FrameDataset) -> None:
    """Raises ValueError if the variables of weights differ from those of a recipe, in name, role or order."""
    trained, stated = _list_names(values), _list_names(data)
    for role, names in trained.items():
        if names != stated[role]:
            raise ValueError(
                f"the weights have the {role} {names} in this order, and the recipe's data.{role} {stated[role]}"
            )


def with_units(recipe: "ForecasterRecipe", values: Preprocessing | None) -> "ForecasterRecipe":
    """Returns a recipe whose variables are read in the units of trained weights, whatever unit the files have."""
    units = {v.name: v.unit or None for role in ROLES for v in getattr(values, role, ())}
    if not units:
        return recipe
    roles: dict[str, Any] = {
        role: tuple(dataclasses.replace(v, unit=units.get(v.name, v.unit)) for v in getattr(recipe.data, role))
        for role in ROLES
    }
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **roles))  # type: ignore[type-var]


def _list_names(source: Any) -> dict[str, list[str]]:
    names = {role: [v.name for v in getattr(source, role)] for role in ROLES}
    return {"targets": list(source.targets) or names["variables"], **names}


class TargetScores:
    """Scores of one method for one target, or for all channels together if the channels have no names.

    A named target in mm/h has the usual thresholds of rain if `thresholds` is empty. `value_range` is that of SSIM and
    PSNR. `members` describes the ensemble, if there is one: its members are random, or quantiles at each pixel.
    """

    def __init__(
        self, target: Encoding, channels: slice, value_range: tuple[float, float] | None, thresholds: Sequence[float],
        horizon: int, members: Literal["random", "quantiles"] | None,
    ) -> None:  # fmt: skip
        self.name, self.unit = target.name if isinstance(target, Variable) else "", target.unit
        if self.name and is_rain(self.unit):
            thresholds = thresholds or RAIN_THRESHOLDS
        self.channels, self.value_range = channels, value_range
        self.by_frame: list[dict[str, Tensor]] = []
        self.occurrences = {t: Occurrences(t, horizon) for t in thresholds}
        self.probable = ProbabilityScores(thresholds, horizon, members == "quantiles") if members else None

    def add(self, forecast: Tensor, truth: Tensor, members: Tensor) -> None:
        """Adds frames ``(N, T, C, H, W)`` and members ``(M, N, T, C, H, W)``, both with the channels of all targets."""
        forecast, truth = forecast[:, :, self.channels], truth[:, :, self.channels]
        self.by_frame.append(frame_scores(forecast, truth, self.value_range))
        for counter in self.occurrences.values():
            counter.add(forecast, truth)
        if self.probable:
            self.probable.add(members[:, :, :, self.channels], truth)

    def scores(self) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        scores = {
            **{k: torch.cat([s[k] for s in self.by_frame]).double().nanmean(0).tolist() for k in self.by_frame[0]},
            **{
                f"{k} {threshold:g} {self.unit}".rstrip(): values
                for threshold, counter in self.occurrences.items()
                for k, values in counter.scores().items()
            },
            **(self.probable.scores(self.unit) if self.probable else {}),
        }
        return {f"{k} of {self.name}" if self.name else k: v for k, v in scores.items()}


class Mean(NamedTuple):
    """Mean of a score over the lead times at which it is defined (its denominator is not 0).

    `count` is the number of these lead times, and `total` is the number of all lead times.
    """

    value: float
    count: int  # type: ignore[assignment]
    total: int

    def __str__(self) -> str:
        return f"{self.value:.4g}" + ("" if self.count in (0, self.total) else f" ({self.count} of {self.total})")


def average(values: Sequence[float], like: Sequence[float] | None = None) -> Mean:
    """Returns the mean over the lead times at which `values`, and `like` if it is passed, are finite.

    Example:
        >>> str(average([1.0, float("nan"), 3.0]))
        '2 (2 of 3)'
    """
    finite_values = [v for v, w in zip(values, like or values, strict=True) if math.isfinite(v) and math.isfinite(w)]
    return Mean(statistics.fmean(finite_values or [math.nan]), len(finite_values), len(values))


def better(scores: Scores, metric: str, baseline: str) -> str:
    """Describes the lead times at which the forecast is better than a baseline; lead times with NaN are left out."""
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


def skill(scores: Scores, metric: str) -> tuple[str, float]:
    """Returns the best baseline in the mean of a metric, and the skill of the forecast against it.

    The skill is the fraction of the baseline's distance from a perfect score that the forecast removes: 1 is perfect, 0
    as good as the baseline, and below 0 is worse. Perfect are 0 for errors and 1 for other scores. The PSNR has no
    perfect score: its skill is NaN.

    Example:
        >>> scores = {"forecast": {"CSI 2": [0.6]}, "last frame": {"CSI 2": [0.2]}, "S-PROG": {"CSI 2": [0.5]}}
        >>> name, value = skill(scores, "CSI 2")
        >>> name, round(value, 3)
        ('S-PROG', 0.2)
    """
    ours = scores["forecast"][metric]
    lower = metric.partition(" ")[0] in LESS_IS_BETTER
    means = {name: average(by[metric], ours).value for name, by in scores.items() if name != "forecast"}
    known = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if not known:
        return "", math.nan
    best = (min if lower else max)(known, key=known.__getitem__)
    perfect = 0.0 if lower else math.nan if metric.startswith("PSNR") else 1.0
    distance = perfect - known[best]
    return best, 1 - (perfect - average(ours, scores[best][metric]).value) / distance if distance else math.nan


def make_metrics(scores: Scores, data: FrameDataset, values: Preprocessing | None = None) -> tuple[Metric, ...]:
    """Returns metrics for the metadata of weights: mean scores of the forecast and of the baselines over lead times.

    Means leave out lead times at which the score of the forecast is undefined; the note states how many remain. If the
    score of a baseline is undefined at more lead times, only the note mentions the baseline. It compares the means over
    the lead times at which both scores are defined. `values` is the preprocessing; it has the units of named targets.
    """
    targets = {v.name: v.unit for v in values.variables} if values else {}

    def find_unit(name: str) -> str:
        kind, _, target = name.partition(" of ")
        unit = targets.get(target, data.unit)
        return {"MSE": f"({unit})²" if unit else "", "MAE": unit, "PSNR": "dB", "CRPS": unit}.get(kind, "")

    def metric(name: str, values: list[float]) -> Metric:
        mean = average(values)
        baselines, notes = {}, []
        for baseline, by in scores.items():
            theirs, ours = average(by[name], values), average(values, by[name])
            if baseline == "forecast" or not theirs.count:
                continue
            text = f"{theirs.value:.4g}"
            if theirs.count == mean.count:
                baselines[baseline] = float(text)
            else:
                text += f" to {ours.value:.4g} on {theirs.count} of {theirs.total} frames"
            notes.append(f"{baseline} ({text}) {better(scores, name, baseline)}")
        over = f"{mean.count} of {mean.total}" if mean.count < mean.total else str(mean.total)
        return Metric(
            name,
            float(f"{mean.value:.6g}"),
            data.title,
            data.split_words,
            unit=find_unit(name),
            note=f"mean over {over} frames" + (f"; better than {', '.join(notes)}" if notes else ""),
            baselines=baselines,
            summed_over=data.summed_over if name in ("MSE", "MAE") else None,
        )

    return tuple(metric(name, values) for name, values in scores["forecast"].items() if average(values).count)
