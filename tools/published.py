"""Parts of the page on models that others publish: their table, and what their networks cost beside the originals."""

import json
from pathlib import Path
from typing import Any

from convrnn_zoo.models import create_model
from convrnn_zoo.pretrained.published import PUBLISHED, unread_parameters

from .tables import markdown

MEASURED = Path(__file__).parent.parent / "benchmarks" / "published.json"
"""What ``python -m benchmarks.published`` wrote."""


def elsewhere(page: str) -> str:
    """A row a name whose weights others publish: its size, where they lie, under which licence, in what form."""
    rows = []
    for name, record in sorted(PUBLISHED.items()):
        model: Any = create_model(name, device="meta")
        size, unread = f"{sum(p.numel() for p in model.parameters()):,}", unread_parameters(model)
        size += f" ({unread:,} of them read by nothing)" if unread else ""
        rows.append((f"`{name}`", size, f"<{record.where}>", record.license, record.form, f"`{record.command}`"))
    return markdown(("name", "parameters", "where the weights lie", "licence", "form", "to convert the file"), rows)


def published_speed(page: str) -> str:
    """A row a network: a forecast and a training step, beside the original's, in seconds and in memory."""
    result = json.loads(MEASURED.read_text(encoding="utf-8"))
    rows: list[tuple[object, ...]] = []
    for name, network in result["networks"].items():
        for scheme, told in (("ours", ""), ("recomputing", ", recomputing"), ("original", ", the original code")):
            if scheme in network["peak"]:
                times = [network["seconds"][task].get(scheme) for task in ("inference", "training")]
                seconds = ["–" if t is None else f"{t:.2f}" for t in times]
                rows.append((f"`{name}`{told}", *seconds, f"{network['peak'][scheme] / 2**20:,.0f}"))
    machine = result["machine"]
    cases = "; ".join(
        f"`{name}` {n['inputs']} frames of {n['size']}² to {n['horizon']}"
        + (f" ({n['rounds']} runs)" if "rounds" in n else "")
        for name, n in result["networks"].items()
    )
    return (
        f"{markdown(('', 'a forecast, s', 'a training step, s', 'memory of the step, MiB'), rows)}\n\n"
        f"One sequence, float32, {machine['threads']} thread of {machine['processor']}, torch {machine['torch']}, "
        f"medians of {result['rounds']} runs in turn, time of the processor: {cases}."
    )
