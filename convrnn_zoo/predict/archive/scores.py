"""Scores of the forecasts of an archive by month and lead time."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from ..._extras import need, progress_bar
from ...data import Frames, ReadOptions
from ...data.datasets.frame_dataset import RAIN_THRESHOLDS
from ...data.untrusted import checked_store
from ...values.labels.axes import LEAD_TIME, MEMBER, THRESHOLD, axis_coordinate, canonical, find_maps
from ...values.labels.forecast import PROBABILITY
from ...values.labels.form import align
from ...values.labels.times import to_minutes
from ...values.preprocessing import Encoding, Variable
from ...values.steps import TOLERANCE
from ...values.units import is_rain
from ...verify import Scores, finite
from ...verify.baselines import name_seasons
from ...verify.evaluation import TargetScores
from ...verify.metrics import BrierScores
from ..run import open_source
from .store import ISSUE, MISSING, OPEN, open_store

TOTAL = "all months"
"""Name of the scores over all issue times."""
READ = 64
"""Number of frames that the climatology reads at once."""


class ArchiveScores(NamedTuple):
    """Scores of the forecasts of an archive.

    `by_month` has the scores of each month of issue times, such as ``"2020-06"``, and those over ``"all months"``. They
    are values at every lead time, by method (``"forecast"``, ``"last frame"`` and, if it is defined,
    ``"climatology"``) and metric.
    """

    by_month: dict[str, Scores]
    issue_times: dict[str, int]
    """Number of scored issue times by month."""

    def to_json(self) -> str:
        """Returns the scores as JSON, with null for values that are not finite."""
        months = {month: {"issue_times": self.issue_times[month], **by} for month, by in self.by_month.items()}
        return json.dumps(finite(months), indent=2, ensure_ascii=False) + "\n"


class OtherYears:
    """Climatology: mean of the other frames of the same month, day of the year or time of the day, at each pixel.

    A frame is compared with the mean without itself, that is of other years or days. Frames more than 27 days apart are
    averaged by month, those at least a day apart by day, and others by time of day. The frequencies of reaching
    `thresholds` are computed as well.
    """

    def __init__(self, frames: Frames, thresholds: Sequence[float]) -> None:
        self.thresholds, self.keys = thresholds, name_seasons(frames.dates, frames.step or 1440.0)
        self.is_defined = min(Counter(self.keys).values()) > 1
        self.sums: dict[str, Tensor] = {}
        for start in range(0, len(frames) if self.is_defined else 0, READ):
            for key, frame in zip(self.keys[start:], frames.read(start, start + READ), strict=False):
                self.sums[key] = self.sums.get(key, 0) + self._expand(frame)

    def _expand(self, frame: Tensor) -> Tensor:
        """Returns the number of values at each pixel, the values, and whether they reach each threshold."""
        known = frame.isfinite()
        parts = [known, frame.where(known, 0), *((frame >= t) & known for t in self.thresholds)]
        return torch.stack([part.double() for part in parts])

    def __call__(self, frames: Tensor, numbers: Sequence[int]) -> Tensor:
        """Returns the mean and the frequencies ``(1 + K, T, C, H, W)`` for frames of the observations."""
        means = torch.full((1 + len(self.thresholds), *frames.shape), torch.nan)
        for t, number in enumerate(numbers):
            if number >= 0:
                count, *sums = self.sums[self.keys[number]] - self._expand(frames[t])
                means[:, t] = torch.stack(sums) / count
        return means


Pair = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
"""Observation at the valid times of an issue time, with what each method forecasts of it.

The truth ``(T, C, H, W)`` is NaN where the forecast or the last frame is unknown. Members are ``(M, T, C, H, W)`` by
method, one for methods that make one forecast; probabilities are ``(K, T, C, H, W)``.
"""


class Target:
    """One forecast variable of a store, the observations that it is compared with, and its scores.

    Its maps have the directions of the observations in normal form. `thresholds` are those of CSI and similar scores.
    """

    def __init__(
        self, data: Any, name: str, archive: Any, settings: Any, thresholds: Sequence[float] | None, is_only: bool
    ) -> None:
        self.data, self.forecast, self.probabilities = data, data.get(name), data.get(f"{PROBABILITY}{name}")
        like = self.probabilities if self.forecast is None else self.forecast
        unit = str(like.attrs.get("units", "")) if self.forecast is not None else settings["unit"]
        self.frames = open_observations(archive, name, unit, settings["read"])
        self.flips = find_flips(self.frames, like)
        self.target = Encoding(unit=unit) if is_only else Variable(name=name, unit=unit)
        self.levels = [] if self.probabilities is None else self.probabilities[THRESHOLD].values.tolist()
        self.climatology = OtherYears(self.frames, self.levels)
        self.thresholds = (RAIN_THRESHOLDS if is_rain(unit) else ()) if thresholds is None else thresholds
        self.are_quantiles = settings["members_are_quantiles"]
        self.has_members = self.forecast is not None and MEMBER in self.forecast.dims
        self.scores: dict[tuple[str, str], TargetScores] = {}
        self.briers: dict[tuple[str, str], BrierScores] = {}

    def read(self, issue: int) -> Pair:
        """Reads the forecast from an issue time and the observations, which may be off by the tolerance of steps."""
        one, step = self.data.isel({ISSUE: issue}), self.frames.step
        observed = need("pandas", "archive").Index(self.frames.minutes)
        slack = max(TOLERANCE * step, 1e-3) if isinstance(step, int | float) else 1e-3
        minutes = to_minutes(numpy.append(one[ISSUE].values, one["time"].values))
        numbers = observed.get_indexer(minutes, method="nearest", tolerance=slack).tolist()
        blank = torch.full((self.frames.channels, *self.frames.size), torch.nan)
        last, *maps = (blank if i < 0 else self.frames.read(i, i + 1)[0] for i in numbers)
        truth = torch.stack(maps)
        others = {"last frame": torch.stack([last, *((last >= t).float() for t in self.levels)])}
        others = {name: x[:, None].expand(-1, *truth.shape) for name, x in others.items()}
        if self.climatology.is_defined:
            others["climatology"] = self.climatology(truth, numbers[1:])
        truth = truth.masked_fill(last.isnan(), torch.nan)
        members, probabilities = {}, {}
        if self.forecast is not None:
            members = {"forecast": self._values(self.forecast, issue, MEMBER)}
            members |= {name: x[:1] for name, x in others.items()}
        if self.probabilities is not None:
            probabilities = {"forecast": self._values(self.probabilities, issue, THRESHOLD)}
            probabilities |= {name: x[1:] for name, x in others.items()}
        for forecasts in filter(None, (members, probabilities)):
            truth = truth.masked_fill(forecasts["forecast"].isnan().any(0), torch.nan)
        return truth, members, probabilities

    def _values(self, variable: Any, issue: int, first: str) -> Tensor:
        """Returns the values ``(first, T, C, H, W)`` of a variable at an issue time."""
        one = variable.isel({ISSUE: issue})
        one = one if first in one.dims else one.expand_dims(first)
        values = torch.from_numpy(one.transpose(first, LEAD_TIME, ...).values).flip(self.flips)
        return values if values.dim() == 5 else values.unsqueeze(-3)

    def add(self, month: str, pair: Pair) -> None:
        """Adds the maps of one issue time to the scores of a month."""
        truth, forecasts, probabilities = pair
        horizon = len(truth)
        kind: Any = None if not self.has_members else "quantiles" if self.are_quantiles else "random"
        for method, members in forecasts.items():
            if (month, method) not in self.scores:
                settings: Any = (self.target, slice(None), None, self.thresholds, horizon, kind)
                self.scores[month, method] = TargetScores(*settings)
            maps = torch.where(truth.isnan(), 0, members)
            self.scores[month, method].add(maps.mean(0)[None], truth[None], maps[:, None])
        for method, shares in probabilities.items():
            briers = self.briers.setdefault((month, method), BrierScores(self.levels, horizon))
            count = len(forecasts["forecast"]) if method == "forecast" and kind == "random" else 0
            for threshold, probability in zip(self.levels, shares, strict=True):
                briers.add(threshold, probability[None], truth[None], count)

    def result(self, month: str, method: str) -> dict[str, list[float]]:
        """Returns each score of a method in a month by lead time."""
        name, key = getattr(self.target, "name", ""), (month, method)
        briers = self.briers[key].scores(self.target.unit) if self.briers else {}
        scores = self.scores[key].scores() if self.scores else {}
        return {**{f"{k} of {name}" if name else k: v for k, v in briers.items()}, **scores}


def score_archive(
    forecasts: str | Path, archive: Any, *, thresholds: Sequence[float] | None = None, progress: bool = False
) -> ArchiveScores:
    """Compares the forecasts that :func:`~convrnn_zoo.forecast_archive` wrote with observations.

    Issue times count for the month that they are in. Each is compared with the frames of `archive` at its valid times,
    and so are two baselines: the last frame, repeated, and the climatology, which is the mean of the other frames of
    `archive` of the same month, day of the year or time of the day, if each occurs twice. The scores are those of
    ``convrnn-zoo eval``: MSE and MAE, for rain CSI, POD, FAR and FSS, for members CRPS and Brier scores, for
    probabilities Brier scores. One issue time is in memory at once.

    Args:
        forecasts: the store. Issue times that are not finished yet, or that have no forecast, are left out.
        archive: frames on the grid of the forecasts, such as those that were forecast from: a file, a folder, a list of
            files, or a DataArray or Dataset of xarray. They are read with the options of the forecasts.
        thresholds: values for CSI and similar scores; by default the usual ones for rain, and none for other data.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the store is no store of forecasts or states no dates, or the archive has another grid or no frame
            at a valid time.
    """
    path = Path(forecasts)
    _, settings = open_store(path)
    data = need("xarray", "netcdf").open_zarr(checked_store(path), **OPEN)
    if "time" not in data.coords:
        raise ValueError(f"{path} states no dates, and scores by month need them; forecast from dated frames")
    names = list(dict.fromkeys(str(n).removeprefix(PROBABILITY) for n in data.data_vars if n != MISSING))
    targets = [Target(data, name, archive, settings, thresholds, len(names) == 1) for name in names]
    months = data[ISSUE].dt.strftime("%Y-%m").values.tolist()
    counts: Counter[str] = Counter()
    with progress_bar("scores", progress, iterable=data[MISSING].notnull().values.nonzero()[0].tolist()) as bar:
        for i in bar:
            pairs = [target.read(i) for target in targets]
            for month in (months[i], TOTAL) if any(truth.isfinite().any() for truth, *_ in pairs) else ():
                counts[month] += 1
                for target, pair in zip(targets, pairs, strict=True):
                    target.add(month, pair)
    if not counts:
        observed = targets[0].frames.path
        raise ValueError(f"{observed} has no frame at a valid time of {path}; pass the frames of the same period")
    months = [*sorted(counts.keys() - {TOTAL}), TOTAL]
    methods = ["forecast", "last frame", *["climatology"] * all(t.climatology.is_defined for t in targets)]
    by_month = {
        month: {method: {k: v for one in targets for k, v in one.result(month, method).items()} for method in methods}
        for month in months
    }
    return ArchiveScores(by_month, {month: counts[month] for month in months})


def open_observations(archive: Any, name: str, unit: str, read: Any) -> Frames:
    """Opens the observations of a variable with the options `read` of the forecasts."""
    stored = {v[0]: v for v in read["variables"]}
    options = ReadOptions(
        variable=name,
        variable_optional=True,
        unit=unit,
        dims=read["dims"],
        sel=read["sel"],
        step=read["step"],
        fill_value=stored[name][2] if name in stored else read["fill_value"],
        coarsen=read["coarsen"],
        rain_relation=tuple(read["rain_relation"]),
        channels=read["channels"],
    )
    frames = open_source(archive, options)
    if not frames.dates:
        raise ValueError(f"{frames.path} states no dates; pass frames that do")
    return frames


def find_flips(frames: Frames, variable: Any) -> list[int]:
    """Returns the axes along which the maps of a variable of the store are reversed with regard to `frames`."""
    path, labels = frames.path, frames.dataset
    if tuple(variable.shape[-2:]) != frames.size:
        raise ValueError(f"{path} has maps {frames.size}, and the forecasts {variable.shape[-2:]}; pass the same grid")
    if labels is None:
        return []
    maps = variable.isel(dict.fromkeys(variable.dims[:-2], 0))
    maps = maps.drop_vars([n for n, c in maps.coords.items() if not c.ndim])  # the times
    stored, layout = canonical(maps, dict(zip(maps.dims, ("y", "x"), strict=True)), has_time=True)
    align(labels, stored, str(path), axes=("y", "x"))
    maps_of_places, axes = find_maps(stored), {"y": -2, "x": -1}
    has_place = {axis: maps_of_places or axis_coordinate(stored, axis) is not None for axis in axes}
    # without a place, maps are as in the source
    return [n for axis, n in axes.items() if axis in (layout if has_place[axis] else frames.layout).turned]
