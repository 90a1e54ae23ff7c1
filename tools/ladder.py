"""The table and the figure of the ladder, from ``references/ladder.json``: ``python -m tools.ladder``."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown

ROOT = Path(__file__).parent.parent
RESULTS, PICTURE = ROOT / "references" / "ladder.json", ROOT / "docs" / "pictures" / "ladder.png"
TITLES = {"moving_mnist": "Moving MNIST", "rain": "Rain over the Netherlands and Finland"}
COLUMNS = {"moving_mnist": ("MSE", "SSIM"), "rain": ("CSI 0.5 mm/h", "CSI 2 mm/h", "MSE")}
"""Scores of a dataset. The first one orders the families."""


def read(dataset: str) -> list[list[dict[str, Any]]]:
    """Returns the rows of each family, the seeds in order, best family first."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(RESULTS.read_text(encoding="utf-8")):
        if row["dataset"] == dataset:
            families.setdefault(row["family"], []).append(row)
    return sorted(
        families.values(), key=lambda rows: _mean(rows, COLUMNS[dataset][0]), reverse=COLUMNS[dataset][0] != "MSE"
    )


def ladder(page: str) -> str:
    """Lists the scores and costs of every family on every data set, with the command."""
    return "\n\n".join(_table(dataset) for dataset in COLUMNS if read(dataset))


def _table(dataset: str) -> str:
    families = read(dataset)
    first = families[0][0]
    rows: list[Sequence[object]] = [
        (
            f"`{rows[0]['family']}`",
            f"{rows[0]['parameters']:,}",
            f"{rows[0]['rate']:g}",
            *(_score(rows, name) for name in COLUMNS[dataset]),
            f"{1000 * rows[0]['seconds']:.0f} ms",
            f"{rows[0]['bytes'] / 1e6:.0f} MB",
        )
        for rows in families
    ]
    for baseline in first["baselines"][COLUMNS[dataset][0]]:
        values = (first["baselines"].get(name, {}).get(baseline) for name in COLUMNS[dataset])
        rows.append((baseline, "", "", *("" if v is None else f"{v:,.{_digits(v)}f}" for v in values), "", ""))
    header = ("family", "parameters", "learning rate", *COLUMNS[dataset], "a forecast, one core", "memory of 16")
    machine = first["machine"]
    caption = (
        f"`python -m references.ladder --dataset {dataset} --data DIR`; {first['sequences']:,} sequences each. Costs: "
        f"`--costs`, processor time of one thread, {machine['processor']}, torch {machine['torch']}."
    )
    return f"**{TITLES[dataset]}**\n\n{markdown(header, rows)}\n\n{caption}"


def _mean(rows: Iterable[dict[str, Any]], name: str) -> float:
    return statistics.fmean(row["scores"][name] for row in rows)


def _deviation(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Returns the standard deviation of a score between seeds; None for one seed."""
    return statistics.stdev(row["scores"][name] for row in rows) if len(rows) > 1 else None


def _score(rows: Sequence[dict[str, Any]], name: str) -> str:
    mean, deviation = _mean(rows, name), _deviation(rows, name)
    digits = _digits(mean if deviation is None else min(mean, 10 * deviation))
    return f"{mean:,.{digits}f}" + ("" if deviation is None else f" ± {deviation:,.{digits}f}")


def _digits(value: float) -> int:
    """Returns the number of digits after the point with which a value is shown."""
    return 0 if value >= 100 else 1 if value >= 1 else 3


def draw() -> Any:
    """Draws the first score of each family over the time of a forecast, and those of the baselines, for every dataset.

    A bar shows the standard deviation of several seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    datasets = [dataset for dataset in COLUMNS if read(dataset)]
    figure = Figure(figsize=(7 * len(datasets), 6.5), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        families, score = read(dataset), COLUMNS[dataset][0]
        means = [_mean(rows, score) for rows in families]
        for i, (rows, mean) in enumerate(zip(families, means, strict=True)):
            place, name = (1000 * rows[0]["seconds"], mean), rows[0]["family"].removesuffix("_forecaster")
            axes.errorbar(*place, _deviation(rows, score), fmt="o", color="tab:blue", capsize=3)
            side, shift = ("left", 5) if i % 2 else ("right", -5)  # neighbours in rank are often neighbours in time
            axes.annotate(name, place, (shift, -3), textcoords="offset points", ha=side, fontsize=8)
        margin = (max(means) - min(means)) / 4
        for i, (baseline, value) in enumerate(families[0][0]["baselines"][score].items()):
            if min(means) - margin < value < max(means) + margin:
                axes.axhline(value, color="tab:gray", linewidth=1, linestyle=":")
                transform, shift = axes.get_yaxis_transform(), -11 if i % 2 else 2  # two may be nearly equal
                axes.annotate(baseline, (0, value), (3, shift), transform, "offset points")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        label = f"{score} ({'less' if score == 'MSE' else 'more'} is better)"
        axes.set(title=TITLES[dataset], xlabel="time of a forecast on one core, ms", ylabel=label)
        axes.margins(x=0.25)
    return figure


if __name__ == "__main__":
    draw().savefig(PICTURE, dpi=110)
