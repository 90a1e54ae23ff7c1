"""Scores of the forecasts of an archive by month and lead time."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
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
from ...verify.baselines import count_values, name_seasons, sum_seasons
from ...verify.evaluation import TargetScores
from ..run import open_source
from .store import ISSUE, MISSING, OPEN, open_store

TOTAL = "all months"
"""Name of the scores over all issue times."""


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


class Target:
    """One forecast variable of a store, the observations that it is compared with, and its scores.

    Its maps have the directions of the observations in normal form. `thresholds` are those of CSI and similar scores.
    """

    def __init__(
        self, data: Any, name: str, archive: Any, settings: Any, thresholds: Sequence[float] | None, is_only: bool
    ) -> None:
        self.variables = {MEMBER: data.get(name), THRESHOLD: data.get(f"{PROBABILITY}{name}")}
        forecast, probabilities = self.variables.values()
        unit = settings["unit"] if forecast is None else str(forecast.attrs.get("units", ""))
        self.frames = frames = open_observations(archive, name, unit, settings["read"])
        self.flips = find_flips(frames, probabilities if forecast is None else forecast)
        self.levels = [] if probabilities is None else probabilities[THRESHOLD].values.tolist()
        self.keys, step = name_seasons(frames.dates, frames.step or 1440.0), frames.step
        self.sums = sum_seasons([frames], step or 1440.0, self.levels) if min(Counter(self.keys).values()) > 1 else {}
        slack = max(TOLERANCE * step, 1e-3) if isinstance(step, int | float) else 1e-3
        times = numpy.column_stack([data[ISSUE].values, data["time"].values])
        observed = need("pandas", "archive").Index(frames.minutes)
        numbers = observed.get_indexer(to_minutes(times.ravel()), method="nearest", tolerance=slack)
        self.numbers = numbers.reshape(times.shape).tolist()
        chosen = (RAIN_THRESHOLDS if is_rain(unit) else ()) if thresholds is None else thresholds
        kind = "quantiles" if settings["members_are_quantiles"] else "random"
        create = partial(
            TargetScores,
            Encoding(unit=unit) if is_only else Variable(name=name, unit=unit),
            slice(None),
            None,
            chosen,
            data.sizes[LEAD_TIME],
            kind if forecast is not None and MEMBER in forecast.dims else None,  # type: ignore[arg-type]
            levels=self.levels,
        )
        self.scores: dict[tuple[str, str], TargetScores] = defaultdict(create)

    def add(self, issue: int, months: Sequence[str]) -> bool:
        """Adds an issue time to the scores of some months, and returns whether there are observations.

        Each method has members ``(M, T, C, H, W)`` and probabilities ``(K, T, C, H, W)``, of which a store may have
        none. Pixels that are unknown in the last frame or in the forecast are not scored.
        """
        blank = torch.full((self.frames.channels, *self.frames.size), torch.nan)
        last, *maps = (blank if i < 0 else self.frames.read(i, i + 1)[0] for i in self.numbers[issue])
        truth = torch.stack(maps)
        others = {"last frame": torch.stack([last, *((last >= t).float() for t in self.levels)])[:, None]}
        if self.sums:
            others["climatology"] = self.average_others(truth, self.numbers[issue][1:])
        forecast = [read_maps(v, dim, issue, truth).flip(self.flips) for dim, v in self.variables.items()]
        methods = {"forecast": forecast}
        for name, x in others.items():
            x = x.expand(-1, *truth.shape)
            methods[name] = [x[:1] if len(forecast[0]) else x[:0], x[1:]]
        truth = truth.masked_fill(torch.cat([last.expand(1, *truth.shape), *forecast]).isnan().any(0), torch.nan)
        for month in months:
            for name, (members, probabilities) in methods.items():
                known = torch.where(truth.isnan(), 0, members)
                self.scores[month, name].add(known.mean(0)[None], truth[None], known[:, None], probabilities[:, None])
        return bool(truth.isfinite().any())

    def average_others(self, frames: Tensor, numbers: Sequence[int]) -> Tensor:
        """Returns the means of the other frames of the season, and how often they reach the levels.

        `frames` have these `numbers`, -1 if they do not exist. A frame is thus compared with other years or days.
        """
        means = torch.full((1 + len(self.levels), *frames.shape), torch.nan)
        for t, i in enumerate(numbers):
            if i >= 0:
                count, *sums = self.sums[self.keys[i]] - count_values(frames[t], self.levels)
                means[:, t] = torch.stack(sums) / count
        return means


def read_maps(variable: Any, dim: str, issue: int, like: Tensor) -> Tensor:
    """Returns the values ``(dim, T, C, H, W)`` of a variable at an issue time; none of the shape of `like` for None."""
    if variable is None:
        return like.new_empty(0, *like.shape)
    one = variable.isel({ISSUE: issue})
    one = one if dim in one.dims else one.expand_dims(dim)
    return torch.from_numpy(one.transpose(dim, LEAD_TIME, ...).values).reshape(-1, *like.shape)


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
            if max([target.add(i, (months[i], TOTAL)) for target in targets]):
                counts.update((months[i], TOTAL))
    if not counts:
        raise ValueError(f"{targets[0].frames.path} has no frame at a valid time of {path}; pass frames of that period")
    methods = ["forecast", "last frame", *["climatology"] * all(t.sums for t in targets)]
    by_month = {
        month: {
            method: {k: v for t in targets for k, v in t.scores[month, method].scores().items()} for method in methods
        }
        for month in [*sorted(counts.keys() - {TOTAL}), TOTAL]
    }
    return ArchiveScores(by_month, {month: counts[month] for month in by_month})


def open_observations(archive: Any, name: str, unit: str, read: Any) -> Frames:
    """Opens the observations of a variable with the options `read` of the forecasts."""
    fills = {v["name"]: v["fill_value"] for v in read["variables"]}
    same: Any = {key: read[key] for key in ("dims", "sel", "step", "coarsen", "rain_relation", "channels")}
    fill_value = fills.get(name, read["fill_value"])
    options = ReadOptions(variable=name, variable_optional=True, unit=unit, fill_value=fill_value, **same)
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
