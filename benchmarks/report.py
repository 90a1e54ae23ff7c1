"""Tables and charts of the measurements."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from .measure import TASKS, ratios
from .peers import BY_AUTOGRAD, NO_PEERS
from .scaling import exponent
from .shares import KINDS
from .tables import markdown

_BEST, _BEST_COMPILED = "fastest peer", "fastest compiled peer"


def _is_compiled(name: str) -> bool:
    return name.endswith(" compiled")


def _is_peer(name: str) -> bool:
    return not name.startswith(NO_PEERS)


def _implementations(result: dict[str, Any], task: str) -> list[str]:
    """Returns the other implementations: eager peers, compiled peers, then the rest."""
    names = {name: None for case in result["cases"] for name in case.get(task, {}) if name != "ours"}
    return sorted(names, key=lambda name: (not _is_peer(name), _is_compiled(name)))


def fastest_peers(times: dict[str, Any]) -> dict[str, float]:
    """Returns the times of the fastest peer and of the fastest peer under torch.compile, divided by ours."""
    quotients_by_name: dict[str, list[float]] = {}
    for name, quotient in ratios(times, "ours").items():
        if _is_peer(name):
            quotients_by_name.setdefault(_BEST_COMPILED if _is_compiled(name) else _BEST, []).append(quotient)
    return {name: min(quotients) for name, quotients in quotients_by_name.items()}


def table(result: dict[str, Any], tasks: Sequence[str] = tuple(TASKS)) -> str:
    """Formats the results as Markdown: for each task one row per case and a summary, then all other measurements."""
    m, parts = result["machine"], [part for task in tasks for part in _speed(result, task)]
    for name, part in _PARTS.items():
        if cases := [case for case in result["cases"] if name in case]:
            parts.append(part(cases))
    if "errors" in result:
        parts.append(_errors(result["errors"]))
    parts.append(
        f"{m['processor']}, {m['threads']} threads, torch {m['torch']}, convrnn_zoo {m['convrnn_zoo']}; medians of "
        f"{result['rounds']} interleaved runs, {m['clock']} clock."
    )
    return "\n\n".join(parts)


def _speed(result: dict[str, Any], task: str) -> list[str]:
    cases = [case for case in result["cases"] if case.get(task)]
    quotients = [{**fastest_peers(case[task]), **ratios(case[task], "ours")} for case in cases]
    names = [name for name in (_BEST, _BEST_COMPILED) if any(name in q for q in quotients)] + _implementations(
        result, task
    )
    rows = []
    for case, q in zip(cases, quotients, strict=True):
        cells = [f"{q[name]:.2f}" if name in q else "–" for name in names]
        rows.append([case["title"], f"{median(case[task]['ours']) * 1e3:.1f}", *cells])
    over = {name: [(q[name], c["title"]) for q, c in zip(quotients, cases, strict=True) if name in q] for name in names}
    rows.append(["geometric mean", "", *(f"{_mean(over[name]):.2f}" for name in names)])
    title = f"{task.capitalize()}: time of each implementation over ours (above 1: ours is faster)"
    summaries = [_summary(name, over[name]) for name in names if not _is_compiled(name) and _is_summarized(name)]
    table = markdown(("case", "ours, ms", *names), rows)
    return [f"{title}\n\n{table}", *(["\n".join(summaries)] if summaries else [])]


def _is_summarized(name: str) -> bool:
    """Returns whether an implementation gets a summary: peers, other checkouts, and cells without a derivative."""
    return name != _BEST_COMPILED and (_is_peer(name) or name.startswith("ours of ") or name == BY_AUTOGRAD)


def _summary(name: str, over: Sequence[tuple[float, str]]) -> str:
    (low, low_case), (high, high_case) = min(over), max(over)
    who = f"A cell without a hand-written derivative ({name})" if name == BY_AUTOGRAD else name
    return (
        f"* {who}: {_mean(over):.2f} times our time (geometric mean), at least {low:.2f} ({low_case}), at most "
        f"{high:.2f} ({high_case})"
    )


def _mean(over: Sequence[tuple[float, str]]) -> float:
    return math.exp(sum(math.log(quotient) for quotient, _ in over) / len(over)) if over else math.nan


def _memory(cases: list[dict[str, Any]]) -> str:
    names = list({name: None for case in cases for name in case["peak_bytes"]})
    rows = []
    for case in cases:
        peaks = case["peak_bytes"]
        rows.append([case["title"], *(f"{peaks[n] / 2**20:.0f}" if n in peaks else "–" for n in names)])
    return f"Peak memory of a training step, MiB above inputs and weights\n\n{markdown(('case', *names), rows)}"


def _by_task(cases: list[dict[str, Any]], entry: str, cell: Callable[[list[float]], str]) -> str:
    """Formats a table with one column per task and implementation."""
    columns = [(task, implementation) for task, of in cases[0][entry].items() for implementation in of]
    rows = [
        [case["title"], *(cell(case[entry][task][implementation]) for task, implementation in columns)]
        for case in cases
    ]
    return markdown(("case", *(f"{implementation}, {task}" for task, implementation in columns)), rows)


def _shares(cases: list[dict[str, Any]]) -> str:
    parts = _by_task(cases, "shares", lambda parts: " / ".join(f"{100 * part:.0f}" for part in parts))
    return f"Where the time goes, % of it: {' / '.join(KINDS)}\n\n{parts}"


def _new_sizes(cases: list[dict[str, Any]]) -> str:
    ratios = _by_task(cases, "first_over_third", lambda ratios: f"{median(ratios):.2f} ({max(ratios):.2f})")
    return f"Time of the first call at a new map size over the third: median of some sizes (largest)\n\n{ratios}"


_PARTS = {"peak_bytes": _memory, "shares": _shares, "first_over_third": _new_sizes}


def _errors(errors: list[dict[str, Any]]) -> str:
    scales = list({row["scale"]: None for row in errors})
    rows = []
    for layer, dtype in {(row["layer"], row["dtype"]): None for row in errors}:
        cells = []
        for row in errors:
            if (row["layer"], row["dtype"]) == (layer, dtype):
                cells.append(
                    " / ".join(f"{row[k][0]:.0e} ({_relative_to_plain(row, k):.2f})" for k in ("output", "gradient"))
                )
        rows.append([layer, dtype, *cells])
    worst = max(_relative_to_plain(row, key) for row in errors for key in ("output", "gradient"))
    table = markdown(("layer", "precision", *(f"{scale:.0e}" for scale in scales)), rows)
    return (
        "Relative errors of output / gradients for inputs of each scale (in brackets: divided by those of the plain "
        "loop)\n\n"
        f"{table}\n\nAt most {worst:.2f} times those of the plain loop."
    )


def _relative_to_plain(row: dict[str, Any], key: str) -> float:
    ours, plain = row[key]
    return ours / plain if plain else (1.0 if ours == 0 else math.inf)


def exponents_table(result: dict[str, Any]) -> str:
    """Formats the fitted exponents: one row per axis, one column per quantity and implementation."""
    axes = result["axes"]
    columns = [(quantity, name) for quantity, by_name in _quantities(next(iter(axes.values()))) for name in by_name]
    rows = [
        [
            f"{axis}, {a['values'][0]} to {a['values'][-1]}",
            *(f"{exponent(a['values'], a[q][n]):.2f}" for q, n in columns),
        ]
        for axis, a in axes.items()
    ]
    return markdown(("axis", *(f"{name}, {quantity}" for quantity, name in columns)), rows)


def streams_table(result: dict[str, Any]) -> str:
    """Formats the throughput: one row per case, one column per number of threads and of streams."""
    cells: dict[str, dict[str, str]] = {}
    for row in result["streams"]:
        column = f"{row['threads']} × {row['streams']}"
        cells.setdefault(row["title"], {})[column] = f"{row['frames_per_second']:,.0f}"
    columns = list(next(iter(cells.values())))
    return markdown(("frames per second", *columns), [[title, *by.values()] for title, by in cells.items()])


def _quantities(axis: dict[str, Any]) -> list[tuple[str, dict[str, list[float]]]]:
    return [(quantity, axis[quantity]) for quantity in (*TASKS, "memory") if quantity in axis]


def scaling_chart(result: dict[str, Any], path: Path) -> None:
    """Plots seconds and bytes over each axis on logarithmic scales, with the fitted exponents, and writes a PNG."""
    axes = result["axes"]
    quantities = [quantity for quantity, _ in _quantities(next(iter(axes.values())))]
    figure = Figure(figsize=(3.2 * len(axes), 2.6 * len(quantities)), layout="constrained")
    panels = figure.subplots(len(quantities), len(axes), squeeze=False, sharey="row")
    for row, quantity in zip(panels, quantities, strict=True):
        unit, divisor = ("MiB", 2**20) if quantity == "memory" else ("ms", 1e-3)
        row[0].set_ylabel(f"{quantity}, {unit}")
        for panel, (axis, a) in zip(row, axes.items(), strict=True):
            for name, measured in a[quantity].items():
                label = f"{name}: {exponent(a['values'], measured):.2f}"
                panel.loglog(a["values"], [m / divisor for m in measured], "o-", markersize=3, label=label)
            panel.set_xlabel(axis)
            panel.set_xticks(a["values"], map(str, a["values"]))
            panel.set_xticks([], minor=True)
            panel.legend(title="exponent", loc="upper left", fontsize=7, title_fontsize=7, frameon=False)
            panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


SHOWN = {
    "two convolutions": "pytorch_convolutional_rnn (two convolutions a step)",
    "one convolution": "ConvLSTM_pytorch (one convolution a step)",
}
"""Implementations in the chart with the projects that compute as they do."""


def chart(result: dict[str, Any], path: Path) -> None:
    """Plots the speed-up over two other implementations as bars and writes a PNG."""
    cases = result["cases"][::-1]
    figure = Figure(figsize=(12, 0.5 * len(cases) + 2), layout="constrained")
    panels = figure.subplots(1, len(TASKS), sharey=True, squeeze=False)[0]
    height = 0.8 / len(SHOWN)
    for axes, task in zip(panels, TASKS, strict=True):
        for i, (name, title) in enumerate(reversed(SHOWN.items())):
            bars = [(y, ratios(c[task], "ours")[name]) for y, c in enumerate(cases) if name in c.get(task, {})]
            places = [y + (i - (len(SHOWN) - 1) / 2) * height for y, _ in bars]
            drawn = axes.barh(places, [speed for _, speed in bars], height, label=title)
            axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(range(len(cases)), [c["title"] for c in cases])
        axes.set_title(task)
        axes.set_xlabel("their time / ours (above 1: ours is faster)")
        axes.spines[["top", "right"]].set_visible(False)
    handles, titles = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], titles[::-1], loc="outside lower center", ncols=len(SHOWN), frameon=False)
    figure.savefig(path, dpi=120)
