"""Tables of models that other projects publish, and of their cost compared with the original code."""

import json
import re
from pathlib import Path
from typing import Any

from convrnn_zoo.models import create_model
from convrnn_zoo.pretrained.published import PUBLISHED
from convrnn_zoo.pretrained.registry import entry_points

from .tables import markdown

MEASURED = Path(__file__).parent.parent / "benchmarks" / "published.json"
"""Results of ``python -m benchmarks.published``."""
OPENSTL = Path(__file__).parent / "openstl.json"
"""Scores that OpenSTL publishes on Moving MNIST, by number of epochs and name."""

_PUBLISHED = re.compile(r"((?:Published|A public reproduction)\b.*?\.)(?= [A-Z]|$)")


def elsewhere(page: str) -> str:
    """Lists the models whose weights others publish, with their size, address, licence and file format."""
    rows = []
    for name, published in sorted(PUBLISHED.items()):
        model: Any = create_model(name, device="meta")
        size = f"{sum(p.numel() for p in model.parameters()):,}"
        rows.append(
            (f"`{name}`", size, f"<{published.where}>", published.license, published.form, f"`{published.command}`")
        )
    return markdown(("name", "parameters", "address of the weights", "licence", "form", "to convert the file"), rows)


def published_speed(page: str) -> str:
    """Lists time and memory of a forecast and a training step, compared with the original code."""
    result = json.loads(MEASURED.read_text(encoding="utf-8"))
    rows: list[tuple[object, ...]] = []
    for name, network in result["networks"].items():
        for implementation, suffix in (
            ("ours", ""),
            ("recomputing", ", recomputing"),
            ("original", ", the original code"),
        ):
            if implementation in network["peak"]:
                times = [network["seconds"][task].get(implementation) for task in ("inference", "training")]
                seconds = ["–" if t is None else f"{t:.2f}" for t in times]
                rows.append((f"`{name}`{suffix}", *seconds, f"{network['peak'][implementation] / 2**20:,.0f}"))
    machine = result["machine"]
    cases = "; ".join(
        f"`{name}` {n['inputs']} frames of {n['size']}² to {n['horizon']}"
        + (f" ({n['rounds']} runs)" if "rounds" in n else "")
        for name, n in result["networks"].items()
    )
    return (
        f"{markdown(('', 'a forecast, s', 'a training step, s', 'memory of the step, MiB'), rows)}\n\n"
        f"One sequence, float32, {machine['threads']} thread of {machine['processor']}, torch {machine['torch']}, "
        f"medians of {result['rounds']} interleaved runs, processor time: {cases}."
    )


def openstl_scores(page: str) -> str:
    """Lists the scores that OpenSTL publishes for both training budgets."""
    published = json.loads(OPENSTL.read_text(encoding="utf-8"))
    metrics = {"MSE": ".2f", "MAE": ".2f", "SSIM": ".4f"}
    rows = []
    for name in sorted(published["200"]):
        budgets = [published[epochs].get(name) for epochs in ("200", "2000")]
        rows.append((f"`{name}`", *(format(b[m], f) if b else "–" for b in budgets for m, f in metrics.items())))
    return markdown(("name", *(f"{m}, {epochs} epochs" for epochs in ("200", "2,000") for m in metrics)), rows)


def paper_scores(page: str) -> str:
    """Lists the scores that papers and a reproduction publish for other networks, from their docstrings."""
    rows = []
    for name, function in sorted(entry_points().items()):
        for sentence in _PUBLISHED.findall(" ".join(str(function.__doc__).split())):
            if "Moving MNIST" not in sentence:
                rows.append((f"`{name}`", re.sub(r"^Published, ", "", sentence).rstrip(".")))
    return markdown(("name", "published"), rows)
