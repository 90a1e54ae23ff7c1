"""Forecasts of a complete archive: issue times as tasks, one process, several, or the workers of a Dask scheduler."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ... import _checks as check
from ..._extras import need, progress_bar
from ...data.frames import read_variables
from ...data.readers import Frames, open_files
from ...models import EnsembleForecaster, Forecaster, from_pretrained
from ...models.base.forecasting import choose_horizon, choose_scales, describe_pixels, log_once, trained_pixel_km
from ...models.base.model import evaluating
from ...values.labels.axes import LEAD_TIME, MEMBER, THRESHOLD
from ...values.labels.forecast import OUTSIDE
from ...values.labels.form import is_labelled
from ...values.steps import Step
from ...verify import split_known
from ..files import check_inputs, forecast_with_probabilities
from ..labelled import label_results
from ..options import ForecastOptions, accepts
from .issues import find_issues
from .store import (
    ISSUE,
    MISSING,
    OPEN,
    PROGRESS,
    check_settings,
    choose_batch,
    create_store,
    extend_store,
    open_store,
    remove_partial,
    write_region,
)

SAMPLE = 8
"""Number of finished issue times whose inputs a later run compares with the archive."""


def forecast_archive(
    model: Forecaster | str,
    archive: Any,
    output: str | Path,
    *,
    every: Any = None,
    period: Sequence[Any] = (None, None),
    batch_size: int | None = None,
    jobs: int = 1,
    scheduler: Any = None,
    threads: int | None = None,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Forecasts from many issue times of an archive into one Zarr store.

    The store has the dimensions issue time (``forecast_reference_time``), ``lead_time``, ``realization`` for members,
    ``threshold`` for probabilities, and those of the maps. Valid times are the coordinate `time`. Names, units,
    attributes, the map projection and the mask `outside` of nowcasts are those that ``convrnn-zoo predict`` writes,
    and so are the numbers: the forecast of an issue time does not depend on the others. Lead times of monthly or
    yearly frames count months or years.

    Each task reads the frames of a few issue times, forecasts, and writes a region of the store. Only these are in
    memory. If the store exists, its finished issue times are left as they are: call the function again with the same
    arguments to continue an interrupted run, or to add the issue times of frames that were added to the archive. An
    issue time whose latest frame has no value has no forecast, which is NaN. The variable ``missing_inputs`` counts the
    input frames without a value; if they were added to the archive since, the issue times are forecast again.

    Args:
        model: a forecaster, or the name of its weights as for :func:`~convrnn_zoo.from_pretrained`.
        archive: a Zarr store, a file or a folder of frames, a list of files, or a DataArray or Dataset of xarray. It
            is read as ``convrnn-zoo predict`` reads it.
        output: directory to write, which ends in ``.zarr``. Workers on several machines need a shared disk.
        every: time between issue times, such as ``"30min"``, ``"6h"`` or a timedelta, or a number of frames; by default
            each frame that ends as many frames as the model reads.
        period: first and last issue time, or the beginnings of their dates, such as ``("2020-06", "2020-08")``.
        batch_size: issue times of a task; by default as many as give 64 MiB of forecasts, at most 16.
        jobs: number of processes on this machine.
        scheduler: address of a scheduler of Dask, or a ``distributed.Client``; its workers then run the tasks.
        threads: threads of torch in each process; by default the cores are divided among several `jobs`, and other
            processes keep their number.
        progress: whether to show a progress bar.
        **options: fields of :class:`~convrnn_zoo.predict.ForecastOptions`, such as `horizon`, `inputs`, `members` and
            `thresholds`. All issue times have the same `seed`.

    Returns:
        The store as a Dataset, which is read when it is used.

    Raises:
        ValueError: the archive does not fit the model, no issue time is possible, an option does not fit the model, or
            the store was begun with other settings, or for an archive with other times, places or values.

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
    if batch_size is not None:
        check.positive_int("batch_size", batch_size)
    name = network.metadata.name if network.metadata else model if isinstance(model, str) else _architecture(network)
    with evaluating(network):
        job = plan(network, name, archive, path, ForecastOptions(**options), every, period, batch_size)
        todo = job.find_unfinished()
        if scheduler is None and jobs == 1:
            job.threads = threads
            finished: Iterator[int] = map(job, todo)
        else:
            finished = _run_on_workers(job, todo, jobs, scheduler, threads)
        with progress_bar("tasks", progress, iterable=finished, length=len(todo)) as bar:
            for _ in bar:
                pass
    return need("xarray", "netcdf").open_zarr(path, **OPEN)


def _architecture(model: Forecaster) -> str:
    return str(model.pretrained_cfg.get("architecture", type(model).__name__))


@dataclasses.dataclass
class Job:
    """A run over an archive: what its tasks share. Call it with the number of a region to compute and write it."""

    model: Forecaster
    name: str
    open: Callable[[], Frames]
    path: Path
    options: ForecastOptions
    scales: dict[str, float]
    """Time step and pixel size, for models that read them."""
    issues: Any
    """Numbers of the frames at the issue times."""
    inputs: int
    horizon: int
    step: Step | None
    batch: int = 1
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
            first = region * self.batch
            issues = self.issues[first : first + self.batch]
            windows = self.read(issues)
            labelled = [
                self.label(parts, issue)
                for parts, issue in zip(self.forecast(windows, issues), issues.tolist(), strict=True)
            ]
            missing = [self.count_missing(window) for window in windows]
            write_region(self.path, labelled, first, missing, list(map(find_checksum, windows)))
        finally:
            if self.threads is not None:
                torch.set_num_threads(before)
        return region

    @property
    def ahead(self) -> int:
        """Number of frames after the issue time that are read, for known inputs."""
        return self.horizon if self.model.future_chans else 0

    def read(self, issues: Any) -> list[Tensor]:
        """Reads the frames ``(T, C, H, W)`` of the forecasts from some issue times; each frame is read once."""
        windows = issues[:, None] + numpy.arange(1 - self.inputs, self.ahead + 1)
        numbers = numpy.unique(windows)
        maps: dict[int, Tensor] = {}
        for span in numpy.split(numbers, numpy.flatnonzero(numpy.diff(numbers) > 1) + 1):
            start, stop = int(span[0]), int(span[-1]) + 1
            maps.update(zip(range(start, stop), self.frames.read(start, stop), strict=True))
        return [torch.stack([maps[t] for t in window]) for window in windows.tolist()]

    def find_known(self, window: Tensor) -> Tensor:
        """Returns which channels of the input frames have a value, ``(T, C)``."""
        return window[: self.inputs, : self.frames.observed].isfinite().flatten(2).any(-1)

    def count_missing(self, window: Tensor) -> int:
        """Returns the number of input frames without a value of a variable."""
        return int((~self.find_known(window).all(1)).sum())

    def forecast(self, windows: Sequence[Tensor], issues: Any) -> Iterator[list[Tensor | None]]:
        """Yields forecast, probabilities and mask from each window, those of `blank` if its last frame has no value."""
        known = [self.find_known(window) for window in windows]
        # a model may leave out frames without a value, which its batch then shares
        groups = [[i for i, k in enumerate(known) if k.all()]]
        groups += [[i] for i, k in enumerate(known) if not k.all() and k[-1].any() and k.any(0).all()]
        results: dict[int, list[Tensor | None]] = {}
        for group in filter(None, groups):
            parts = self.run(torch.stack([windows[i] for i in group]), issues[group])
            for j, i in enumerate(group):
                results[i] = [None if part is None else part[j] for part in parts]
        yield from (results.get(i, self.blank) for i in range(len(windows)))

    def run(self, frames: Tensor, issues: Any) -> list[Tensor | None]:
        """Forecasts from frames ``(N, T, C, H, W)``; returns forecast, probabilities and mask, N first."""
        values: Any = self.model.preprocessing
        x, known = split_known(frames, values)
        check_inputs(x[:, : self.inputs].flatten(0, 1), self.frames, values)
        try:
            forecast, probabilities, outside = forecast_with_probabilities(
                self.model, x[:, : self.inputs], self.horizon, self.options, **known, **self.scales
            )
        except ValueError as e:
            times = ", ".join(map(self.describe_issue, issues.tolist()))
            raise ValueError(f"{self.frames.path}: the forecast from {times} failed: {e}") from e
        if self.options.members:
            forecast = forecast.movedim(0, 1)
        if not self.has_channels:
            forecast = None if forecast is None else forecast.squeeze(-3)
            probabilities = None if probabilities is None else probabilities.squeeze(-4)
        return [forecast, probabilities, outside]

    @property
    def has_channels(self) -> bool:
        """True if forecasts have an axis of channels, as those of one sequence of frames ``(T, C, H, W)`` have."""
        return self.model.in_chans > 1 or self.model.out_chans > 1

    @property
    def blank(self) -> list[Tensor | None]:
        """Forecast, probabilities and mask from one issue time whose last frame has no value; None for what is not."""
        members, thresholds, size = self.options.members, self.options.thresholds, self.frames.size
        lead = (self.horizon, *(self.model.out_chans,) * self.has_channels)
        nan, all_members = torch.tensor(torch.nan), (members,) if members else ()
        return [
            None if thresholds and not members else nan.expand(*all_members, *lead, *size),
            nan.expand(*lead, len(thresholds), *size) if thresholds else None,
            torch.tensor(True).expand(self.horizon, *size) if accepts(self.model, "outside") else None,
        ]

    def label(self, parts: Sequence[Tensor | None], issue: int) -> Any:
        """Returns forecast, probabilities and mask of an issue time as a Dataset, as ``predict`` writes it."""
        values: Any = self.model.preprocessing
        forecast, probabilities, outside = parts
        frames = self.frames.between(issue - self.inputs + 1, issue + 1)
        return label_results(
            forecast,
            probabilities,
            frames,
            values,
            self.options.thresholds,
            step=self.step,
            model=self.name,
            members=self.options.members or 0,
            outside=outside,
        )

    def describe_issue(self, issue: int) -> str:
        """Returns the date of an issue time, or the number of its frame."""
        return str(self.frames.dates[issue]) if self.frames.dates else str(issue)

    def describe_issues(self, count: int) -> dict[str, Any]:
        """Returns the number, the first and the last of the first `count` issue times, and a checksum."""
        dates = self.frames.dates
        times = [str(dates[i]) if dates else str(i) for i in self.issues[:count]]
        checksum = hashlib.sha256("\n".join(times).encode()).hexdigest()
        return {"count": len(times), "first": times[0], "last": times[-1], "sha256": checksum}

    def find_unfinished(self) -> list[int]:
        """Returns the numbers of the regions to compute, and marks their issue times as unfinished.

        These are regions that are not finished, and those with missing inputs that are in the archive now.

        Raises:
            ValueError: the inputs of a finished issue time have changed, of which :data:`SAMPLE` are compared.
        """
        (group, _) = open_store(self.path, "r+")
        missing, checksums = group[MISSING][:], group[PROGRESS]["checksums"][:]

        def has_changed(i: int) -> bool:
            return find_checksum(self.read(self.issues[i : i + 1])[0]) != int(checksums[i])

        complete = numpy.flatnonzero(missing == 0)
        sampled = numpy.unique(numpy.linspace(0, max(len(complete) - 1, 0), SAMPLE).astype(int))
        for i in complete[sampled[: len(complete)]].tolist():
            if has_changed(i):
                raise ValueError(
                    f"{self.path} has a forecast from {self.describe_issue(int(self.issues[i]))}, and the archive has "
                    "other values there; pass the same archive, or choose another name"
                )
        again = [i for i in numpy.flatnonzero(missing > 0).tolist() if has_changed(i)]
        regions = sorted({i // self.batch for i in [*again, *numpy.flatnonzero(missing < 0).tolist()]})
        for region in regions:
            group[MISSING][region * self.batch : (region + 1) * self.batch] = -1
        return regions


def find_checksum(frames: Tensor) -> int:
    """Returns a checksum of frames, of which all NaN are equal."""
    return zlib.crc32(frames.masked_fill(frames.isnan(), torch.nan).contiguous().numpy().tobytes())


def plan(
    model: Forecaster,
    name: str,
    archive: Any,
    path: Path,
    options: ForecastOptions,
    every: Any,
    period: Sequence[Any],
    batch_size: int | None,
) -> Job:
    """Opens the archive, chooses issue times and regions, and creates or extends the store."""
    options.check_model(model, name)
    values, read = options.read_options(model, name)
    opener = choose_opener(archive, read)
    frames = opener()
    options.check_used(frames)
    options = options.with_step_of(frames, model)
    horizon = choose_horizon(model, options.horizon, options.minutes or values.step)
    count = options.inputs or model.input_frames or values.inputs or 1
    step = options.minutes or values.step or frames.step
    issues = find_issues(
        frames,
        count,
        step,
        ahead=horizon if model.future_chans else 0,
        every=every,
        period=period,
        fix=options.describe_fix(model),
    )
    scales = choose_scales(model, frames.dataset, options.minutes or values.step, options.pixel_km, str(frames.path))
    pixels = None
    if scales:
        pixels = describe_pixels(model, scales["pixel_km"])
        log_once(logging.WARNING if scales["pixel_km"] is None else logging.INFO, pixels)
        scales["pixel_km"] = scales["pixel_km"] or trained_pixel_km(model)
    job = Job(model, name, opener, path, options, scales, issues, count, horizon, step)
    job.__dict__["frames"] = frames
    template = job.label(job.blank, int(issues[0]))
    job.batch = batch_size or choose_batch(template)
    settings = {
        "model": name,
        "weights": digest(model),
        "coordinates": describe_coordinates(template),
        "issue_times": job.describe_issues(len(issues)),
        "inputs": count,
        "horizon": horizon,
        "thresholds": list(options.thresholds),
        "members": options.members,
        "seed": options.seed or 0,
        "outside": options.outside,
        **scales,
        "pixels": pixels,
        "batch_size": job.batch,
        "read": {**dataclasses.asdict(read), "size": list(frames.size)},
        "unit": "" if values.variables else values.unit,
        "members_are_quantiles": bool(options.members) and not isinstance(model, EnsembleForecaster),
    }
    create = partial(
        create_store,
        template=template,
        frames=frames.dataset,
        issues=issues,
        step=step,
        batch=job.batch,
        settings=settings,
    )
    if not path.exists():
        create(path)
        return job
    _, stored = open_store(path)
    first = job.describe_issues(stored["issue_times"]["count"])  # of the store, to which the archive may add some
    grows = first == stored["issue_times"] and first["count"] < len(issues)
    check_settings(path, stored, {**settings, "issue_times": first if grows else settings["issue_times"]})
    if grows:
        extend_store(path, create)
    remove_partial(path)
    return job


def describe_coordinates(template: Any) -> dict[str, str]:
    """Returns checksums of the coordinates of the maps, by name."""
    others = {ISSUE, "time", LEAD_TIME, MEMBER, THRESHOLD, OUTSIDE}
    return {
        str(n): hashlib.sha256(repr(c.values.tolist()).encode()).hexdigest()
        for n, c in sorted(template.coords.items(), key=str)
        if n not in others
    }


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
            n_workers=jobs,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.ERROR,
        )


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
