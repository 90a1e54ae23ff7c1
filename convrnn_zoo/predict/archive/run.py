"""Forecasts of a complete archive: issue times as tasks, one process, several, or the workers of a Dask scheduler."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import secrets
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import InitVar, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ... import _checks as check
from ..._extras import need, progress_bar
from ..._stores import Place, Store, find_place, open_zarr_store
from ...models import Forecaster, from_pretrained
from ...models.base.model import evaluating
from ...values.labels.axes import LEAD_TIME, MEMBER, THRESHOLD
from ...values.labels.forecast import OUTSIDE
from ..options import ForecastOptions, accepts
from ..run import ForecastRun, Result
from . import store
from .issues import find_issues
from .store import ISSUE, MISSING, OPEN, PROGRESS, RUN

logger = logging.getLogger("convrnn_zoo")
SAMPLE = 8
"""Number of finished issue times whose inputs a later run compares with the archive."""


def forecast_archive(
    model: Forecaster | str,
    archive: Any,
    output: Any,
    *,
    storage_options: Mapping[str, Any] | None = None,
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
        archive: a Zarr store, its address or its object of zarr, a file or a folder of frames, a list of files, or a
            DataArray or Dataset of xarray. It is read as ``convrnn-zoo predict`` reads it.
        output: directory to write, which ends in ``.zarr``; an address, such as ``"s3://bucket/forecasts.zarr"``; or a
            store of zarr. Workers on several machines share nothing but this store and the archive.
        storage_options: options of fsspec for the addresses of `archive` and `output`, as in xarray.
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
    name = model if isinstance(model, str) else type(model).__name__
    if not isinstance(network, Forecaster):
        raise ValueError(f"{name} is no forecaster; an archive is forecast by one")
    place = find_absolute(output, storage_options)
    if place.suffix != ".zarr":
        raise ValueError(f"{place}: an archive is forecast into a Zarr store; pass a name that ends in .zarr")
    if check.positive_int("jobs", jobs) > 1 and scheduler is not None:
        raise ValueError("jobs counts processes of this machine, and a scheduler has its own; pass one of the two")
    if batch_size is not None:
        check.positive_int("batch_size", batch_size)
    parts = archive if isinstance(archive, list | tuple) else [archive]
    if all(isinstance(p, str | os.PathLike) for p in parts):
        archive = [find_absolute(p, storage_options) for p in parts]
    name = str(network.pretrained_cfg.get("architecture", name))
    threads = max(1, (os.cpu_count() or 1) // jobs) if threads is None and jobs > 1 else threads
    with evaluating(network):
        run = ArchiveRun(network, name, archive, ForecastOptions(**options), place, threads, every, period, batch_size)
        run.prepare_store()
        regions = run.mark_unfinished()
        is_local = scheduler is None and jobs == 1
        tasks = map(run.forecast_region, regions) if is_local else _run_on_workers(run, regions, jobs, scheduler)
        with progress_bar("tasks", progress, iterable=tasks, length=len(regions)) as bar:
            for _ in bar:  # each step forecasts a region
                pass
        run.finish()
    return need("xarray", "netcdf").open_zarr(open_zarr_store(place), **OPEN)


def find_absolute(source: Any, options: Mapping[str, Any] | None = None) -> Place:
    """Returns the place of a source or an output for workers, which may run in another directory."""
    place = find_place(source)
    return find_place(source, options) if isinstance(place, Store) else place.absolute()


@dataclass(eq=False)
class ArchiveRun(ForecastRun):
    """A run over an archive, which its tasks share. A region of the store has `batch` of the frames at `issues`."""

    place: Place
    threads: int | None
    every: InitVar[Any]
    period: InitVar[Sequence[Any]]
    batch_size: InitVar[int | None]

    def __post_init__(self, every: Any, period: Sequence[Any], batch_size: int | None) -> None:
        super().__post_init__()
        self.inputs = self.expected_inputs or 1  # frames that a forecast reads up to its issue time
        self.step = self.expected_step or self.frames.step
        self.ahead = self.horizon if self.model.future_chans else 0  # frames after the issue time, for known inputs
        fix = self.options.describe_fix(self.model)
        self.issues = find_issues(
            self.frames, self.inputs, self.step, ahead=self.ahead, every=every, period=period, fix=fix
        )
        if self.pixels:
            logger.log(logging.INFO if self.is_sized else logging.WARNING, self.pixels)
        self.batch = batch_size or store.choose_batch(self.template)

    @property
    def template(self) -> Any:
        """Labelled forecast from the first issue time, without values."""
        return self.label_issue(self.blank, int(self.issues[0]))

    def prepare_store(self) -> None:
        """Creates the store; or checks the settings of an existing one, and adds the new issue times of the archive.

        This run may then write regions, and no earlier one. A run with other settings stops none.
        """
        from ..._requests import publish  # imports zarr

        template, exists = self.template, store.exists(self.place)
        settings, self.number = self.describe(template), secrets.randbits(63)
        grows = exists and self.check_store(settings)
        if exists:
            store.open_store(self.place, "r+")[0][RUN][0] = self.number
        if grows or not exists:
            frames, issues = self.frames.dataset, self.issues
            content = store.make_content(template, frames, issues, self.step, self.batch, settings, self.number)
            publish(content, open_zarr_store(self.place, read_only=False))
            self.check_store(settings)  # which another run may have created at the same time
        for file in self.place.rglob("*.partial") if isinstance(self.place, Path) else ():
            file.unlink(missing_ok=True)  # Zarr leaves them if a process is killed while it writes

    def check_store(self, settings: Mapping[str, Any]) -> bool:
        """Returns whether the archive adds issue times to the store; raises ValueError if it has other settings."""
        stored = store.open_store(self.place)[1]
        first = self.describe_issues(stored["issue_times"]["count"])  # of the store, to which the archive may add some
        grows = first == stored["issue_times"] and first["count"] < len(self.issues)
        now = json.loads(json.dumps({**settings, "issue_times": first} if grows else settings))
        for key in {**now, **stored}:
            if (before := stored.get(key)) != (after := now.get(key)):
                raise ValueError(
                    f"{self.place} was begun with {key} = {before!r:.90}, and is {after!r:.90} now; pass the same "
                    "settings and archive, limit its issue times with period (--period), or choose another name"
                )
        return bool(grows)

    @cached_property
    def group(self) -> Any:
        """The Zarr group of the store, which each process opens."""
        return store.open_store(self.place, "r+")[0]

    def check_run(self) -> None:
        """Raises RuntimeError if a later run writes the store now."""
        if self.group[RUN][0] != self.number:
            raise RuntimeError(f"{self.place}: another run has begun to write it, and goes on in place of this one")

    def finish(self) -> None:
        """Leaves the store to any later run."""
        self.check_run()
        self.group[RUN][0] = 0

    def describe(self, template: Any) -> dict[str, Any]:
        """Returns the settings that determine a store, of which `template` is the forecast from one issue time."""
        weights = hashlib.sha256()
        for key, tensor in self.model.state_dict().items():
            weights.update(key.encode() + tensor.detach().cpu().float().numpy().tobytes())
        others = {ISSUE, "time", LEAD_TIME, MEMBER, THRESHOLD, OUTSIDE}
        places = {f"values of {n}": repr(c.values.tolist()) for n, c in template.coords.items() if n not in others}
        return {
            "model": self.weights,
            "weights": weights.hexdigest(),
            **{n: hashlib.sha256(text.encode()).hexdigest() for n, text in places.items()},
            "issue_times": self.describe_issues(len(self.issues)),
            "inputs": self.inputs,
            "horizon": self.horizon,
            "thresholds": list(self.options.thresholds),
            "members": self.options.members,
            "seed": self.options.seed or 0,
            "outside": self.options.outside,
            **self.scales,
            "pixels": self.pixels or None,
            "batch_size": self.batch,
            "read": {**dataclasses.asdict(self.read_options), "size": list(self.frames.size)},
            "unit": "" if self.values.variables else self.values.unit,
            "members_are_quantiles": bool(self.members) and self.are_quantiles,
        }

    def describe_issues(self, count: int) -> dict[str, Any]:
        """Returns the number, the first and the last of the first `count` issue times, and a checksum."""
        times = self.name_issues(self.issues[:count])
        checksum = hashlib.sha256("\n".join(times).encode()).hexdigest()
        return {"count": len(times), "first": times[0], "last": times[-1], "sha256": checksum}

    def name_issues(self, issues: Any) -> list[str]:
        """Returns the dates of issue times, or the numbers of their frames."""
        dates = self.frames.dates
        return [str(dates[i]) if dates else str(i) for i in issues.tolist()]

    @property
    def blank(self) -> Result:
        """Result for an issue time whose last frame has no value."""
        members, thresholds, size = self.options.members, self.options.thresholds, self.frames.size
        lead = (self.horizon, *(self.model.out_chans,) * self.has_channels)
        nan, all_members = torch.tensor(torch.nan), (members,) if members else ()
        return Result(
            None if thresholds and not members else nan.expand(*all_members, *lead, *size),
            nan.expand(*lead, len(thresholds), *size) if thresholds else None,
            torch.tensor(True).expand(self.horizon, *size) if accepts(self.model, "outside") else None,
        )

    def forecast_region(self, region: int) -> None:
        """Forecasts the issue times of a region with `threads`, and writes them."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            first = region * self.batch
            issues = self.issues[first : first + self.batch]
            windows = self.read(issues)
            known = list(map(self.find_known, windows))
            forecasts = self.forecast_issues(windows, known, issues)
            missing = [int((~k.all(1)).sum()) for k in known]
            self.check_run()
            store.write_region(self.group, forecasts, first, missing, list(map(find_checksum, windows)))
        finally:
            torch.set_num_threads(before)

    def read(self, issues: Any) -> list[Tensor]:
        """Reads the frames ``(T, C, H, W)`` of the forecasts from some issue times; each frame is read once."""
        windows = issues[:, None] + numpy.arange(1 - self.inputs, self.ahead + 1)
        numbers = numpy.unique(windows)
        spans = numpy.split(numbers, numpy.flatnonzero(numpy.diff(numbers) > 1) + 1)
        frames = torch.cat([self.frames.read(int(span[0]), int(span[-1]) + 1) for span in spans])
        return [frames[places] for places in numpy.searchsorted(numbers, windows)]

    def find_known(self, window: Tensor) -> Tensor:
        """Returns which channels of the input frames have a value, ``(T, C)``."""
        return window[: self.inputs, : self.frames.observed].isfinite().flatten(2).any(-1)

    def forecast_issues(self, windows: Sequence[Tensor], known: Sequence[Tensor], issues: Any) -> list[Any]:
        """Returns the labelled forecast from each window of frames, without values if its last frame has none."""
        # a model may leave out frames without a value, which its batch then shares
        groups = [[i for i, k in enumerate(known) if k.all()]]
        groups += [[i] for i, k in enumerate(known) if not k.all() and k[-1].any() and k.any(0).all()]
        results = [self.blank] * len(windows)
        for group in filter(None, groups):
            try:
                parts = self.forecast_frames(torch.stack([windows[i] for i in group]), self.inputs)
            except ValueError as e:
                times = ", ".join(self.name_issues(issues[group]))
                raise ValueError(f"{self.frames.path}: the forecast from {times} failed: {e}") from e
            for j, i in enumerate(group):
                results[i] = parts.at(j)
        return [self.label_issue(result, issue) for result, issue in zip(results, issues.tolist(), strict=True)]

    def label_issue(self, result: Result, issue: int) -> Any:
        """Returns the result of an issue time as a Dataset, as ``predict`` writes it."""
        return self.label(result, self.frames.between(issue - self.inputs + 1, issue + 1), self.step)

    def mark_unfinished(self) -> list[int]:
        """Marks the issue times to compute as unfinished in the store, and returns the numbers of their regions.

        These are regions that are not finished, and those with missing inputs that are in the archive now. Raises
        ValueError if the inputs of a finished issue time have changed, of which :data:`SAMPLE` are compared.
        """
        group = self.group
        missing, checksums = group[MISSING][:], group[PROGRESS]["checksums"][:]

        def has_changed(i: int) -> bool:
            return find_checksum(self.read(self.issues[i : i + 1])[0]) != int(checksums[i])

        complete = numpy.flatnonzero(missing == 0)
        if changed := list(filter(has_changed, complete[:: len(complete) // SAMPLE + 1].tolist())):
            raise ValueError(
                f"{self.place} has a forecast from {self.name_issues(self.issues[changed])[0]}, and the archive has "
                "other values there; pass the same archive, or choose another name"
            )
        again = [i for i in numpy.flatnonzero(missing > 0).tolist() if has_changed(i)]
        regions = sorted({i // self.batch for i in [*again, *numpy.flatnonzero(missing < 0).tolist()]})
        for region in {i // self.batch for i in again}:
            group[MISSING][region * self.batch : (region + 1) * self.batch] = -1
        return regions


def find_checksum(frames: Tensor) -> int:
    """Returns a checksum of frames, of which all NaN are equal."""
    return zlib.crc32(frames.masked_fill(frames.isnan(), torch.nan).contiguous().numpy().data)


# ---- several processes -------------------------------------------------------------------------------------------
def start_workers(jobs: int) -> Any:
    """Starts a Dask cluster of processes on this machine, and returns its client.

    Dask sets MALLOC_TRIM_THRESHOLD_ in its processes, with which glibc returns the memory of each large tensor to the
    system; getting it back doubles the processor time of a forecast.
    """
    options = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    with need("dask.config", "archive").set(options):
        return need("distributed", "archive").Client(
            n_workers=jobs,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.ERROR,
        )


def _run_on_workers(run: ArchiveRun, regions: Sequence[int], jobs: int, scheduler: Any) -> Iterator[None]:
    """Forecasts regions on workers, and yields as each is finished.

    The run is the result of a task, so that a scheduler computes it again for workers that replace lost ones.
    """
    distributed = need("distributed", "archive")
    with contextlib.ExitStack() as stack:
        client = scheduler
        if not isinstance(client, distributed.Client):
            client = stack.enter_context(start_workers(jobs) if client is None else distributed.Client(client))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            shared = client.submit(copy, run, pure=False)
            futures = [client.submit(ArchiveRun.forecast_region, shared, region, pure=False) for region in regions]
        try:
            for future in distributed.as_completed(futures):
                yield future.result()
        finally:
            client.cancel(futures)
