"""Evaluation of forecasters: scores by lead time, compared with baselines."""

import dataclasses
import json
import math
import statistics
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._extras import progress_bar
from .._hints import check_names, warn
from ..data import FrameDataset, FrameSequences, split_channels
from ..data.datasets.frame_dataset import RAIN_THRESHOLDS
from ..data.frames import ROLES
from ..models import Ensemble, EnsembleForecaster, Forecaster
from ..pretrained.metadata import Metric
from ..values.preprocessing import Encoding, Preprocessing, Variable
from ..values.steps import mean_minutes
from ..values.units import is_rain
from .baselines import Baseline, choose_baselines
from .metrics import Occurrences, ProbabilityScores, find_metric, find_value_ranges, finite, frame_scores

Scores = dict[str, dict[str, list[float]]]
"""Values at every lead time by method, such as ``"forecast"``, and by metric."""
MEMBERS = 20
"""Default number of members that represent the probabilities of a nowcast."""


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
    recipe: Any,
    clips: FrameSequences,
    sequences: int | None = None,
    *,
    ensemble_size: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = False,
    climatology: Baseline | None = None,
    baselines: Collection[str] | None = None,
    leave_out: Collection[str] = (),
) -> Evaluation:
    """Scores a model (``"forecast"``) and the baselines of its data on equally spaced sequences of a split.

    Targets with names have separate scores in their own units, such as ``"MSE of t2m"``. Only one batch of sequences is
    in memory. If the range of the values is not declared, all sequences are read twice.

    Args:
        model, recipe, clips: the forecaster, its ForecasterRecipe and the test split.
        sequences: number of sequences; by default the recipe's.
        ensemble_size: number of members for CRPS, Brier scores and reliability; 0 leaves these scores out. The default
            is 20 for a model that forecasts probabilities, and the recipe's number for an ensemble forecaster.
        seed: seed of the noise of the members.
        batch_size, progress: sequences per batch, and whether to show a progress bar.
        climatology: further baseline, which receives the numbers of the sequences and the horizon.
        baselines: names of the baselines, such as ``"extrapolation"``; by default all that apply, of which LINDA and
            STEPS take most of the time.
        leave_out: names of baselines that are not computed.

    Raises:
        ValueError: `ensemble_size` is set for a model that makes one forecast, the recipe has other variables than the
            model, or there is no such baseline for the data.
    """
    data, values, inputs = recipe.data, model.preprocessing or recipe.preprocessing(), recipe.inputs
    ensemble_size, members_are = choose_ensemble(model, recipe, ensemble_size)
    check_variables(values, data)
    batches = clips.fixed_samples(sequences or recipe.test_sequences).split(batch_size)

    def read_targets(samples: Tensor) -> Tensor:
        return values.select_targets(split_channels(clips.read(samples), values)[0])

    targets, sample = values.target_variables, read_targets(batches[0][:1])[:, :inputs]
    methods = select_baselines(data, clips, values, sample, ensemble_size)
    if climatology is not None:
        methods["climatology"] = climatology
    check_names(baselines or (), methods, "no baseline {!r} for these data")
    selected = set(methods if baselines is None else baselines) - set(leave_out)
    methods = {name: method for name, method in methods.items() if name in selected}
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
                recipe.metrics,
            )
            for target, channel, value_range in zip(targets, channels, ranges, strict=True)
        ]
        for method in ("forecast", *methods)
    }
    missing = dict.fromkeys(collected, 0)
    with progress_bar("evaluation", progress, iterable=batches) as parts:
        for samples in parts:
            every, known = split_channels(clips.read(samples), values)
            x, observed = every[:, :inputs], values.select_targets(every)
            if not x.isfinite().any():  # no forecast is possible, and none would be scored
                continue
            last, truth = observed[:, :inputs], observed[:, inputs:]
            truth = truth.masked_fill(last[:, -1:].isnan(), torch.nan)  # unknown in the last input: not scored
            for name, by_target in collected.items():
                if name == "forecast":
                    forecast = model.forecast(x, recipe.horizon, batch_size=batch_size, **known)
                elif name == "climatology":
                    mean = split_channels(methods[name](samples, recipe.horizon), values)[0]
                    forecast = values.select_targets(mean).to(truth)
                else:
                    forecast = methods[name](last, recipe.horizon)
                members = forecast if forecast.dim() > truth.dim() else forecast[None]  # those of STEPS
                members = torch.where(truth.isnan(), 0, members)
                forecast = members.mean(0)
                missing[name] += int(forecast.isnan().sum())
                if ensemble_size and name == "forecast":
                    ensemble: Any = {"members": ensemble_size, "seed": seed, "batch_size": batch_size}
                    members = model.forecast(x, recipe.horizon, **ensemble)
                for scores in by_target:
                    scores.add(forecast, truth, members)
    if not collected["forecast"][0].by_frame:
        raise ValueError(f"{data.title}: the input frames of all {len(clips)} sequences have no known value")
    if incomplete := [name for name, count in missing.items() if count]:
        warn(f"NaN where the truth is known, in {', '.join(incomplete)}: such frames are left out of means")
    probable = collected["forecast"][0].probable
    return Evaluation(
        {name: {k: v for one in each for k, v in one.scores().items()} for name, each in collected.items()},
        probable.reliability(targets[0].unit) if probable else {},
    )


def select_baselines(
    data: FrameDataset, clips: FrameSequences, values: Preprocessing, sample: Tensor, members: int
) -> dict[str, Baseline]:
    """Returns the baselines of :func:`choose_baselines` at the step and the pixel size of the data, by name."""
    stated = (f.pixel_km for f in getattr(clips, "files", ()))
    pixel_km = data.pixel_km or next(filter(None, stated), values.pixel_km)
    minutes = mean_minutes(data.step) if data.step else 5.0
    return choose_baselines(values.target_variables, sample, minutes=minutes, pixel_km=pixel_km or 2.0, members=members)


def choose_ensemble(
    model: Forecaster, recipe: Any, size: int | None
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


def check_variables(values: Preprocessing, data: FrameDataset) -> None:
    """Raises ValueError if the variables of weights differ from those of a recipe, in name, role or order."""
    trained, stated = _list_names(values), _list_names(data)
    for role, names in trained.items():
        if names != stated[role]:
            raise ValueError(f"the weights have the {role} {names} in this order, the recipe {stated[role]}")


def with_units(recipe: Any, values: Preprocessing | None) -> Any:
    """Returns a recipe whose variables are read in the units of trained weights, whatever unit the files have."""
    units = {v.name: v.unit or None for role in ROLES for v in getattr(values, role, ())}
    if not units:
        return recipe
    roles: dict[str, Any] = {
        role: tuple(dataclasses.replace(v, unit=units.get(v.name, v.unit)) for v in getattr(recipe.data, role))
        for role in ROLES
    }
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **roles))


def _list_names(source: Any) -> dict[str, list[str]]:
    names = {role: [v.name for v in getattr(source, role)] for role in ROLES}
    return {"targets": list(source.targets) or names["variables"], **names}


class TargetScores:
    """Scores of one method for one target, or for all channels together if the channels have no names.

    A named target in mm/h has the usual thresholds of rain if `thresholds` is empty. `value_range` is that of SSIM and
    PSNR. `members` describes the ensemble, if there is one: its members are random, or quantiles at each pixel.
    `metrics` are further ones of :data:`~convrnn_zoo.verify.METRICS`.
    """

    def __init__(
        self,
        target: Encoding,
        channels: slice,
        value_range: tuple[float, float] | None,
        thresholds: Sequence[float],
        horizon: int,
        members: Literal["random", "quantiles"] | None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.name = target.name if isinstance(target, Variable) else ""
        self.unit = "" if target.unit == "1" else target.unit  # of dimensionless values
        if self.name and is_rain(self.unit):
            thresholds = thresholds or RAIN_THRESHOLDS
        self.channels, self.value_range, self.metrics = channels, value_range, metrics
        self.by_frame: list[dict[str, Tensor]] = []
        self.occurrences = {t: Occurrences(t, horizon) for t in thresholds}
        self.probable = ProbabilityScores(thresholds, horizon, members == "quantiles") if members else None

    def add(self, forecast: Tensor, truth: Tensor, members: Tensor) -> None:
        """Adds frames ``(N, T, C, H, W)`` and members ``(M, N, T, C, H, W)``, with the channels of all targets."""
        forecast, truth = forecast[:, :, self.channels], truth[:, :, self.channels]
        self.by_frame.append(frame_scores(forecast, truth, self.value_range, self.metrics))
        for counter in self.occurrences.values():
            counter.add(forecast, truth)
        if self.probable:
            self.probable.add(members[:, :, :, self.channels], truth)

    def scores(self) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        names = self.by_frame[0] if self.by_frame else ()
        scores = {
            **{k: torch.cat([s[k] for s in self.by_frame]).double().nanmean(0).tolist() for k in names},
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
    info = find_metric(metric)
    pairs = zip(scores["forecast"][metric], scores[baseline][metric], strict=True)
    wins = {i: info.rank(a) < info.rank(b) for i, (a, b) in enumerate(pairs, 1) if not math.isnan(a + b)}
    if not wins:
        return "not defined"
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
    as good as the baseline, and below 0 is worse. :data:`~convrnn_zoo.verify.METRICS` has the perfect scores. That of
    the PSNR is infinite: its skill is NaN.

    Example:
        >>> scores = {"forecast": {"CSI 2": [0.6]}, "last frame": {"CSI 2": [0.2]}, "S-PROG": {"CSI 2": [0.5]}}
        >>> name, value = skill(scores, "CSI 2")
        >>> name, round(value, 3)
        ('S-PROG', 0.2)
    """
    ours = scores["forecast"][metric]
    info = find_metric(metric)
    means = {name: average(by[metric], ours).value for name, by in scores.items() if name != "forecast"}
    known = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if not known:
        return "", math.nan
    best = min(known, key=lambda name: info.rank(known[name]))
    mean = average(ours, scores[best][metric]).value
    if math.isinf(info.perfect):
        return best, math.nan
    distances = [info.perfect - value for value in (mean, known[best])]
    ours_left, theirs_left = map(abs, distances) if info.better == "nearest" else distances
    return best, 1 - ours_left / theirs_left if theirs_left else math.nan


def make_metrics(scores: Scores, data: FrameDataset, values: Preprocessing | None = None) -> tuple[Metric, ...]:
    """Returns metrics for the metadata of weights: mean scores of the forecast and of the baselines over lead times.

    Means leave out lead times at which the score of the forecast is undefined; the note states how many remain. If the
    score of a baseline is undefined at more lead times, only the note mentions the baseline. It compares the means over
    the lead times at which both scores are defined. `values` is the preprocessing; it has the units of named targets.
    """
    targets = {v.name: v.unit for v in values.variables} if values else {}

    def metric(name: str, values: list[float]) -> Metric:
        info, mean, unit = find_metric(name), average(values), targets.get(name.partition(" of ")[2], data.unit)
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
            unit=info.unit.format(unit=unit) if unit not in ("", "1") or "{" not in info.unit else "",
            note=f"mean over {over} frames" + (f"; better than {', '.join(notes)}" if notes else ""),
            baselines=baselines,
            summed_over=data.summed_over if info.is_summed and " of " not in name else None,
        )

    return tuple(metric(name, values) for name, values in scores["forecast"].items() if average(values).count)
