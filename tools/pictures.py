"""Writes the figures of the pages: ``python -m tools.pictures [--data DIR] [PAGE...]``.

The notebook of a page runs in an empty directory. The figures that the page shows are copied from there to
``docs/pictures``. Without PAGE, the figures of all pages, of the ladder and of the forecaster families are written. DIR
has the files that pages download. Without it, such pages are skipped with a message.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import nbformat
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from nbclient import NotebookClient
from torch import Tensor

from convrnn_zoo import create_model

from . import ROOT, figures, timings
from .notebooks import notebook

PICTURES = ROOT / "docs" / "pictures"
PAGES = (ROOT / "docs" / "gallery.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md")))


def run(page: Path, directory: Path) -> None:
    """Runs the notebook of a page in a directory."""
    book = nbformat.reads(notebook(page.read_text(encoding="utf-8")), as_version=4)
    NotebookClient(book, timeout=None, resources={"metadata": {"path": str(directory)}}).execute()


# ---- the families of forecasters ---------------------------------------------------------------------------------
NARROW: dict[str, Any] = {"hidden_channels": 16, "num_layers": 2, "patch_size": 2}
SMALL: dict[str, dict[str, Any]] = {
    "convgru_forecaster": {"hidden_channels": [24, 24], "kernel_size": 3, "patch_size": 2},
    "convlstm_shi2015_radar": {"hidden_channels": [24, 24]},
    "convlstm_ef": {"hidden_channels": [8, 16, 16]},
    "trajgru_hko7": {"hidden_channels": [16, 24, 24]},
    "convlstm_openstl_s": NARROW,
    "predrnn_v2": NARROW,
    "predrnn_pp": NARROW,
    "mim": {**NARROW, "img_size": 32},
    "sa_convlstm": NARROW,
    "motionrnn_predrnn": NARROW,
    "mau": {"hidden_channels": 24, "num_layers": 2, "img_size": 32},
    "phydnet": {"hidden_channels": (32, 32, 16)},
    "e3d_lstm": {"hidden_channels": 16, "num_layers": 2, "img_size": 32},
    "convgru_irene": {"num_blocks": 2},
    "dgmr": {"context_channels": 16, "latent_channels": 32, "noise_channels": 1},
}
"""One architecture of each family, with arguments that make it small."""
SIZES = {"trajgru_hko7": 60, "dgmr": 64}
"""Widths of maps in pixels, where the network cannot read 32."""
STEPS = 120


def moving_spots(count: int, size: int = 32, frames: int = 8, seed: int = 0) -> Tensor:
    """Returns sequences ``(N, T, 1, H, W)`` of a spot that moves at constant speed and bounces off the borders."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, count, 1, 2, generator=generator)
    position = start * 2 + 0.3 * (speed - 0.5) * torch.arange(frames)[:, None]
    center = 0.15 + 0.7 * (position % 2 - 1).abs()
    grid = torch.linspace(0, 1, size)
    y, x = ((grid - center[..., i, None]).square() for i in range(2))
    return torch.exp(-(y[..., :, None] + x[..., None, :]) / 0.01)[:, :, None]


def forecast_spot(name: str) -> tuple[str, Tensor]:
    """Trains a small model to forecast four frames from four; returns its title and the forecast of a test sequence."""
    torch.manual_seed(0)
    model: Any = create_model(name, **SMALL[name])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    size = SIZES.get(name, 32)
    for step in range(STEPS):
        x = moving_spots(4, size, seed=step + 1)
        loss = (model(x[:, :4], horizon=4) - x[:, 4:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        forecast = model.eval()(moving_spots(1, size)[:, :4], horizon=4)
    return f"{name}\n{sum(p.numel() for p in model.parameters()):,} parameters", forecast[0, :, 0]


def draw_families() -> Figure:
    """Trains all families, and plots the test sequence above their forecasts."""
    rows = [("observed", moving_spots(1)[0, :, 0]), *map(forecast_spot, SMALL)]
    figure = Figure(figsize=(9, 0.95 * len(rows)), layout="constrained", dpi=90)
    figure.suptitle(f"Small copies after {STEPS} steps of training on a moving spot", fontsize=11)
    for line, (title, frames) in zip(figure.subplots(len(rows), 8), rows, strict=True):
        for axes in line:
            axes.axis("off")
        for axes, frame in zip(line[-len(frames) :], frames, strict=True):
            axes.imshow(frame.numpy(), cmap="gray", vmin=0, vmax=1)
        line[0].text(0, 0.5, title, transform=line[0].transAxes, fontsize=9, va="center")
    for t, axes in enumerate(figure.axes[:8], start=-3):
        axes.set_title(f"{t:+d}".replace("+0", "0"), fontsize=9)
    return figure


# ---- the ladder ----------------------------------------------------------------------------------------------------
def draw_ladder() -> Figure:
    """Plots the first score of each family over the time of a forecast, and those of the baselines, for every dataset.

    A bar shows the standard deviation of several seeds.
    """
    figure = Figure(figsize=(14, 6.5), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(timings.DATASETS))
    for panel, (dataset, (title, (score, *_))) in zip(panels, timings.DATASETS.items(), strict=True):
        families = timings.families(dataset)
        spreads = [timings.mean_and_deviation(rows, score) for rows in families]
        means = [mean for mean, _ in spreads]
        for i, (rows, (mean, deviation)) in enumerate(zip(families, spreads, strict=True)):
            place, name = (1000 * rows[0]["seconds"], mean), rows[0]["family"].removesuffix("_forecaster")
            panel.errorbar(*place, deviation, fmt="o", color="tab:blue", capsize=3)
            side, shift = ("left", 5) if i % 2 else ("right", -5)  # neighbours in rank are often neighbours in time
            panel.annotate(name, place, (shift, -3), textcoords="offset points", ha=side, fontsize=8)
        margin = (max(means) - min(means)) / 4
        for i, (baseline, value) in enumerate(families[0][0]["baselines"][score].items()):
            if min(means) - margin < value < max(means) + margin:
                panel.axhline(value, color="tab:gray", linewidth=1, linestyle=":")
                shift = -11 if i % 2 else 2  # two may be nearly equal
                panel.annotate(baseline, (0, value), (3, shift), panel.get_yaxis_transform(), "offset points")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        label = f"{score} ({'less' if score == 'MSE' else 'more'} is better)"
        panel.set(title=title, xlabel="time of a forecast on one core, ms", ylabel=label)
        panel.margins(x=0.25)
    return figure


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Directory with files of pages.")
@click.argument("pages", nargs=-1, type=click.Path(path_type=Path))
def main(data: Path | None, pages: tuple[Path, ...]) -> None:
    """Write the figures of PAGES, or of all pages."""
    programs = Path(sys.executable).parent  # where convrnn-zoo is
    os.environ |= {"MPLBACKEND": "agg", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for page in pages or PAGES:
        files = re.findall(r"^curl -LO \S+/(\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        if files and data is None:
            print(f"{page}: skipped, since --data does not give {', '.join(files)}", flush=True)
            continue
        print(page, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            for file in files:
                shutil.copy((data or page) / file, directory)
            run(page, Path(directory))
            for name in set(figures(page)) - {"families.png"}:
                shutil.copy(Path(directory, name), PICTURES)
    if not pages:
        draw_ladder().savefig(PICTURES / "ladder.png")
        draw_families().savefig(PICTURES / "families.png")


if __name__ == "__main__":
    main()
