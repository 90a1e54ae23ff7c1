"""``convrnn-zoo windows``."""

from pathlib import Path

import click

from .._atomic import check_suffix
from ..data.datasets.frame_files import ArrayFrames
from ..data.datasets.windows import IMPORTANCE, list_windows, window_keys, write_windows
from ..data.formats.gridded import STORE
from ..recipes import ForecasterRecipe, Recipe
from ..values.units import plural
from ._options import FilePath, FiniteRange, output_file
from ._outputs import check_not_input


@click.command()
@click.argument("recipe")
@click.option("--data", required=True, type=FilePath(exists=True), help="The .zarr store.")
@output_file("CSV file [default: data.windows of the recipe, next to the store].")
@click.option("--min-probability", default=IMPORTANCE.min_probability, show_default=True, type=FiniteRange(0, 1),
              help="Probability of a dry window.")  # fmt: skip
@click.option("--scale", default=IMPORTANCE.scale, show_default=True, type=FiniteRange(0),
              help="Probability added for a window that is wet everywhere.")  # fmt: skip
@click.option("--saturation", default=IMPORTANCE.saturation, show_default=True, type=FiniteRange(0, min_open=True),
              help="Value, in the unit of the data, beyond which more rain adds little probability.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of the sampling.")
def windows(
    recipe: str, data: Path, output: Path | None, min_probability: float, scale: float, saturation: float, seed: int
) -> None:
    """Sample training windows of a Zarr store for RECIPE, and write their positions as CSV with columns t, x and y.

    Windows are sampled by importance: a window with much rain is many times as likely as a dry one (Ravuri et al. 2021,
    https://doi.org/10.1038/s41586-021-03854-z). The store is read step by step, with one step in memory. Name the file
    in the recipe, `windows = "FILE.csv"` under [data], and keep it next to the store.

    \b
    convrnn-zoo windows radar.toml --data radar.zarr -o radar.csv
    """
    settings = Recipe.read(recipe)
    kind = settings.data if isinstance(settings, ForecasterRecipe) else None
    if not isinstance(kind, ArrayFrames) or data.suffix != STORE:
        raise ValueError(f'{recipe}: windows need a {STORE} store and a recipe with kind = "frames" under [data]')
    if output is None and not kind.windows:
        raise ValueError("pass -o FILE.csv, or name the file in the recipe: data.windows")
    output = output or data.parent / kind.windows
    check_suffix(output, (".csv",))
    check_not_input(output, [Path(recipe), data])
    selection = kind.selection._replace(min_probability=min_probability, scale=scale, saturation=saturation)
    files = kind.open(data)
    sizes = kind.window(data, files, settings.inputs + settings.horizon)  # type: ignore[attr-defined]
    listed = list_windows(files[0], sizes, selection, kind.step, seed)
    count = write_windows(listed, output, window_keys(kind, sizes.length))
    click.echo(
        f"{output}: {plural(count, 'window')} of {plural(sizes.length, 'frame')} of {sizes.height}×{sizes.width} pixels"
    )
