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
from ...verify.evaluation import Scores, TargetScores
from ...verify.metrics import BrierScores
from .run import choose_opener
from .store import ISSUE, MISSING, OPEN, open_store

METHODS = ("forecast", "last frame")
TOTAL = "all months"
"""Name of the scores over all issue times."""


class ArchiveScores(NamedTuple):
    """Scores of the forecasts of an archive.

    `by_month` has the scores of each month of issue times, such as ``"2020-06"``, and those over ``"all months"``. They
    are values at every lead time, by method (``"forecast"`` and ``"last frame"``) and metric.
    """

    by_month: dict[str, Scores]
    issue_times: dict[str, int]
    """Number of scored issue times by month."""

    def to_json(self) -> str:
        """Returns the scores as JSON, with null for values that are not finite."""
        months = {month: {"issue_times": self.issue_times[month], **by} for month, by in self.by_month.items()}
        return json.dumps(finite(months), indent=2, ensure_ascii=False) + "\n"


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

    def read(self, issue: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Reads the last frame ``(C, H, W)``, the truth ``(T, C, H, W)``, members and probabilities at an issue time.

        Members are ``(M, T, C, H, W)``, and probabilities ``(T, C, thresholds, H, W)``. The truth is NaN where any of
        them, or the last frame, is unknown.
        """
        one = self.data.isel({ISSUE: issue})
        valid = [self._find(t) for t in to_minutes(one["time"].values).tolist()]
        start = self._find(float(to_minutes(one[ISSUE].values.reshape(1))[0]))
        blank = torch.full((self.frames.channels, *self.frames.size), torch.nan)
        last, *truth = (blank if i is None else self.frames.read(i, i + 1)[0] for i in (start, *valid))
        observed = torch.stack(truth).masked_fill(last.isnan(), torch.nan)
        members = self._values(self.forecast, issue, MEMBER)
        probabilities = self._values(self.probabilities, issue, THRESHOLD)
        if members is not None:
            observed = observed.masked_fill(members.isnan().any(0), torch.nan)
        if probabilities is not None:
            probabilities = probabilities.movedim(0, -3)
            observed = observed.masked_fill(probabilities.isnan().any(-3), torch.nan)
        return last, observed, members, probabilities

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


class MonthScores:
    """Scores of one target over the issue times of a month."""

    def __init__(self, target: Target, thresholds: Sequence[float], are_quantiles: bool) -> None:
        self.target, horizon = target, target.data.sizes[LEAD_TIME]
        members: Any = "quantiles" if are_quantiles else "random"
        has_members = target.forecast is not None and MEMBER in target.forecast.dims
        stored = [] if target.probabilities is None else target.probabilities[THRESHOLD].values.tolist()
        self.scores: dict[str, TargetScores] = {}
        self.briers = {method: BrierScores(stored, horizon) for method in METHODS}
        self.are_quantiles = are_quantiles
        if target.forecast is not None:
            kind = members if has_members else None
            self.scores = {
                m: TargetScores(target.target, slice(None), None, thresholds, horizon, kind) for m in METHODS
            }

    def add(self, last: Tensor, truth: Tensor, members: Tensor | None, probabilities: Tensor | None) -> None:
        """Adds the maps of one issue time; see :meth:`Target.read`."""
        if members is not None:
            by_method = {"forecast": members, "last frame": last.expand(1, *truth.shape)}
            for method, maps in by_method.items():
                maps = torch.where(truth.isnan(), 0, maps)
                self.scores[method].add(maps.mean(0)[None], truth[None], maps[:, None])
        count = 0 if members is None or self.are_quantiles else len(members)  # of which the probabilities are shares
        if probabilities is not None:
            for i, threshold in enumerate(self.briers["forecast"].sums):
                self.briers["forecast"].add(threshold, probabilities[None, :, :, i], truth[None], count)
                repeated = (last >= threshold).float().expand_as(truth)
                self.briers["last frame"].add(threshold, repeated[None], truth[None])

    def result(self, method: str) -> dict[str, list[float]]:
        """Returns each score of a method by lead time."""
        scores = self.scores[method].scores() if self.scores else {}
        name = getattr(self.target.target, "name", "")
        briers = self.briers[method].scores(self.target.unit)
        return {**{f"{k} of {name}" if name else k: v for k, v in briers.items()}, **scores}


def score_archive(
    forecasts: str | Path, archive: Any, *, thresholds: Sequence[float] | None = None, progress: bool = False
) -> ArchiveScores:
    """Compares the forecasts that :func:`~convrnn_zoo.forecast_archive` wrote with observations.

    Issue times count for the month that they are in. Each is compared with the frames of `archive` at its valid times,
    and so is the last frame, repeated. The scores are those of ``convrnn-zoo eval``: MSE and MAE, for rain CSI, POD,
    FAR and FSS, for members CRPS and Brier scores, for probabilities Brier scores. One issue time is in memory at once.

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
    group = open_store(path)
    settings, finished = json.loads(group.attrs["settings"]), group["done"][:]
    data = need("xarray", "netcdf").open_zarr(checked_store(path), **OPEN)
    if "time" not in data.coords:
        raise ValueError(f"{path} states no dates, and scores by month need them; forecast from dated frames")
    names = list(dict.fromkeys(str(n).removeprefix(PROBABILITY) for n in data.data_vars if n != MISSING))
    targets = [Target(data, name, archive, settings, len(names) > 1) for name in names]
    months: dict[str, list[MonthScores]] = {}
    counts: Counter[str] = Counter()
    issues = [i for i in range(data.sizes[ISSUE]) if finished[i // settings["batch_size"]]]
    with progress_bar("scores", progress, iterable=issues) as bar:
        for i in bar:
            parts = [target.read(i) for target in targets]
            if not any(truth.isfinite().any() for _, truth, *_ in parts):
                continue
            for month in (str(data[ISSUE].values[i])[:7], TOTAL):
                counts[month] += 1
                if month not in months:
                    months[month] = [
                        MonthScores(
                            target, choose_thresholds(thresholds, target.unit), settings["members_are_quantiles"]
                        )
                        for target in targets
                    ]
                for scores, part in zip(months[month], parts, strict=True):
                    scores.add(*part)
    if not months:
        observed = targets[0].frames.path
        raise ValueError(f"{observed} has no frame at a valid time of {path}; pass the frames of the same period")
    order = [*sorted(month for month in months if month != TOTAL), TOTAL]
    by_month = {
        month: {method: {k: v for one in months[month] for k, v in one.result(method).items()} for method in METHODS}
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
        variable=name, variable_optional=True, unit=unit, dims=read["dims"], sel=read["sel"], step=read["step"],
        fill_value=stored[name][2] if name in stored else read["fill_value"], coarsen=read["coarsen"],
        rain_relation=tuple(read["rain_relation"]), channels=read["channels"],
    )  # fmt: skip
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
    stored = canonical(maps, dict(zip(maps.dims, ("y", "x"), strict=True)), has_time=True)
    align(frames.dataset, stored, str(path), axes=("y", "x"))
    maps_of_places, flips = find_maps(stored), []
    for axis, position in (("y", -2), ("x", -1)):
        has_place = maps_of_places or axis_coordinate(stored, axis) is not None
        turned = (stored if has_place else frames.dataset).encoding["turned"]  # else maps are as in the source
        flips += [position] if axis in turned else []
    return flips
