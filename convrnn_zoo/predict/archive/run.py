"""Forecasts of a complete archive: issue times as tasks, one process, several, or the workers of a Dask scheduler."""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._extras import need, progress_bar
from ...data.frames import read_variables
from ...data.readers import Frames, open_files
from ...layers import _checks as check
from ...models import Ensemble, EnsembleForecaster, Forecaster, from_pretrained
from ...recipes import find_recipe
from ...values.labels.form import is_labelled
from ...values.steps import Step
from ...verify import split_known
from ..files import (
    check_used,
    choose_read_options,
    choose_scales,
    describe_fix,
    forecast_with_probabilities,
    resolve_preprocessing,
)  # fmt: skip
from ..labelled import to_dataset
from .issues import find_issues
from .store import (
    OPEN,
    choose_batch,
    create_store,
    extend_store,
    finish_region,
    open_store,
    remove_partial,
    write_region,
)
from .tiles import Tile, find_halo, split_map

SAMPLE = 8
"""Number of frames at issue times that a later run compares with those of the store."""


def forecast_archive(
    model: Forecaster | str, archive: Any, output: str | Path, *, every: str | int | None = None,
    period: Sequence[str | None] = (None, None), horizon: int | None = None, inputs: int | None = None,
    members: int | None = None, seed: int | None = None, thresholds: Sequence[float] = (), minutes: float | None = None,
    pixel_km: float | None = None, tile: int | None = None, batch_size: int | None = None, jobs: int = 1,
    scheduler: Any = None, threads: int | None = None, recipe: str | None = None, key: str | None = None,
    coarsen: int | None = None, rain_relation: Sequence[float] | None = None, sel: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Any:  # fmt: skip
    """Forecasts from many issue times of an archive into one Zarr store.

    The store has the dimensions issue time (``forecast_reference_time``), ``lead_time``, ``realization`` for members,
    ``threshold`` for probabilities, and those of the maps. Valid times are the coordinate `time`. Names, units,
    attributes and the map projection are those that ``convrnn-zoo predict`` writes, and so are the numbers: the
    forecast of an issue time does not depend on the others.

    Each task reads the frames of a few issue times, forecasts, and writes a region of the store. Only these are in
    memory. If the store exists, its finished regions are left as they are: call the function again with the same
    arguments to continue an interrupted run, or to add the issue times of frames that were added to the archive. An
    issue time whose latest frame has no value has no forecast, which is NaN. The variable ``missing_inputs`` counts the
    input frames without a value.

    Args:
        model: a forecaster, or the name of its weights as for :func:`~convrnn_zoo.from_pretrained`.
        archive: a Zarr store, a file or a folder of frames, a list of files, or a DataArray or Dataset of xarray. It
            is read as ``convrnn-zoo predict`` reads it.
        output: directory to write, which ends in ``.zarr``. Workers on several machines need a shared disk.
        every: time between issue times, such as ``"30min"`` or ``"6h"``, or a number of frames; by default each frame
            that ends as many frames as the model reads.
        period: first and last issue time, or the beginnings of their dates, such as ``("2020-06", "2020-08")``.
        horizon, inputs, members, seed, thresholds, minutes, pixel_km: as for the ``forecast`` of the model. All issue
            times have the same `seed`, 0 by default.
        tile: edge in pixels of the parts in which large maps are forecast. Each is read with a halo as wide as the
            receptive field, so that its forecast equals that of the complete map.
        batch_size: issue times of a task; by default as many as give 64 MiB of forecasts, at most 16.
        jobs: number of processes on this machine.
        scheduler: address of a scheduler of Dask, or a ``distributed.Client``; its workers then run the tasks.
        threads: threads of torch in each process; by default the cores are divided among several `jobs`, and other
            processes keep their number.
        recipe, key, coarsen, rain_relation: options of that name of ``convrnn-zoo predict``.
        sel: part of dimensions to read, such as ``{"realization": 0}``.
        progress: whether to show a progress bar.

    Returns:
        The store as a Dataset, which is read when it is used.

    Raises:
        ValueError: the archive does not fit the model, no issue time is possible, an option does not fit the model, or
            the store was begun with other settings, or for an archive with other times or values.

    Example:
        >>> import tempfile, convrnn_zoo
        >>> import numpy as np, pandas as pd, xarray as xr
        >>> times = pd.date_range("2020-01-01", periods=36, freq="5min")
        >>> radar = xr.DataArray(np.ones((36, 16, 20)), {"time": times}, ("time", "y", "x"), "rain", {"units": "mm/h"})
        >>> model = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rain = convrnn_zoo.forecast_archive(model, radar, f"{folder}/a.zarr", every="1h")["rain"]
        >>> rain.sizes["forecast_reference_time"], rain.sizes["lead_time"]
        (2, 12)
    """
    network: Any = from_pretrained(model) if isinstance(model, str) else model
    if not isinstance(network, Forecaster):
        raise ValueError(f"{model} is no forecaster; an archive is forecast by one")
    path = Path(output).absolute()  # workers may run in another directory
    if path.suffix != ".zarr":
        raise ValueError(f"{path}: an archive is forecast into a Zarr store; pass a name that ends in .zarr")
    if check.positive_int("jobs", jobs) > 1 and scheduler is not None:
        raise ValueError("jobs counts processes of this machine, and a scheduler has its own; pass one of the two")
    thresholds = thresholds.tolist() if hasattr(thresholds, "tolist") else thresholds
    if not isinstance(thresholds, list | tuple):
        raise TypeError(f"thresholds must be a list of numbers, got {check.describe(thresholds)}")
    thresholds = tuple(check.number(f"thresholds[{i}]", t) for i, t in enumerate(thresholds))
    if sel is not None and not isinstance(sel, Mapping):
        raise TypeError(f"sel must map dimensions to values, such as {{'lat': 50}}, got {check.describe(sel)}")
    job = _plan(
        network, model if isinstance(model, str) else "", archive, path, every=every, period=period,
        horizon=horizon, inputs=inputs, members=members, seed=seed, thresholds=thresholds, minutes=minutes,
        pixel_km=pixel_km, tile=tile, batch_size=batch_size, recipe=recipe, key=key, coarsen=coarsen,
        rain_relation=rain_relation, sel=sel,
    )  # fmt: skip
    todo = (open_store(path)["done"][:] == 0).nonzero()[0].tolist()
    if scheduler is None and jobs == 1:
        job.threads = threads
        finished: Iterator[int] = map(job, todo)
    else:
        finished = _run_on_workers(job, todo, jobs, scheduler, threads)
    with progress_bar("tasks", progress, iterable=finished, length=len(todo)) as bar:
        for _ in bar:
            pass
    if todo:
        remove_partial(path)
    return need("xarray", "netcdf").open_zarr(path, **OPEN)


@dataclasses.dataclass
class Job:
    """A run over an archive: what its tasks share. Call it with the number of a region to compute and write it."""

    model: Forecaster
    open: Callable[[], Frames]
    path: Path
    name: str
    issues: Any
    """Numbers of the frames at the issue times."""
    inputs: int
    horizon: int
    step: Step | None
    batch: int
    tiles: list[Tile]
    thresholds: tuple[float, ...]
    options: dict[str, Any]
    """Arguments of the model's `forecast`."""
    threads: int | None = None

    @cached_property
    def frames(self) -> Frames:
        """The frames of the archive, which each process opens."""
        return self.open()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "frames"}

    def __call__(self, region: int) -> int:
        """Forecasts a region with `threads`, writes it, and returns its number."""
        before = torch.get_num_threads()
        try:
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            self.finish(region)
        finally:
            if self.threads is not None:
                torch.set_num_threads(before)
        return region

    def finish(self, region: int) -> None:
        """Forecasts a region and writes it."""
        first = region * self.batch
        issues = self.issues[first : first + self.batch].tolist()
        maps = self.read(issues, self.tiles[0])
        known = {t: frame[: self.frames.observed].isfinite().flatten(1).any(1) for t, frame in maps.items()}
        for tile in self.tiles[1:]:
            for t in [t for t, channels in known.items() if not channels.all()]:
                frame = self.frames.read(t, t + 1, tile.rows, tile.columns)[0, : self.frames.observed]
                known[t] |= frame.isfinite().flatten(1).any(1)
        for i, tile in enumerate(self.tiles):
            maps = self.read(issues, tile) if i else maps
            by_issue = zip(*(part.unbind(0) for part in self.forecast(maps, issues, known, tile)), strict=True)
            labelled = [self.label(parts, t, tile) for t, parts in zip(issues, by_issue, strict=True)]
            write_region(self.path, labelled, first, place_in_store(self.frames, tile))
        finish_region(self.path, region, first, [sum(not known[t].all() for t in self._window(i)) for i in issues])

    def _window(self, issue: int, ahead: int = 0) -> range:
        return range(issue - self.inputs + 1, issue + 1 + ahead)

    @property
    def ahead(self) -> int:
        """Number of frames after the issue time that are read, for known inputs."""
        return self.horizon if self.model.future_chans else 0

    def read(self, issues: Sequence[int], tile: Tile) -> dict[int, Tensor]:
        """Reads the frames ``(C, H, W)`` of a tile that the forecasts from some issue times read, by their numbers."""
        numbers = sorted({t for issue in issues for t in self._window(issue, self.ahead)})
        starts = [t for i, t in enumerate(numbers) if not i or numbers[i - 1] != t - 1]
        stops = [t + 1 for i, t in enumerate(numbers) if i + 1 == len(numbers) or numbers[i + 1] != t + 1]
        return {
            t: frame
            for start, stop in zip(starts, stops, strict=True)
            for t, frame in enumerate(self.frames.read(start, stop, tile.rows, tile.columns), start)
        }

    def forecast(
        self, maps: dict[int, Tensor], issues: Sequence[int], known: dict[int, Tensor], tile: Tile
    ) -> list[Tensor]:
        """Returns the forecasts of a tile, NaN where there is none; each has a first axis of issue times.

        `known` states for each frame which of its channels have a value anywhere on the map.
        """
        results = [torch.full((len(issues), *shape), torch.nan) for shape in self.shapes(tile)]
        groups: list[list[int]] = [[]]  # a model may leave out frames without a value, which its batch then shares
        for i, issue in enumerate(issues):
            window = [known[t] for t in self._window(issue)]
            if not window[-1].any() or not torch.stack(window).any(0).all():
                continue
            observed = torch.stack([maps[t][: self.frames.observed] for t in self._window(issue)])
            if not observed.isfinite().any():
                continue
            if not observed.isfinite().any(0).flatten(1).any(1).all():  # a variable is unknown in the tile only
                entire = split_map(self.frames.size, None, 0)[0]
                parts = self.forecast(self.read([issue], entire), [issue], known, entire)
                for result, part in zip(results, parts, strict=True):
                    result[i] = part[0][..., *tile.place]
            elif all(channels.all() for channels in window):
                groups[0].append(i)
            else:
                groups.append([i])
        for group in filter(None, groups):
            windows = [torch.stack([maps[t] for t in self._window(issues[i], self.ahead)]) for i in group]
            for result, part in zip(results, self.run(torch.stack(windows), issues, group), strict=True):
                result[group] = tile.crop(part)
        return results

    def run(self, frames: Tensor, issues: Sequence[int], group: Sequence[int]) -> list[Tensor]:
        """Forecasts from frames ``(N, T, C, H, W)``; the result is as that of :meth:`forecast`."""
        values: Any = self.model.preprocessing
        x, known = split_known(frames, values)
        options = {"inputs": "all", **known, **self.options}
        try:
            results = forecast_with_probabilities(
                self.model, x[:, : self.inputs], self.horizon, self.thresholds, **options
            )
        except ValueError as e:
            dates = self.frames.dates
            times = ", ".join(str(dates[issues[i]] if dates else issues[i]) for i in group)
            raise ValueError(f"{self.frames.path}: the forecast from {times} failed: {e}") from e
        has_members, parts = "members" in self.options, [r for r in results if r is not None]
        if has_members:
            parts[0] = parts[0].movedim(0, 1)
        if not self.has_channels:
            parts = [p.squeeze(-3 - (bool(self.thresholds) and p is parts[-1])) for p in parts]
        return parts

    @property
    def has_channels(self) -> bool:
        """True if forecasts have an axis of channels, as those of one sequence of frames ``(T, C, H, W)`` have."""
        return self.model.in_chans > 1 or self.model.out_chans > 1

    def shapes(self, tile: Tile) -> list[tuple[int, ...]]:
        """Returns the shapes of the forecasts from one issue time: of the forecast, if any, and of probabilities."""
        members, size = self.options.get("members"), [s.stop - s.start for s in tile.place]
        channels = (self.model.out_chans,) * self.has_channels
        shapes = (
            [] if self.thresholds and not members else [((members,) if members else ()) + (self.horizon, *channels)]
        )
        shapes += [(self.horizon, *channels, len(self.thresholds))] if self.thresholds else []
        return [(*shape, *size) for shape in shapes]

    def describe(self, issues: Any) -> dict[str, Any]:
        """Returns the number of issue times, the first, the last and a checksum, and one of some of their frames."""
        dates = self.frames.dates
        times = [str(dates[i]) if dates else str(i) for i in issues]
        data = hashlib.sha256()
        for i in sorted({k * (len(issues) - 1) // (SAMPLE - 1) for k in range(SAMPLE)}):
            for tile in self.tiles:
                data.update(self.frames.read(issues[i], issues[i] + 1, tile.rows, tile.columns).numpy().tobytes())
        checksum = hashlib.sha256("\n".join(times).encode()).hexdigest()
        described = {"count": len(times), "first": times[0], "last": times[-1], "sha256": checksum}
        return {"issue_times": described, "data": data.hexdigest()}

    def label(self, parts: Sequence[Tensor], issue: int, tile: Tile) -> Any:
        """Returns the forecasts of a tile from one issue time as a Dataset, as ``convrnn-zoo predict`` writes it."""
        frames = self.frames.between(issue - self.inputs + 1, issue + 1)
        if frames.dataset is not None:
            rows, columns = tile.place
            frames = dataclasses.replace(frames, dataset=frames.dataset.isel(y=rows, x=columns))
        members = self.options.get("members") or 0
        options: Any = {"step": self.step, "model": self.name}
        values: Any = self.model.preprocessing
        kinds = [(0, self.thresholds)] if self.thresholds and not members else [(members, ()), (0, self.thresholds)]
        labelled = [
            to_dataset(part, frames, values, members=count, thresholds=thresholds, **options)
            for part, (count, thresholds) in zip(parts, kinds, strict=False)
        ]
        for other in labelled[1:]:
            labelled[0].update(other)
        return labelled[0]


def place_in_store(frames: Frames, tile: Tile) -> tuple[slice, slice]:
    """Returns the rows and columns of a tile in the store, whose maps have the directions of the archive."""
    turned = () if frames.dataset is None else frames.dataset.encoding.get("turned", ())
    return tuple(
        slice(length - place.stop, length - place.start) if axis in turned else place
        for axis, place, length in zip("yx", tile.place, frames.size, strict=True)
    )  # type: ignore[return-value]


def _plan(
    model: Forecaster, name: str, archive: Any, path: Path, *, every: str | int | None, period: Sequence[str | None],
    horizon: int | None, inputs: int | None, members: int | None, seed: int | None, thresholds: tuple[float, ...],
    minutes: float | None, pixel_km: float | None, tile: int | None, batch_size: int | None, recipe: str | None,
    key: str | None, coarsen: int | None, rain_relation: Sequence[float] | None, sel: Mapping[str, Any] | None,
) -> Job:  # fmt: skip
    """Opens the archive, chooses issue times and regions, and creates the store or compares it with the settings."""
    architecture = model.pretrained_cfg.get("architecture", type(model).__name__)
    name = model.metadata.name if model.metadata else name or str(architecture)
    counts = {"inputs": inputs, "tile": tile, "batch_size": batch_size}
    check_options(model, name, members, seed, thresholds, minutes, pixel_km, **counts)
    settings = find_recipe(model, recipe)
    values = resolve_preprocessing(model, name, recipe, settings)
    read = choose_read_options(model, name, settings, key, pixel_km, minutes, coarsen, sel)
    if rain_relation:
        read = dataclasses.replace(read, rain_relation=tuple(rain_relation))
    opener = choose_opener(archive, read)
    frames = opener()
    check_used(frames, coarsen, rain_relation)
    horizon, count = model.check_horizon(horizon), inputs or model.input_frames or values.inputs or 1
    step = minutes or values.step or frames.step
    issues = find_issues(
        frames,
        count,
        step,
        ahead=horizon if model.future_chans else 0,
        every=every,
        period=period,
        fix=describe_fix(model, minutes),
    )
    options: dict[str, Any] = {"members": members, "seed": seed or 0} if members else {}
    options |= choose_scales(model, frames, frames.path, minutes, pixel_km)
    halo = find_halo(model, count, horizon, bool(members)) if tile else 0
    edge = None if tile is None else -(-tile // model.reduction) * model.reduction
    edge = None if edge is None or max(frames.size) <= edge else edge
    job = Job(
        model.eval(), opener, path, name, issues, count, horizon,
        step, 1, split_map(frames.size, edge, halo), thresholds, options,
    )  # fmt: skip
    job.__dict__["frames"] = frames
    entire = split_map(frames.size, None, 0)[0]
    template = job.label([torch.zeros(()).expand(shape) for shape in job.shapes(entire)], int(issues[0]), entire)
    job.batch = batch_size or choose_batch(template)
    state = {
        "model": job.name, "weights": digest(model), **job.describe(issues),
        "inputs": count, "horizon": horizon, "thresholds": list(thresholds), "options": options, "tile": edge,
        "batch_size": job.batch, "read": {**dataclasses.asdict(read), "size": list(frames.size)},
        "unit": "" if values.variables else values.unit,
        "members_are_quantiles": bool(members) and not isinstance(model, EnsembleForecaster),
    }  # fmt: skip

    create = partial(
        create_store, template=template, frames=frames.dataset, issues=issues, step=job.step, batch=job.batch,
        tile=edge, settings=state,
    )  # fmt: skip
    prepare_store(job, create, state)
    return job


def choose_opener(archive: Any, read: Any) -> Callable[[], Frames]:
    """Returns a function that opens an archive, which is a path, a list of paths, or labelled."""
    if is_labelled(archive):
        reader = partial(read_variables, archive, read)
        return partial(Frames.from_dataset, reader, Path("archive"), len(read.variables) or None)
    parts = archive if isinstance(archive, list | tuple) else [archive]
    if not parts or not all(isinstance(p, str | os.PathLike) for p in parts):
        got = check.describe(archive)
        raise TypeError(
            f"archive must be a path, a list of paths, or a DataArray or Dataset of xarray, got {got}; "
            'label an array: xarray.DataArray(array, {"time": times}, ("time", "y", "x"))'
        )
    return partial(open_files, [Path(p).absolute() for p in parts], read)


def prepare_store(job: Job, create: Callable[[Path], None], settings: Mapping[str, Any]) -> None:
    """Creates the store of a job, or compares its settings, and extends it by the issue times that were added."""
    if not job.path.exists():
        create(job.path)
        return
    stored = json.loads(open_store(job.path).attrs["settings"])["issue_times"]
    first = job.describe(job.issues[: stored["count"]])  # of the store, to which the archive may add some
    open_store(job.path, {**settings, **first} if first["issue_times"] == stored else settings)
    if stored["count"] < len(job.issues):
        extend_store(job.path, create, stored["count"] // job.batch)
    remove_partial(job.path)


def check_options(
    model: Any, name: str, members: int | None, seed: int | None, thresholds: Sequence[float], minutes: float | None,
    pixel_km: float | None, **counts: int | None,
) -> None:  # fmt: skip
    """Raises ValueError for an option that a model does not support, or for a number below 1."""
    for option, count in {"members": members, **counts}.items():
        if count is not None:
            check.positive_int(option, count)
    if members and not isinstance(model, Ensemble):
        raise ValueError(f"members: {name} makes one forecast; omit the option")
    if seed is not None and not members:
        raise ValueError("seed: an option of an ensemble; pass members as well")
    if thresholds and not (members or hasattr(model, "probabilities")):
        raise ValueError(
            f"thresholds: {name} forecasts no probabilities; pass weights of convgru_advection, or members"
        )
    for option, value in (("minutes", minutes), ("pixel_km", pixel_km)):
        if value and option not in inspect.signature(model.forecast).parameters:
            raise ValueError(f"{option}: {name} forecasts at the time step and the pixel size of its training; omit it")


def digest(model: Forecaster) -> str:
    """Returns a checksum of the weights of a model."""
    checksum = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        checksum.update(key.encode())
        checksum.update(tensor.detach().cpu().float().numpy().tobytes())
    return checksum.hexdigest()


# ---- several processes -------------------------------------------------------------------------------------------
def start_workers(jobs: int) -> Any:
    """Starts a Dask cluster of processes on this machine.

    Dask sets MALLOC_TRIM_THRESHOLD_ in its processes, with which glibc returns the memory of each large tensor to the
    system; getting it back doubles the processor time of a forecast.
    """
    options = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    with need("dask.config", "archive").set(options):
        return need("distributed", "archive").LocalCluster(
            n_workers=jobs, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", host="127.0.0.1",
            silence_logs=logging.ERROR,
        )  # fmt: skip


def _run_on_workers(job: Job, regions: Sequence[int], jobs: int, scheduler: Any, threads: int | None) -> Iterator[int]:
    """Yields the number of each region as a worker finishes it.

    The job is the result of a task, so that a scheduler computes it again for workers that replace lost ones.
    """
    distributed = need("distributed", "archive")
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            job.threads = threads or max(1, (os.cpu_count() or 1) // jobs)
            cluster = stack.enter_context(start_workers(jobs))
            client = stack.enter_context(distributed.Client(cluster))
        elif isinstance(scheduler, str):
            client = stack.enter_context(distributed.Client(scheduler))
        else:
            client = scheduler
        job.threads = threads if scheduler is not None else job.threads
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            shared = client.submit(_identity, job, pure=False)
            futures = [client.submit(_run_region, shared, region, pure=False) for region in regions]
        try:
            for future in distributed.as_completed(futures):
                yield future.result()
        finally:
            client.cancel(futures)


def _identity(job: Job) -> Job:
    return job


def _run_region(job: Job, region: int) -> int:
    return job(region)
