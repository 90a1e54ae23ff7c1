"""Tables of models that other projects publish, and of their cost compared with the original code."""

import json
import re
from pathlib import Path

from benchmarks.tables import markdown
from convrnn_zoo import create_model
from convrnn_zoo.pretrained.published import PUBLISHED, Published
from convrnn_zoo.pretrained.registry import entry_points
from references.earthnet import table as score_table

MEASURED = Path(__file__).parent.parent / "benchmarks" / "published.json"
"""Results of ``python -m benchmarks.published``."""
EARTHNET = Path(__file__).parent / "earthnet.json"
"""Scores of EarthNet2021's test cubes, from ``python -m references.earthnet``."""
OPENSTL = Path(__file__).parent / "openstl.json"
"""Scores that OpenSTL publishes on Moving MNIST, by number of epochs and name."""

_PUBLISHED = re.compile(r"((?:Published|A public reproduction)\b.*?\.)(?= [A-Z]|$)")


def elsewhere(page: str) -> str:
    """Lists the architectures whose weights others publish: task, owner, licence, size of a file, and check."""
    rows = []
    for name, sets in _by_architecture().items():
        sizes = [p.size for p in sets if p.size]
        size = " to ".join(dict.fromkeys(f"{of(sizes) / 1e6:.1f}" for of in (min, max))) if sizes else _about(sets[0])
        columns = [(p.task for p in sets), (p.owner for p in sets), (p.license_text for p in sets)]
        verified = "file" if all(_is_file_verified(p) for p in sets) else "network"
        rows.append(
            (
                f"[`{name}`](#{name})",
                *("; ".join(dict.fromkeys(c)) for c in columns),
                f"{size} MB".replace(" ", "\u00a0"),
                verified,
            )
        )
    return markdown(("name", "task", "owner", "licence", "size", "verified"), rows)


def published_sets(page: str) -> str:
    """Writes a section for each architecture whose weights others publish: metadata, and the names of the sets."""
    parts = []
    for name, sets in _by_architecture().items():
        groups: dict[str, list[Published]] = {}
        for p in sets:
            groups.setdefault(_metadata(p), []).append(p)
        parts.append(f"### {name}")
        for text, group in groups.items():
            rows = [(f"[`{p.tag}`]({p.where})", p.dataset, f"{p.size / 1e6:,.1f} MB" if p.size else "–") for p in group]
            parts += [text, markdown(("tag", "trained on", "size"), rows)]
    return "\n\n".join(parts)


def _by_architecture() -> dict[str, list[Published]]:
    sets: dict[str, list[Published]] = {}
    for p in PUBLISHED.values():
        sets.setdefault(p.architecture, []).append(p)
    return dict(sorted(sets.items()))


def _about(p: Published) -> str:
    """Returns the size of the network in MB, for a file whose size nobody states."""
    model = create_model(p.architecture, device="meta", **p.model_args)
    return f"about {sum(w.numel() for w in model.parameters()) * 4 / 1e6:.0f}"


def _is_file_verified(p: Published) -> bool:
    return p.verified.startswith("the published file")


def _metadata(p: Published) -> str:
    """Formats the fields of a set that its architecture's other sets often share."""
    fields = {
        "Paper": f"[{p.paper}]({p.paper_url})",
        "Owner": p.owner,
        "Licence": f"{p.license_text}; {p.license_source}",
        "Verified": p.verified,
        "Not verified": p.unverified,
        "Difference from the original": p.difference,
        "Score on real data": p.score,
        "Limitations": p.remarks,
    }
    return "\n".join(f"* {title}: {text}" for title, text in fields.items() if text)


def earthnet(page: str) -> str:
    """Lists the mean scores of the published networks and of baselines on test cubes of EarthNet2021."""
    header, *rows = score_table(json.loads(EARTHNET.read_text(encoding="utf-8")))
    return markdown(header, [(f"`{name}`" if name in entry_points() else name, *others) for name, *others in rows])


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
        f"`{name}` {n['inputs']} frames of {n['size']}²"
        + (f" to {n['horizon']}" if n["horizon"] else "")
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
