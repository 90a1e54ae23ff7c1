"""The numbers as a table and as a chart."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from convrnn_zoo._extras import need
from convrnn_zoo._whole import whole

from .measure import TASKS, ratios
from .shares import KINDS

_BEST, _BEST_COMPILED = "fastest peer", "fastest compiled peer"


def _schemes(result: dict[str, Any], task: str) -> list[str]:
    names = {name: None for case in result["cases"] for name in case.get(task, {})}
    return [name for name in names if name != "ours"]


def fastest_peers(times: dict[str, Any], of: str) -> dict[str, float]:
    """The time of the fastest peer, and of the fastest under torch.compile, over that of `of`."""
    found: dict[str, list[float]] = {}
    for name, quotient in ratios(times, of).items():
        if not name.startswith(("ours", "floor")):
            found.setdefault(_BEST_COMPILED if name.endswith(" compiled") else _BEST, []).append(quotient)
    return {name: min(quotients) for name, quotients in found.items()}


def table(result: dict[str, Any], tasks: Sequence[str] = tuple(TASKS)) -> str:
    """Markdown: a line a case; how many times as fast `ours` is as each other scheme."""
    m, parts = result["machine"], []
    for task in tasks:
        cases = [case for case in result["cases"] if case.get(task)]
        quotients = [{**fastest_peers(c[task], "ours"), **ratios(c[task], "ours")} for c in cases]
        best = [name for name in (_BEST, _BEST_COMPILED) if any(name in q for q in quotients)]
        names = [*best, *_schemes(result, task)]
        rows = [["case", "ours, ms", *names]]
        for case, q in zip(cases, quotients, strict=True):
            cells = [f"{q[n]:.2f}" if n in q else "–" for n in names]
            rows.append([case["title"], f"{median(case[task]['ours']) * 1e3:.1f}", *cells])
        rows.append(["geometric mean", "", *(f"{_mean([q[n] for q in quotients if n in q]):.2f}" for n in names)])
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        parts.append(
            f"{task.capitalize()}: time of each scheme over ours (above 1: ours is faster)\n\n" + "\n".join(lines)
        )
        fused = [fastest_peers(c[task], "ours fused") for c in cases if "ours fused" in c[task]]
        for name in best:
            if over := [q[name] for q in fused if name in q]:
                parts.append(
                    f"{task.capitalize()}: time of the {name} over ours fused: {min(over):.2f} to {max(over):.2f}, "
                    f"geometric mean {_mean(over):.2f}."
                )
    if any("peak_bytes" in case for case in result["cases"]):
        parts.append(_memory(result))
    if any("shares" in case for case in result["cases"]):
        parts.append(_shares(result))
    parts.append(
        f"{m['processor']}, {m['threads']} threads, torch {m['torch']}, convrnn_zoo {m['convrnn_zoo']}; medians of "
        f"{result['rounds']} interleaved runs, {m['clock']} clock."
    )
    return "\n\n".join(parts)


def _mean(quotients: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, quotients)) / len(quotients)) if quotients else math.nan


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


def _shares(result: dict[str, Any]) -> str:
    cases = [case for case in result["cases"] if "shares" in case]
    columns = [(task, scheme) for task, of in cases[0]["shares"].items() for scheme in of]
    rows = ["| case | " + " | ".join(f"{scheme}, {task}" for task, scheme in columns) + " |"]
    rows.append("|---" * (len(columns) + 1) + "|")
    for case in cases:
        cells = [" / ".join(f"{100 * part:.0f}" for part in case["shares"][task][scheme]) for task, scheme in columns]
        rows.append("| " + " | ".join([case["title"], *cells]) + " |")
    return f"Where the time goes, % of it: {' / '.join(KINDS)}\n\n" + "\n".join(rows)


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
