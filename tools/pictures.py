"""Writes the figures of the pages: ``python -m tools.pictures [--data DIR] [PAGE...]``.

The notebook of a page runs in an empty directory. The figures that the page shows are copied from there to
``docs/pictures``. Without PAGE, the figures of all pages and of the ladder are written. DIR
has the files that pages download. Without it, such pages are skipped with a message.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import click
import nbformat
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from nbclient import NotebookClient

from . import ROOT, figures
from .docs import timings
from .docs.notebooks import notebook

PICTURES = ROOT / "docs" / "pictures"
PAGES = (ROOT / "docs" / "gallery.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md")))


def run(page: Path, directory: Path) -> None:
    """Runs the notebook of a page in a directory."""
    text = page.read_text(encoding="utf-8").replace("<!-- not run: takes ten minutes -->\n", "")
    book = nbformat.reads(notebook(text), as_version=4)
    NotebookClient(book, timeout=None, resources={"metadata": {"path": str(directory)}}).execute()


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
            for name in set(figures(page)):
                shutil.copy(Path(directory, name), PICTURES)
    if not pages:
        draw_ladder().savefig(PICTURES / "ladder.png")


if __name__ == "__main__":
    main()
