"""Scores of the forecasts of an archive by month and lead time."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._extras import need, progress_bar
from ...data.datasets.frame_dataset import RAIN_THRESHOLDS
from ...data.formats.gridded import checked_store
from ...data.readers import Frames, ReadOptions
from ...values.labels.axes import LEAD_TIME, MEMBER, THRESHOLD, axis_coordinate, canonical, find_maps
from ...values.labels.forecast import PROBABILITY
from ...values.labels.form import align
from ...values.labels.times import to_minutes
from ...values.preprocessing import Encoding, Variable
from ...values.steps import TOLERANCE
from ...values.units import is_rain
from ...verify._values import finite
from ...verify.baselines import name_seasons
from ...verify.evaluation import Scores, TargetScores
from ...verify.metrics import BrierScores
from .run import choose_opener
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


class Climatology:
    """Mean of the other frames of the same month, day of the year or time of the day, at each pixel.

    A frame is compared with the mean without itself, that is of other years or days. Frames more than 27 days apart are
    averaged by month, those at least a day apart by day, and others by time of day.

    Args:
        frames: the observations.
        thresholds: values. The frequencies of reaching them are computed as well.
    """

    def __init__(self, frames: Frames, thresholds: Sequence[float]) -> None:
        self.thresholds, self.keys = thresholds, name_seasons(frames.dates, frames.step or 1440.0)
        self.is_defined = min(Counter(self.keys).values()) > 1
        self.sums: dict[str, Tensor] = {}
        for start in range(0, len(frames) if self.is_defined else 0, READ):
            for i, frame in enumerate(frames.read(start, start + READ), start):
                self.sums[self.keys[i]] = self.sums.get(self.keys[i], 0) + self._expand(frame)

    def _expand(self, frame: Tensor) -> Tensor:
        """Returns the number of values at each pixel, the values, and whether they reach each threshold."""
        known = frame.isfinite()
        parts = [known, frame.where(known, 0), *((frame >= t) & known for t in self.thresholds)]
        return torch.stack([part.double() for part in parts])

    def __call__(self, frames: Tensor, numbers: Sequence[int | None]) -> tuple[Tensor, Tensor]:
        """Returns means ``(T, C, H, W)`` and frequencies ``(K, T, C, H, W)`` for frames with these numbers."""
        blank = torch.full((1 + len(self.thresholds), *frames.shape[1:]), torch.nan, dtype=torch.float64)
        means = []
        for frame, i in zip(frames, numbers, strict=True):
            count, *sums = blank if i is None else self.sums[self.keys[i]] - self._expand(frame)
            means.append(blank if i is None else torch.stack(sums) / count)
        result = torch.stack(means, 1).float()
        return result[0], result[1:]


class Pair(NamedTuple):
    """Observation at the valid times of an issue time, with what each method forecasts of it.

    The `truth` ``(T, C, H, W)`` is NaN where the forecast or the last frame is unknown. `members` are
    ``(M, T, C, H, W)`` by method, one for methods that make one forecast; `probabilities` are ``(K, T, C, H, W)``.
    """

    truth: Tensor
    members: dict[str, Tensor]
    probabilities: dict[str, Tensor]


class Target:
    """One forecast variable of a store, with the observations that it is compared with.

    Its maps have the directions of the observations in normal form.
    """

    def __init__(self, data: Any, name: str, archive: Any, settings: Any, has_several: bool) -> None:
        self.data, self.name = data, name
        self.forecast, self.probabilities = data.get(name), data.get(f"{PROBABILITY}{name}")
        like = self.probabilities if self.forecast is None else self.forecast
        self.unit = str(like.attrs.get("units", "")) if self.forecast is not None else settings["unit"]
        self.frames = open_observations(archive, name, self.unit, settings["read"])
        self.flips = find_flips(self.frames, like, self.frames.path)
        self.target = Variable(name=name, unit=self.unit) if has_several else Encoding(unit=self.unit)
        self.thresholds = [] if self.probabilities is None else self.probabilities[THRESHOLD].values.tolist()
        climatology = Climatology(self.frames, self.thresholds)
        self.climatology = climatology if climatology.is_defined else None

    def read(self, issue: int) -> Pair:
        """Reads the forecast from an issue time and the observations."""
        one = self.data.isel({ISSUE: issue})
        numbers = [self._find(t) for t in to_minutes(one["time"].values).tolist()]
        start = self._find(float(to_minutes(one[ISSUE].values.reshape(1))[0]))
        blank = torch.full((self.frames.channels, *self.frames.size), torch.nan)
        last, *truth = (blank if i is None else self.frames.read(i, i + 1)[0] for i in (start, *numbers))
        observed = torch.stack(truth)
        forecasts = (self._values(self.forecast, issue, MEMBER), self._values(self.probabilities, issue, THRESHOLD))
        members = {"last frame": last.expand(1, *observed.shape)}
        reached = [(last >= t).float().expand_as(observed) for t in self.thresholds]
        shares = {"last frame": torch.stack(reached) if reached else torch.empty(0)}
        if self.climatology:
            mean, frequencies = self.climatology(observed, numbers)
            members["climatology"], shares["climatology"] = mean[None], frequencies
        observed = observed.masked_fill(last.isnan(), torch.nan)
        for values in forecasts:
            if values is not None:
                observed = observed.masked_fill(values.isnan().any(0), torch.nan)
        by_method: list[Any] = [
            {} if values is None else {"forecast": values, **others}
            for values, others in zip(forecasts, (members, shares), strict=True)
        ]
        return Pair(observed, *by_method)

    def _find(self, minutes: float) -> int | None:
        """Returns the number of the observed frame at a time, up to the tolerance of steps; None if there is none."""
        times, step = self.frames.minutes, self.frames.step
        end = int(times.searchsorted(minutes))
        near = min((i for i in (end - 1, end) if 0 <= i < len(times)), key=lambda i: abs(float(times[i]) - minutes))
        slack = TOLERANCE * step if isinstance(step, int | float) else 0.0
        return near if abs(float(times[near]) - minutes) <= max(slack, 1e-3) else None

    def _values(self, variable: Any, issue: int, first: str) -> Tensor | None:
        """Returns the values ``(first, T, C, H, W)`` of a variable at an issue time."""
        if variable is None:
            return None
        one = variable.isel({ISSUE: issue})
        order = [d for d in (first, LEAD_TIME) if d in one.dims]
        values = torch.from_numpy(one.transpose(*order, ...).values).flip(self.flips)
        values = values if first in one.dims else values[None]
        return values if values.dim() == 5 else values.unsqueeze(-3)


class TargetPairs:
    """Scores of the pairs of one target, such as those of a month."""

    def __init__(self, target: Target, thresholds: Sequence[float] | None, are_quantiles: bool) -> None:
        self.target, self.are_quantiles = target, are_quantiles
        self.thresholds = choose_thresholds(thresholds, target.unit)
        self.scores: dict[str, TargetScores] = {}
        self.briers: dict[str, BrierScores] = {}

    def add(self, pair: Pair) -> None:
        """Adds the maps of one issue time."""
        truth, horizon = pair.truth, len(pair.truth)
        has_members = self.target.forecast is not None and MEMBER in self.target.forecast.dims
        for method, members in pair.members.items():
            if method not in self.scores:
                kind: Any = None if not has_members else "quantiles" if self.are_quantiles else "random"
                self.scores[method] = TargetScores(
                    self.target.target, slice(None), None, self.thresholds, horizon, kind
                )
            maps = torch.where(truth.isnan(), 0, members)
            self.scores[method].add(maps.mean(0)[None], truth[None], maps[:, None])
        for method, shares in pair.probabilities.items():
            briers = self.briers.setdefault(method, BrierScores(self.target.thresholds, horizon))
            is_share = method == "forecast" and has_members and not self.are_quantiles
            for threshold, probability in zip(self.target.thresholds, shares, strict=True):
                briers.add(threshold, probability[None], truth[None], len(pair.members["forecast"]) if is_share else 0)

    def result(self, method: str) -> dict[str, list[float]]:
        """Returns each score of a method by lead time."""
        name = getattr(self.target.target, "name", "")
        briers = self.briers[method].scores(self.target.unit) if self.briers else {}
        scores = self.scores[method].scores() if self.scores else {}
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
    targets = [Target(data, name, archive, settings, len(names) > 1) for name in names]
    months = data[ISSUE].dt.strftime("%Y-%m").values.tolist()
    scores: dict[str, list[TargetPairs]] = {}
    counts: Counter[str] = Counter()
    issues = data[MISSING].notnull().values.nonzero()[0].tolist()
    with progress_bar("scores", progress, iterable=issues) as bar:
        for i in bar:
            pairs = [target.read(i) for target in targets]
            if not any(pair.truth.isfinite().any() for pair in pairs):
                continue
            for month in (months[i], TOTAL):
                counts[month] += 1
                if month not in scores:
                    quantiles = settings["members_are_quantiles"]
                    scores[month] = [TargetPairs(target, thresholds, quantiles) for target in targets]
                for one, pair in zip(scores[month], pairs, strict=True):
                    one.add(pair)
    if not scores:
        observed = targets[0].frames.path
        raise ValueError(f"{observed} has no frame at a valid time of {path}; pass the frames of the same period")
    order = [*sorted(month for month in scores if month != TOTAL), TOTAL]
    methods = ["forecast", "last frame", *["climatology"] * all(t.climatology is not None for t in targets)]
    by_month = {
        month: {method: {k: v for one in scores[month] for k, v in one.result(method).items()} for method in methods}
        for month in order
    }
    return ArchiveScores(by_month, {month: counts[month] for month in order})


def choose_thresholds(thresholds: Sequence[float] | None, unit: str) -> Sequence[float]:
    """Returns the thresholds of CSI and similar scores: those that are passed, or the usual ones for rain."""
    return (RAIN_THRESHOLDS if is_rain(unit) else ()) if thresholds is None else thresholds


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
    frames = choose_opener(archive, options)()
    if not frames.dates:
        raise ValueError(f"{frames.path} states no dates; pass frames that do")
    return frames


def find_flips(frames: Frames, variable: Any, path: Path) -> list[int]:
    """Returns the axes along which the maps of a variable of the store are reversed with regard to `frames`."""
    if tuple(variable.shape[-2:]) != frames.size:
        raise ValueError(f"{path} has maps {frames.size}, and the forecasts {variable.shape[-2:]}; pass the same grid")
    if frames.dataset is None:
        return []
    maps = variable.isel(dict.fromkeys(variable.dims[:-2], 0))
    maps = maps.drop_vars([n for n, c in maps.coords.items() if not c.ndim])  # the times
    stored, layout = canonical(maps, dict(zip(maps.dims, ("y", "x"), strict=True)), has_time=True)
    align(frames.dataset, stored, str(path), axes=("y", "x"))
    maps_of_places, flips = find_maps(stored), []
    for axis, position in (("y", -2), ("x", -1)):
        has_place = maps_of_places or axis_coordinate(stored, axis) is not None
        turned = (layout if has_place else frames.layout).turned  # else maps are as in the source
        flips += [position] if axis in turned else []
    return flips
