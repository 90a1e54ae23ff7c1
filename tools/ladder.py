"""The table and the figure of the ladder, from ``references/ladder.json``: ``python -m tools.ladder``."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.tables import markdown
from references.ladder import RESULTS, SCORES

TITLES = {"moving_mnist": "Moving MNIST", "rain": "Rain over the Netherlands and Finland"}
COLUMNS = {"moving_mnist": ("MSE", "SSIM"), "rain": ("CSI 0.5 mm/h", "CSI 2 mm/h")}
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "ladder.png"


def read(dataset: str) -> list[list[dict[str, Any]]]:
    """Returns the rows of each family, the seeds in order, best family first."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(RESULTS.read_text(encoding="utf-8")):
        if row["dataset"] == dataset:
            families.setdefault(row["family"], []).append(row)
    return sorted(families.values(), key=lambda rows: _mean(rows, SCORES[dataset]), reverse=SCORES[dataset] != "MSE")


def ladder(page: str) -> str:
    """Lists the scores and costs of every family on every data set, with the command."""
    return "\n\n".join(_table(dataset) for dataset in SCORES if read(dataset))


def _table(dataset: str) -> str:
    families = read(dataset)
    first = families[0][0]
    rows: list[Sequence[object]] = [
        (
            f"`{rows[0]['family']}`", f"{rows[0]['parameters']:,}", f"{rows[0]['rate']:g}",
            *(_score(rows, name) for name in COLUMNS[dataset]),
            f"{1000 * rows[0]['seconds']:.0f} ms", f"{rows[0]['bytes'] / 1e6:.0f} MB",
        )
        for rows in families
    ]  # fmt: skip
    for baseline in first["baselines"][SCORES[dataset]]:
        values = (first["baselines"].get(name, {}).get(baseline) for name in COLUMNS[dataset])
        rows.append((baseline, "", "", *("" if v is None else f"{v:.3g}" for v in values), "", ""))
    header = ("family", "parameters", "learning rate", *COLUMNS[dataset], "a forecast, one core", "memory of it")
    caption = f"`python -m references.ladder --dataset {dataset} --data DIR`; {first['sequences']:,} sequences each."
    return f"**{TITLES[dataset]}**\n\n{markdown(header, rows)}\n\n{caption}"


def _mean(rows: Iterable[dict[str, Any]], name: str) -> float:
    return statistics.fmean(row["scores"][name] for row in rows)


def _score(rows: Sequence[dict[str, Any]], name: str) -> str:
    spread = f" ± {statistics.stdev(row['scores'][name] for row in rows):.2g}" if len(rows) > 1 else ""
    return f"{_mean(rows, name):.3g}{spread}"


def draw() -> Figure:
    """Draws the first score of each family over the time of a forecast, for every data set."""
    datasets = [dataset for dataset in SCORES if read(dataset)]
    figure = Figure(figsize=(6.5 * len(datasets), 5), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        for rows in read(dataset):
            time, score = 1000 * rows[0]["seconds"], _mean(rows, SCORES[dataset])
            axes.plot(time, score, "o", color="tab:blue")
            name = rows[0]["family"].removesuffix("_forecaster")
            axes.annotate(name, (time, score), xytext=(4, 3), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.set(title=TITLES[dataset], xlabel="time of a forecast on one core, ms", ylabel=SCORES[dataset])
        axes.margins(x=0.2)
    return figure


if __name__ == "__main__":
    draw().savefig(PICTURE, dpi=110)
