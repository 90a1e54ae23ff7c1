"""The numbers as a table and as a chart."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from convrnn_zoo._extras import need
from convrnn_zoo._whole import whole

from .measure import TASKS, ratios

_BEST = "fastest peer"


def _schemes(result: dict[str, Any], task: str) -> list[str]:
    names = {name: None for case in result["cases"] for name in case.get(task, {})}
    return [name for name in names if name != "ours"]


def table(result: dict[str, Any], tasks: Sequence[str] = tuple(TASKS)) -> str:
    """Markdown: a line a case; how many times as fast `ours` is as each other scheme."""
    m, parts = result["machine"], []
    for task in tasks:
        others = _schemes(result, task)
        lines = [["case", "ours, ms", _BEST, *others]]
        logs: dict[str, list[float]] = {name: [] for name in [_BEST, *others]}
        for case in result["cases"]:
            times = case.get(task)
            if not times:
                continue
            quotients = ratios(times, "ours")
            peers = [q for name, q in quotients.items() if not name.startswith(("ours", "floor"))]
            if peers:
                quotients[_BEST] = min(peers)
            for name, q in quotients.items():
                logs[name].append(math.log(q))
            cells = [f"{quotients[n]:.2f}" if n in quotients else "–" for n in logs]
            lines.append([case["title"], f"{median(times['ours']) * 1e3:.1f}", *cells])
        means = [f"{math.exp(sum(v) / len(v)):.2f}" if v else "–" for v in logs.values()]
        lines.append(["geometric mean", "", *means])
        rows = ["| " + " | ".join(line) + " |" for line in lines]
        rows.insert(1, "|---" * len(lines[0]) + "|")
        parts.append(
            f"{task.capitalize()}: time of each scheme over ours (above 1: ours is faster)\n\n" + "\n".join(rows)
        )
    if any("peak_bytes" in case for case in result["cases"]):
        parts.append(_memory(result))
    parts.append(
        f"{m['processor']}, {m['threads']} threads, torch {m['torch']}, convrnn_zoo {m['convrnn_zoo']}; medians of "
        f"{result['rounds']} interleaved runs, {m['clock']} clock."
    )
    return "\n\n".join(parts)


def _memory(result: dict[str, Any]) -> str:
    cases = [case for case in result["cases"] if "peak_bytes" in case]
    names = list({name: None for case in cases for name in case["peak_bytes"]})
    rows = ["| case | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case in cases:
        peaks = case["peak_bytes"]
        rows.append(
            f"| {case['title']} | " + " | ".join(f"{peaks[n] / 2**20:.0f}" if n in peaks else "–" for n in names) + " |"
        )
    return "Peak memory of a training step, MiB above inputs and weights\n\n" + "\n".join(rows)


def steps_chart(result: dict[str, Any], path: Path) -> None:
    """Seconds over steps, both axes logarithmic, beside a line of slope one, written to `path` (PNG)."""
    axes = (figure := _figure(6, 4)).subplots()
    for task, seconds in result["seconds_over_steps"].items():
        steps, times = [int(t) for t in seconds], list(seconds.values())
        axes.loglog(steps, times, "o-", label=task)
        axes.loglog(steps, [times[0] * t / steps[0] for t in steps], "k:", linewidth=0.8)
    axes.set_xlabel("steps")
    axes.set_ylabel("seconds (dotted: in proportion to the first)")
    axes.legend()
    _save(figure, path)


def chart(result: dict[str, Any], path: Path) -> None:
    """The table as bars, written to `path` (PNG)."""
    figure = _figure(12, 4 * len(TASKS))
    for axes, task in zip(figure.subplots(len(TASKS), squeeze=False)[:, 0], TASKS, strict=True):
        cases = [case for case in result["cases"] if task in case]
        others = _schemes(result, task)
        width = 0.8 / max(1, len(others))
        for i, name in enumerate(others):
            speeds = [1 / ratios(c[task], "ours")[name] if name in c[task] else 0 for c in cases]
            axes.bar([x + i * width for x in range(len(cases))], speeds, width, label=name)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xticks([x + 0.4 - width / 2 for x in range(len(cases))], [c["name"] for c in cases])
        axes.set_ylabel(f"{task}: speed, ours = 1")
        axes.legend(fontsize="small", ncols=3)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    figure: Any = need("matplotlib.figure", "draw").Figure
    return figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
