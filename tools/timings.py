"""Tables of the benchmarks, from the files that they write, for :mod:`tools.docs`."""

import json
import os.path
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.tables import markdown
from convrnn_zoo.values.units import plural

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "benchmarks" / "measured.json"
"""The ``bench.json`` that the page on speed shows."""
NORMS, MINIMAL, TORCHGEO, HALF, TASKS, ARCHIVE, NOWCASTS = (
    ROOT / "benchmarks" / f"{name}.json"
    for name in ("norms", "minimal", "torchgeo", "half", "tasks", "archive", "nowcasts")
)
SCALING, DEVICES = ROOT / "benchmarks" / "scaling.json", ROOT / "benchmarks" / "devices"
"""Results of ``python -m benchmarks.comparisons NAME``, ``benchmarks.tasks``, ``benchmarks.archive``,
``benchmarks --scaling``, and the reports of ``benchmarks.device``."""
_PEERS = {"fastest peer": "fastest other", "fastest compiled peer": "fastest compiled"}


def recorded(file: Path) -> Any:
    """Returns the results in a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def link(target: str, page: str) -> str:
    """Returns the path of a file relative to a page; both are given relative to the repository."""
    return os.path.relpath(target, os.path.dirname(page))


def speed(page: str) -> str:
    """Formats all tables of the published benchmark run."""
    return report.table(recorded(MEASURED))


def speed_summary(page: str) -> str:
    """Lists, per shape, the time of our layer and the relative time of the fastest other implementation."""
    rows: list[tuple[object, ...]] = []
    cases = recorded(MEASURED)["cases"]
    peers = {k: t for k, t in _PEERS.items() if all(k in report.fastest_peers(case["inference"]) for case in cases)}
    for case in cases:
        row: list[object] = [case["title"]]
        for task in ("inference", "training"):
            fastest = report.fastest_peers(case[task])
            row += [f"{1e3 * median(case[task]['ours']):.1f}", *(f"{fastest[k]:.2f}" for k in peers)]
        rows.append(tuple(row))
    titles = ("ms", *peers.values())
    return markdown(("shape", *(f"{task}, {t}" for task in ("inference", "training") for t in titles)), rows)


def speed_line(page: str) -> str:
    """States how much longer the fastest other implementation takes, for readers who decide within a minute."""
    cases = recorded(MEASURED)["cases"]
    times = [report.fastest_peers(case["inference"])["fastest peer"] for case in cases]
    untested = "" if _accelerators() else " GPUs were not measured yet."
    return (
        f"The fastest other implementation takes {median(times):.2f} times as long as ours, in inference on a CPU "
        f"(median of {len(cases)} shapes; [training, compiled code]({link('docs/project/speed.md', page)})).{untested}"
    )


def compared(page: str) -> str:
    """States the time of other packages relative to ours in inference: median and range over shapes."""
    cases, geo = recorded(MEASURED)["cases"], recorded(TORCHGEO)["cases"]
    implementations = {
        "Keras": (cases, "keras"),
        "TorchGeo": (geo, "torchgeo"),
        "a loop as in ConvLSTM_pytorch": (cases, "one convolution"),
        "a loop as in pytorch_convolutional_rnn": (cases, "two convolutions"),
    }
    parts = []
    for title, (shapes, name) in implementations.items():
        times = [s["inference"] for s in shapes if name in s["inference"]]
        ratios = [_median(t[name]) / _median(t["ours"]) for t in times]
        parts.append(f"{title} {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    return (
        f"Time in inference on a CPU as a multiple of ours, median and range over shapes: {'; '.join(parts)}. "
        f"[All measurements]({link('docs/project/measurements.md', page)}), also of training and compiled code."
    )


def _median(times: Any) -> float:
    return float(median(times) if isinstance(times, list) else times)


def machine(page: str) -> str:
    """Describes the machine of the benchmark."""
    result = recorded(MEASURED)
    m = result["machine"]
    return (
        f"Measured on {m['processor']} with {m['threads']} threads and torch {m['torch']}; each time is the median of "
        f"{result['rounds']} runs, the implementations taking turns."
    )


def norms(page: str) -> str:
    """Lists the time of layers with norms relative to layers without, per shape."""
    return _relative_times(NORMS, "plain", {"layer": "layer norm", "group": "group norm"})


def minimal(page: str) -> str:
    """Lists the time of minimal layers relative to a GRU, per number of steps."""
    return _relative_times(MINIMAL, "GRU", {kind: kind for kind in ("MinGRU", "MinLSTM", "MinExpLSTM")})


def torchgeo(page: str) -> str:
    """Lists the time of TorchGeo's ConvLSTM relative to ours, per shape."""
    return _relative_times(TORCHGEO, "ours", {"torchgeo": "TorchGeo"})


def half(page: str) -> str:
    """Lists the time of layers in bfloat16 relative to float32, per shape."""
    return _relative_times(HALF, "float32", {"autocast": "autocast", "bfloat16 weights": "weights"})


def tasks(page: str) -> str:
    """Lists the processor time of whole tasks: cold, with the share of each part, and warm."""
    result = recorded(TASKS)
    parts = {"imports": ("torch and timm", "convrnn_zoo"), "preparation": ("preparation",), "first run": ("first run",)}
    rows = []
    for task in result["tasks"]:
        shares = [sum(task[name] for name in names) for names in parts.values()]
        cold = sum(shares)
        rows.append(
            (
                task["title"],
                f"{cold:.1f}",
                *(f"{share / cold:.0%}" for share in shares),
                f"{task['again']:.2g}" if "again" in task else "–",
            )
        )
    m = result["machine"]
    caption = (
        f"`python -m benchmarks.tasks` on {m['processor']} with torch {m['torch']}, 1 thread, processor time; the "
        f"least of {result['rounds']} process{'es' * (result['rounds'] > 1)}, next to other programs."
    )
    return f"{markdown(('task', 'cold, s', *parts, 'warm, s'), rows)}\n\n{caption}"


def large_nowcasts(page: str) -> str:
    """Lists the time and memory of nowcasts of large maps."""
    result = recorded(NOWCASTS)
    rows = [
        (
            f"{case['height']:,} × {case['width']:,}",
            case["title"],
            case["threads"],
            f"{case['seconds']:.0f}",
            f"{case['mib'] / 1024:.1f}",
        )
        for case in result["cases"]
    ]
    m, rounds = result["machine"], result["rounds"]
    caption = (
        f"`python -m benchmarks.nowcasts` on {m['processor']} with torch {m['torch']}, next to other programs; the "
        f"least of {rounds} process{'es' * (rounds > 1)}."
    )
    table = markdown(("pixels", "12 frames of", "threads", "processor time, s", "GiB above the imports"), rows)
    return f"{table}\n\n{caption}"


def _reports() -> list[Any]:
    return [recorded(file) for file in sorted(DEVICES.glob("*.json"))]


def _accelerators() -> list[Any]:
    return [r for r in _reports() if r["machine"]["device"] != "cpu"]


def device_status(page: str) -> str:
    """States which accelerators were tested and measured."""
    where, how = link("docs/project/devices.md", page), link("docs/how-to/gpu.md", page)
    names = [f"{r['machine']['name']} (torch {r['machine']['torch']})" for r in _accelerators()]
    if names:
        return f"* **GPUs.** There are reports of {', '.join(names)}: see [Devices]({where}). Others were not tested."
    return (
        "* **GPUs and Apple's MPS.** There is no report of one yet. On a simulated accelerator, all results are on the "
        f"device of the input, and layers never wait for it ([Devices]({where})). Speed and rounding of real ones are "
        f"unknown: [test yours]({how})."
    )


def devices(page: str) -> str:
    """Lists the reports, then the times of layers and tasks of each."""
    rows, parts = [], []
    for r in _reports():
        m, tests = r["machine"], r["tests"] or {}
        done = ", ".join(f"{tests[k]} {k}" for k in ("passed", "failed", "xfailed") if k in tests) or "not run"
        rows.append((m["name"], m["device"], m["torch"], m["system"], done))
        clock = "processor time" if m["clock"] == "cpu" else "wall time"
        load = "" if m["load"] is None else f", at a load average of {m['load']:.0f} before the start"
        threads = f"{m['threads']} thread{'s' * (m['threads'] > 1)}"
        caption = f"torch {m['torch']}, {threads}, {clock}{load}; medians of {r['rounds']} calls."
        timed = [_task_times(r["tasks"])] if r["tasks"] else []
        tables = "\n\n".join((caption, _layer_times(r["layers"]), *timed))
        parts.append(f"<details markdown>\n<summary>{m['name']}</summary>\n\n{tables}\n\n</details>")
    return "\n\n".join((markdown(("device", "type", "torch", "system", "tests"), rows), *parts))


def _task_times(rows: list[Any]) -> str:
    table = {"task": [r["title"] for r in rows], "seconds": [_seconds(r) for r in rows]}
    if any("peak_bytes" in r for r in rows):
        table["MiB"] = [_mebibytes(r) for r in rows]
    return markdown(tuple(table), list(zip(*table.values(), strict=True)))


def _seconds(row: Any, factor: float = 1) -> str:
    return f"{factor * row['seconds']:.3g}" if "seconds" in row else row["error"].partition("\n")[0].replace("|", " ")


def _mebibytes(row: Any) -> str:
    return f"{row['peak_bytes'] / 2**20:.3g}" if "peak_bytes" in row else "–"


def _layer_times(rows: list[Any]) -> str:
    """Formats time and peak memory of our layer, and those of other ways to compute the same relative to it."""
    ours = "ours", "float32", "eager"
    leanest = [(name, "float32", "eager") for name in ("one convolution", "two convolutions")]
    columns = {
        "leanest loop": ("seconds", leanest),
        "dense LSTM": ("seconds", [("dense LSTM", "float32", "eager")]),
        "compiled": ("seconds", [("ours", "float32", "compiled")]),
        "graph": ("seconds", [("ours", "float32", "graph")]),
        "TF32": ("seconds", [("ours", "tf32", "eager")]),
        "bfloat16": ("seconds", [("ours", "bfloat16", "eager")]),
        "memory of the leanest loop": ("peak_bytes", leanest),
    }
    cases: dict[str, dict[Any, Any]] = {}
    for r in rows:
        cases.setdefault(f"{r['title']}, {r['task']}", {})[r["implementation"], r["precision"], r["mode"]] = r
    table = {"shape": list(cases), "ours, ms": [_seconds(ways[ours], 1e3) for ways in cases.values()]}
    if any("peak_bytes" in r for r in rows):
        table["ours, MiB"] = [_mebibytes(ways[ours]) for ways in cases.values()]
    for title, (field, keys) in columns.items():
        values = []
        for ways in cases.values():
            found = [ways[k][field] for k in keys if field in ways.get(k, ())]
            values.append(f"{min(found) / ways[ours][field]:.2f}" if found and field in ways[ours] else "–")
        if {*values} != {"–"}:
            table[title] = values
    return markdown(tuple(table), list(zip(*table.values(), strict=True)))


def scaling(page: str) -> str:
    """Lists the exponents of time and memory, and the throughput over threads and streams."""
    result = recorded(SCALING)
    m = result["machine"]
    clock = "processor time, measured next to other programs" if m["clock"] == "cpu" else "wall time"
    caption = (
        f"`python -m benchmarks --scaling` on {m['processor']} with torch {m['torch']}, {m['threads']} "
        f"thread{'s' * (m['threads'] > 1)}, {clock}; medians of {result['rounds']} runs in turn."
    )
    streams = "Memory, and threads and streams, were not measured yet."
    if result["streams"]:
        streams = (
            "Frames per second of all streams together. A stream is one sequence at a time, in a thread of Python; "
            f"2 × 4 are 2 threads of torch in each of 4 streams.\n\n{report.streams_table(result)}"
        )
    return f"{report.exponents_table(result)}\n\n{caption}\n\n{streams}"


def _relative_times(path: Path, base: str, columns: dict[str, str]) -> str:
    result, tasks = recorded(path), ("inference", "training")
    rows = [
        (case["title"], *(f"{case[task][name] / case[task][base]:.2f}" for task in tasks for name in columns))
        for case in result["cases"]
    ]
    header = ("shape", *(f"{title}, {task}" for task in tasks for title in columns.values()))
    threads, clock = result["threads"], "processor" if result["clock"] == "cpu" else "wall"
    caption = (
        f"`python -m benchmarks.comparisons {path.stem}` with torch {result['torch']}, {threads} "
        f"thread{'s' * (threads > 1)}, {clock} time; medians of {result['rounds']} runs in turn."
    )
    return f"{markdown(header, rows)}\n\n{caption}"


def archive(page: str) -> str:
    """Lists forecasts of an archive per second and the processor time of each, by the number of workers."""
    if not ARCHIVE.exists():
        return "Not measured yet; `python -m benchmarks.archive` writes this table."
    data = recorded(ARCHIVE)
    ways = list(next(iter(data["seconds"].values())))
    rows = [
        (
            f"`{model}`",
            *(
                f"{data['forecasts'] / times[w]:.2g} ({cpu / data['forecasts']:.2g} s)"
                for w, cpu in data["processor_time"][model].items()
            ),
        )
        for model, times in data["seconds"].items()
    ]
    loads = " to ".join(f"{x:.0f}" for x in data["load"])
    text = (
        f"Forecasts per second, and in brackets the processor time per forecast in all processes, medians of "
        f"{plural(data['repeats'], 'round')}, for maps of "
        f"{data['size'][0]} × {data['size'][1]} pixels and {data['batch_size']} issue times a task, on "
        f"{data['cores']} cores with a load average of {loads}, this benchmark included. A task costs the scheduler "
        f"and the worker {1000 * data['task']:.1f} ms of processor time. "
        "`python -m benchmarks.archive` measures it.\n"
    )
    return f"{text}\n{markdown(('weights', *ways), rows)}"
