"""``convrnn-zoo windows``."""

from pathlib import Path

import click

from ..data import frames_of
from ..data.datasets.windows import IMPORTANCE, list_windows, write_windows
from ..data.own import ArrayFrames
from ..data.readers import STORE
from ..train import ForecasterRecipe, Recipe

DEFAULTS = IMPORTANCE


@click.command()
@click.argument("recipe")
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="The .zarr store.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file [default: data.windows of the recipe, next to the store].",
)  # fmt: skip
@click.option("--least", default=DEFAULTS.least, show_default=True, type=click.FloatRange(0, 1),
              help="Probability that a dry window is taken.")  # fmt: skip
@click.option("--scale", default=DEFAULTS.scale, show_default=True, type=click.FloatRange(0),
              help="Probability added for a window that is wet all over.")  # fmt: skip
@click.option("--saturation", default=DEFAULTS.saturation, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Value, in the data's unit, from which on more counts little more.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
def windows(
    recipe: str, data: Path, output: Path | None, least: float, scale: float, saturation: float, seed: int
) -> None:
    """List the windows of a Zarr store that RECIPE is trained on, once, as CSV of t, x and y.

    Windows are drawn by importance: one with much rain is many times as likely as a dry one (Ravuri et al. 2021,
    https://doi.org/10.1038/s41586-021-03854-z). The store is read through step by step; one step is in memory. Name the
    file in the recipe: `windows = "FILE.csv"` under [data], beside the store.

    \b
    convrnn-zoo windows radar.toml --data radar.zarr -o radar.csv
    """
    chosen = Recipe.read(recipe)
    kind = frames_of(chosen.data) if isinstance(chosen, ForecasterRecipe) else None
    if not isinstance(kind, ArrayFrames) or data.suffix != STORE:
        raise ValueError(f'windows are those of a {STORE} store and a recipe whose data are of kind = "frames"')
    if output is None and not kind.windows:
        raise ValueError("pass -o FILE.csv, or name the file in the recipe: data.windows")
    output = output or data.parent / kind.windows
    sampling = kind.sampling._replace(least=least, scale=scale, saturation=saturation)
    files = kind.open(data)
    sizes = kind.window(data, files, chosen.inputs + chosen.horizon)  # type: ignore[attr-defined]
    count = write_windows(list_windows(files[0], sizes, sampling, kind.step, seed), output)
    click.echo(f"{output}: {count:,} windows of {sizes.length} frames of {sizes.height}×{sizes.width} pixels")
