"""Tables of models that other projects publish, and of their cost compared with the original code."""

import json
from pathlib import Path
from typing import Any

from convrnn_zoo.models import create_model
from convrnn_zoo.pretrained.published import PUBLISHED, count_unused_params

from .tables import markdown

MEASURED = Path(__file__).parent.parent / "benchmarks" / "published.json"
"""Results of ``python -m benchmarks.published``."""


def elsewhere(page: str) -> str:
    """Lists the names whose weights others publish, with size, address, licence and form."""
    rows = []
    for name, record in sorted(PUBLISHED.items()):
        model: Any = create_model(name, device="meta")
        size, unread = f"{sum(p.numel() for p in model.parameters()):,}", count_unused_params(model)
        size += f" ({unread:,} of them unused)" if unread else ""
        rows.append((f"`{name}`", size, f"<{record.where}>", record.license, record.form, f"`{record.command}`"))
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
