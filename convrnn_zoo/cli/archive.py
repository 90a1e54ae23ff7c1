"""``convrnn-zoo archive``."""

import json
from typing import Any

import click

from .._stores import Place
from ..models import Forecaster
from ..predict.archive import forecast_archive
from ..predict.archive.store import open_store
from ..values.units import plural
from ._forecasts import forecast_options
from ._options import WEIGHTS_EPILOG, output_directory, with_model


@click.command(epilog=WEIGHTS_EPILOG)
@output_directory("Store to write, FILE.zarr or an address such as s3://BUCKET/FILE.zarr.", required=True, address=True)
@click.option(
    "--every",
    metavar="TIME|FRAMES",
    help="Time between issue times, such as 30min, 6h or 1D, or a number of frames [default: every frame].",
)
@click.option(
    "--period",
    metavar="FIRST,LAST",
    help="First and last issue time, such as 2020-06,2020-08 [default: all].",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Issue times of a task [default: 64 MiB of forecasts, at most 16].",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Processes on this machine [default: 1].")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Address of a scheduler of Dask, such as tcp://login1:8786, whose workers forecast.",
)
@forecast_options
@with_model
def archive(
    model: Any,
    weights: str,
    files: tuple[Place, ...],
    output: Place,
    as_json: bool,
    quiet: bool,
    period: str | None,
    options: dict[str, Any],
    **arguments: Any,
) -> None:
    """Forecast from many issue times of an archive of frames into one .zarr store.

    FILEs are read as `convrnn-zoo predict` reads them. A later run completes the store if this one is interrupted, and
    adds the issue times of new frames. --jobs and --scheduler distribute the issue times.

    FILE and the store may be addresses of Zarr stores, such as s3://BUCKET/FILE.zarr; the environment has the keys.

    \b
    convrnn-zoo archive convgru_advection.nowcast archive.zarr --every 30min --jobs 4 -o forecasts.zarr
    """
    if not isinstance(model, Forecaster):
        raise ValueError(f"{weights} is a classifier; pass weights of a forecaster")
    data = forecast_archive(
        model,
        files[0] if len(files) == 1 else list(files),
        output,
        period=(None, None) if period is None else [date.strip() or None for date in period.split(",")],
        progress=not quiet,
        **arguments,
        **options,
    )
    times, incomplete = data["forecast_reference_time"].values, int((data["missing_inputs"] > 0).sum())
    if as_json:
        summary = {"output": str(output), "issue_times": len(times), "first": str(times[0]), "last": str(times[-1])}
        click.echo(json.dumps({**summary, "issue_times_with_missing_inputs": incomplete}, indent=2))
    elif not quiet:
        line = f"{output}: {plural(len(times), 'issue time')}, {str(times[0])[:16]} to {str(times[-1])[:16]}"
        missing = f"{incomplete} with input frames without a value" if incomplete else ""
        click.echo("; ".join(filter(None, (line, open_store(output)[1]["pixels"], missing))))
