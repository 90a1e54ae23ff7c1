"""CSI on windows outside training, by which settings are selected: ``python -m references.nowcast.selection NAME…``.

The windows are those of :mod:`~references.nowcast.calibration`, cut to their wettest square, and storms over Brisbane,
of which nothing is in training. No window is of a test event.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from convrnn_zoo import create_model
from convrnn_zoo.cli._text import columns
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.verify import Occurrences

from .calibration import PLACES, HeldOut, held_out_windows
from .events import BOM, RainEvent, load_event
from .intervals import BASELINES
from .mrms import CodedEvent, encode_rate
from .scores import pysteps_methods
from .train import load_archives
from .verification import INPUTS, THRESHOLDS, Window, lead_times

EDGE, STRIDE = 512, 64
"""Maximum edge of a window and distance of the squares of which the wettest is taken, in pixels."""
BRISBANE = RainEvent(
    "bom_20201031",
    date(2020, 10, 31),
    "Brisbane",
    "66_20201031_*.prcp-c10.nc",
    BOM._replace(step=timedelta(minutes=10)),
)


def wettest(window: Window) -> Window:
    """Cuts a window to the square with the most pixels over 0.5 mm/h in the last input frame."""
    wet = (window.inputs[-1] >= 0.5).float()
    size = [min(EDGE, n) for n in wet.shape]
    shares = F.avg_pool2d(wet[None], size, STRIDE)[0]
    top, left = (STRIDE * int(i) for i in divmod(int(shares.argmax()), shares.shape[1]))
    return Window(*(x[:, top : top + size[0], left : left + size[1]] for x in window))


def load_windows(directory: Path) -> dict[str, list[HeldOut]]:
    """Reads the windows of each place."""
    places = {PLACES[name]: events for name, events in load_archives(directory, "test", INPUTS).items()}
    storms = load_event(directory, BRISBANE)
    places["Brisbane"] = [CodedEvent(encode_rate(storms.frames), BRISBANE.minutes)]
    return {
        place: [HeldOut(wettest(window), minutes) for window, minutes in held_out_windows(events)]
        for place, events in places.items()
    }


def score(method: Any, windows: Sequence[HeldOut]) -> dict[tuple[float, str], float]:
    """Returns the CSI of each threshold and group of lead times that occurs, over all windows.

    `method` receives frames ``(T, H, W)``, the horizon, and the minutes between frames as `minutes`.
    """
    counts: dict[tuple[float, str], Tensor] = {}
    for (inputs, truth), minutes in windows:
        known = truth.isfinite() & inputs[-1].isfinite()
        forecast = method(inputs, len(truth), minutes=minutes)
        for threshold in THRESHOLDS:
            occurrences = Occurrences(threshold, len(truth))
            occurrences.add(*(x.where(known, torch.nan)[None, :, None] for x in (forecast, truth)))
            for group, frames in lead_times(minutes).items():
                part = occurrences.counts[:, frames].sum(1)
                counts[threshold, group] = counts.get((threshold, group), 0) + part
    return {key: float(count[0] / count.sum()) for key, count in counts.items() if count.sum()}


def load_nowcast(name: str) -> Any:
    """Returns the nowcast with the name of weights, or with a file of weights that a training wrote after a round."""
    if not name.endswith(".safetensors"):
        return create_model(name, pretrained=True).eval()
    model = Recipe.read("nowcast").create_model()
    model.load_state_dict(load_file(name))
    return model.eval()


def compare(methods: Mapping[str, Any], places: Mapping[str, Sequence[HeldOut]]) -> Iterator[tuple[str, ...]]:
    """Yields a row for each place, and one for all: the mean CSI of each method over thresholds and lead times."""
    means: dict[str, list[float]] = {name: [] for name in methods}
    for place, windows in places.items():
        for name, method in methods.items():
            means[name].append(statistics.fmean(score(method, windows).values()))
        yield place, *(f"{of[-1]:.4f}" for of in means.values())
    yield "mean", *(f"{statistics.fmean(values):.4f}" for values in means.values())


@click.command()
@click.argument("names", nargs=-1)
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="pysteps' example data.")
def main(names: Sequence[str], data: Path) -> None:
    """Compare the nowcast weights NAMES, which may be files, with pysteps' methods on windows outside training.

    \b
    python -m references.nowcast.selection convgru_advection.nowcast --data pysteps-data
    """
    methods: dict[str, Any] = {name: partial(_run_baseline, name) for name in BASELINES}
    methods |= {name: load_nowcast(name).forecast for name in names}
    rows = list(compare(methods, load_windows(data)))
    click.echo(columns(rows, header=("mean CSI", *methods)))


def _run_baseline(name: str, frames: Tensor, horizon: int, minutes: float) -> Tensor:
    return pysteps_methods(minutes)[name](frames, horizon)


if __name__ == "__main__":
    main()
