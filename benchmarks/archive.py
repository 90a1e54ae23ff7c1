"""Forecasts of an archive per second: ``python -m benchmarks.archive`` writes archive.json.

The archive is random rain. The same issue times are forecast in one process without a scheduler, and by one and two
workers of a Dask cluster on this machine. Runs of the three ways are interleaved, and the medians of their times count.
Processor time is that of all processes together, which other programs hardly change. The cost of the scheduler is the
processor time per task of tasks that do nothing.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click

MEASURED = Path(__file__).with_name("archive.json")
SIZE = (256, 256)
FORECASTS = 24
MODELS = ("convgru_forecaster.rain", "convgru_advection.nowcast")
BATCH = 2
TASKS = 500


def make_archive(path: Any) -> None:
    """Writes an archive of random rain."""
    import numpy as np
    import xarray as xr

    times = np.datetime64("2020-06-01", "ns") + 5 * np.arange(FORECASTS + 3) * np.timedelta64(1, "m")
    rain = np.random.default_rng(0).gamma(0.3, 2.0, (len(times), *SIZE)).astype("float32")
    data = xr.DataArray(rain, {"time": times}, ("time", "y", "x"), "rain", {"units": "mm/h"})
    data.to_dataset().to_zarr(path, consolidated=False)


def start_cluster(workers: int) -> Any:
    """Returns a client of a cluster on this machine whose workers have imported the package."""
    from convrnn_zoo.predict.archive.run import start_workers

    client = start_workers(workers)
    client.run(_import)
    return client


def _import() -> None:
    import convrnn_zoo.predict.archive  # noqa: F401


def _nothing(number: int) -> int:
    return number


def timed(run: Callable[[], Any], client: Any = None) -> tuple[float, float]:
    """Returns the seconds that a call takes, and the processor time of this process and of the workers of `client`."""

    def processor_time() -> float:
        workers = client.run(time.process_time).values() if client else ()
        return time.process_time() + sum(workers)

    start, before = time.perf_counter(), processor_time()
    run()
    return time.perf_counter() - start, processor_time() - before


def measure_stores(models: Sequence[str], repeats: int) -> dict[str, Any]:
    """Returns seconds and processor time of this process for archives on a local disk, in memory and on a server.

    The S3 server of moto runs on this machine, in a process of its own.
    """
    import s3fs

    from convrnn_zoo._stores import find_place, open_zarr_store
    from convrnn_zoo.predict.archive import forecast_archive
    from tests.helpers.object_store import environment, server

    runs: dict[str, dict[str, list[tuple[float, float]]]] = {m: {} for m in models}
    with tempfile.TemporaryDirectory() as folder, server() as port:
        os.environ |= environment(port)
        s3fs.S3FileSystem().mkdir("bucket")
        places = {"local disk": folder, "memory://": "memory://bucket", "S3 server": "s3://bucket"}
        for place in places.values():
            make_archive(open_zarr_store(find_place(f"{place}/archive.zarr"), read_only=False))
        for i in range(repeats + 1):  # the first round loads weights and code
            for model in models:
                for name, place in places.items():
                    output = f"{place}/{model}-{i}.zarr"
                    options: dict[str, Any] = {"batch_size": BATCH, "threads": 1}
                    run = partial(forecast_archive, model, f"{place}/archive.zarr", output, **options)
                    runs[model].setdefault(name, []).append(timed(run))
    return {m: {n: [median(t) for t in zip(*p[1:], strict=True)] for n, p in by.items()} for m, by in runs.items()}


def measure(models: Sequence[str], repeats: int) -> dict[str, Any]:
    """Returns the measurements as a dictionary for JSON."""
    from convrnn_zoo.predict.archive import forecast_archive

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive.zarr"
        make_archive(archive)
        clients: dict[str, Any] = {"no scheduler": None, "1 worker": start_cluster(1), "2 workers": start_cluster(2)}
        runs: dict[str, dict[str, list[tuple[float, float]]]] = {m: {way: [] for way in clients} for m in models}
        for i in range(repeats + 1):  # the first round loads weights and code
            for model in models:
                for way, client in clients.items():
                    options: dict[str, Any] = {"batch_size": BATCH, "threads": 1, "scheduler": client}
                    run = partial(forecast_archive, model, archive, Path(folder) / f"{model}-{way}-{i}.zarr", **options)
                    runs[model][way].append(timed(run, client))
        client = clients["1 worker"]
        empty = [timed(lambda: client.gather(client.map(_nothing, range(TASKS), pure=False)), client) for _ in range(5)]
        for client in filter(None, clients.values()):
            client.close()
    medians = {
        m: {way: [median(t) for t in zip(*pairs[1:], strict=True)] for way, pairs in by.items()}
        for m, by in runs.items()
    }
    return {
        "cores": os.cpu_count(),
        "load": [load, os.getloadavg()[0]],
        "size": SIZE,
        "forecasts": FORECASTS,
        "batch_size": BATCH,
        "repeats": repeats,
        "task": median(cpu for _, cpu in empty) / TASKS,
        "stores": measure_stores(models, repeats),
        "seconds": {m: {way: t for way, (t, _) in by.items()} for m, by in medians.items()},
        "processor_time": {m: {way: t for way, (_, t) in by.items()} for m, by in medians.items()},
    }


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=MEASURED, show_default=True)
@click.option("--weights", "models", multiple=True, default=MODELS, show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
def main(output: Path, models: tuple[str, ...], repeats: int) -> None:
    """Measure forecasts of an archive per second."""
    output.write_text(json.dumps(measure(models, repeats), indent=1) + "\n", encoding="utf-8")
    click.echo(output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
