"""Tables of measurements, from the files that the programs of ``benchmarks`` and ``references`` write."""

import json
import os.path
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from benchmarks import report
from benchmarks.measure import TASKS
from benchmarks.tables import markdown, table
from convrnn_zoo.values.units import plural

ROOT = Path(__file__).parent.parent
DEVICES = ROOT / "benchmarks" / "devices"
"""Reports of ``python -m benchmarks.device``."""


def recorded(file: str) -> Any:
    """Returns the results in a JSON file, by its path in the repository."""
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def link(target: str, page: str) -> str:
    """Returns the path of a file relative to a page; both are given relative to the repository."""
    return os.path.relpath(target, os.path.dirname(page))


# ---- layers ----------------------------------------------------------------------------------------------------
MEASURED = "benchmarks/measured.json"
"""The ``bench.json`` that the page on speed shows."""


def speed(page: str) -> str:
    """Formats all tables of the published benchmark run."""
    return report.table(recorded(MEASURED))


def speed_summary(page: str) -> str:
    """Lists, per shape, the time of our layer and the relative time of the fastest other implementation."""
    rows: list[dict[str, Any]] = []
    for case in recorded(MEASURED)["cases"]:
        rows.append({"shape": case["title"]})
        for task in TASKS:
            fastest = report.fastest_peers(case[task])
            rows[-1][f"{task}, ms"] = f"{1e3 * median(case[task]['ours']):.1f}"
            rows[-1][f"{task}, fastest other"] = f"{fastest['fastest peer']:.2f}"
            rows[-1][f"{task}, fastest compiled"] = f"{fastest['fastest compiled peer']:.2f}"
    return markdown(tuple(rows[0]), [tuple(row.values()) for row in rows])


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
    cases, geo = recorded(MEASURED)["cases"], recorded("benchmarks/torchgeo.json")["cases"]
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
    return (
        "Measured on {machine[processor]} with {machine[threads]} threads and torch {machine[torch]}; each time is the "
        "median of {rounds} runs, the implementations taking turns."
    ).format_map(recorded(MEASURED))


def _relative_times(name: str, base: str, columns: dict[str, str], page: str) -> str:
    """Lists the times of implementations relative to that of `base`, per shape."""
    result = recorded(f"benchmarks/{name}.json")
    cells: dict[str, Any] = {"shape": "{title}"}
    for task in TASKS:
        for key, title in columns.items():
            cells[f"{title}, {task}"] = lambda case, t=task, key=key: f"{case[t][key] / case[t][base]:.2f}"
    return (
        f"{table(result['cases'], cells)}\n\n`python -m benchmarks.comparisons {name}` with torch {result['torch']}, "
        f"{plural(result['threads'], 'thread')}, {'processor' if result['clock'] == 'cpu' else 'wall'} time; medians "
        f"of {result['rounds']} runs in turn."
    )


norms = partial(_relative_times, "norms", "plain", {"layer": "layer norm", "group": "group norm"})
minimal = partial(_relative_times, "minimal", "GRU", {kind: kind for kind in ("MinGRU", "MinLSTM", "MinExpLSTM")})
torchgeo = partial(_relative_times, "torchgeo", "ours", {"torchgeo": "TorchGeo"})
half = partial(_relative_times, "half", "float32", {"autocast": "autocast", "bfloat16 weights": "weights"})


def scaling(page: str) -> str:
    """Lists the exponents of time and memory, and the throughput over threads and streams."""
    result = recorded("benchmarks/scaling.json")
    m = result["machine"]
    clock = "processor time, measured next to other programs" if m["clock"] == "cpu" else "wall time"
    return (
        f"{report.exponents_table(result)}\n\n`python -m benchmarks --scaling` on {m['processor']} with torch "
        f"{m['torch']}, {plural(m['threads'], 'thread')}, {clock}; medians of {result['rounds']} runs in turn.\n\n"
        "Frames per second of all streams together. A stream is one sequence at a time, in a thread of Python; "
        f"2 × 4 are 2 threads of torch in each of 4 streams.\n\n{report.streams_table(result)}"
    )


# ---- tasks -------------------------------------------------------------------------------------------------------
def tasks(page: str) -> str:
    """Lists the processor time of whole tasks: cold, with the share of each part, and warm."""
    result = recorded("benchmarks/tasks.json")
    rows = []
    for task in result["tasks"]:
        parts = {"imports": task["torch and timm"] + task["convrnn_zoo"]}
        parts |= {part: task[part] for part in ("preparation", "first run")}
        cold = sum(parts.values())
        rows.append({**task, "cold": cold, **{part: seconds / cold for part, seconds in parts.items()}})
    columns: dict[str, Any] = {"task": "{title}", "cold, s": "{cold:.1f}"}
    columns |= {part: f"{{{part}:.0%}}" for part in ("imports", "preparation", "first run")}
    columns["warm, s"] = lambda row: f"{row['again']:.2g}" if "again" in row else "–"
    return (
        f"{table(rows, columns)}\n\n`python -m benchmarks.tasks` on {result['machine']['processor']} with torch "
        f"{result['machine']['torch']}, 1 thread, processor time; the least of {_processes(result)}, next to other "
        "programs."
    )


def _processes(result: Any) -> str:
    return f"{result['rounds']} process{'es' * (result['rounds'] > 1)}"


def large_nowcasts(page: str) -> str:
    """Lists the time and memory of nowcasts of large maps."""
    result = recorded("benchmarks/nowcasts.json")
    columns: dict[str, Any] = {
        "pixels": "{height:,} × {width:,}",
        "12 frames of": "{title}",
        "threads": "{threads}",
        "processor time, s": "{seconds:.0f}",
        "GiB above the imports": lambda case: f"{case['mib'] / 1024:.1f}",
    }
    return (
        f"{table(result['cases'], columns)}\n\n`python -m benchmarks.nowcasts` on {result['machine']['processor']} "
        f"with torch {result['machine']['torch']}, next to other programs; the least of {_processes(result)}."
    )


def archive(page: str) -> str:
    """Lists forecasts of an archive per second and the processor time of each, by the number of workers."""
    data = recorded("benchmarks/archive.json")
    count = data["forecasts"]
    rows = [
        (
            f"`{model}`",
            *(f"{count / times[w]:.2g} ({cpu / count:.2g} s)" for w, cpu in data["processor_time"][model].items()),
        )
        for model, times in data["seconds"].items()
    ]
    loads = " to ".join(f"{x:.0f}" for x in data["load"])
    return (
        f"Forecasts per second, and in brackets the processor time per forecast in all processes, medians of "
        f"{plural(data['repeats'], 'round')}, for maps of {data['size'][0]} × {data['size'][1]} pixels and "
        f"{data['batch_size']} issue times a task, on {data['cores']} cores with a load average of {loads}, this "
        f"benchmark included. A task costs the scheduler and the worker {1000 * data['task']:.1f} ms of processor "
        "time. `python -m benchmarks.archive` measures it.\n\n"
        f"{markdown(('weights', *next(iter(data['seconds'].values()))), rows)}"
    )


def published_speed(page: str) -> str:
    """Lists time and memory of a forecast and a training step, compared with the original code."""
    result, rows = recorded("benchmarks/published.json"), []
    for name, network in result["networks"].items():
        for key, suffix in {"ours": "", "recomputing": ", recomputing", "original": ", the original code"}.items():
            if key in network["peak"]:
                times = [network["seconds"][task].get(key) for task in TASKS]
                seconds = ["–" if t is None else f"{t:.2f}" for t in times]
                rows.append((f"`{name}`{suffix}", *seconds, f"{network['peak'][key] / 2**20:,.0f}"))
    cases = "; ".join(
        f"`{name}` {n['inputs']} frames of {n['size']}²"
        + (f" to {n['horizon']}" if n["horizon"] else "")
        + (f" ({n['rounds']} runs)" if "rounds" in n else "")
        for name, n in result["networks"].items()
    )
    header = ("", "a forecast, s", "a training step, s", "memory of the step, MiB")
    return (
        f"{markdown(header, rows)}\n\nOne sequence, float32, {result['machine']['threads']} thread of "
        f"{result['machine']['processor']}, torch {result['machine']['torch']}, "
        f"medians of {result['rounds']} interleaved runs, processor time: {cases}."
    )


# ---- devices -----------------------------------------------------------------------------------------------------
def _reports() -> list[Any]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DEVICES.glob("*.json"))]


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
        load = "" if m["load"] is None else f", at a load average of {m['load']:.0f} before the start"
        caption = (
            f"torch {m['torch']}, {plural(m['threads'], 'thread')}, {'processor' if m['clock'] == 'cpu' else 'wall'} "
            f"time{load}; medians of {r['rounds']} calls."
        )
        timed = {"task": "{title}", "seconds": _seconds, "MiB": _mebibytes}
        tables = [caption, _layer_times(r["layers"]), *([_without_empty(r["tasks"], timed)] if r["tasks"] else [])]
        parts += [f"<details markdown>\n<summary>{m['name']}</summary>", *tables, "</details>"]
    return "\n\n".join((markdown(("device", "type", "torch", "system", "tests"), rows), *parts))


def _without_empty(rows: list[Any], columns: dict[str, Any]) -> str:
    """Formats a table without the columns that no row has a value for."""
    has_value = [title for title, c in columns.items() if isinstance(c, str) or {c(row) for row in rows} != {"–"}]
    return table(rows, {title: columns[title] for title in has_value})


def _seconds(row: Any, factor: float = 1) -> str:
    return f"{factor * row['seconds']:.3g}" if "seconds" in row else row["error"].partition("\n")[0].replace("|", " ")


def _mebibytes(row: Any) -> str:
    return f"{row['peak_bytes'] / 2**20:.3g}" if "peak_bytes" in row else "–"


def _layer_times(rows: list[Any]) -> str:
    """Formats time and peak memory of our layer, and those of other ways to compute the same relative to it."""
    ours = "ours", "float32", "eager"
    loops = [(name, "float32", "eager") for name in ("one convolution", "two convolutions")]
    others = {
        "leanest loop": loops,
        "dense LSTM": [("dense LSTM", "float32", "eager")],
        "compiled": [("ours", "float32", "compiled")],
        "graph": [("ours", "float32", "graph")],
        "TF32": [("ours", "tf32", "eager")],
        "bfloat16": [("ours", "bfloat16", "eager")],
    }
    cases: dict[str, Any] = {}
    for r in rows:
        way = r["implementation"], r["precision"], r["mode"]
        cases.setdefault(f"{r['title']}, {r['task']}", {})[way] = r

    def ratio(case: Any, field: str, ways: Any) -> str:
        values = [case[way][field] for way in ways if field in case.get(way, ())]
        return f"{min(values) / case[ours][field]:.2f}" if values and field in case[ours] else "–"

    columns: dict[str, Any] = {"ours, ms": lambda c: _seconds(c[ours], 1e3), "ours, MiB": lambda c: _mebibytes(c[ours])}
    columns |= {title: lambda c, ways=ways: ratio(c, "seconds", ways) for title, ways in others.items()}
    columns["memory of the leanest loop"] = lambda c: ratio(c, "peak_bytes", loops)
    titled = [{"title": title, **ways} for title, ways in cases.items()]
    return _without_empty(titled, {"shape": "{title}", **columns})


# ---- weights and architectures -----------------------------------------------------------------------------------
def precisions(page: str) -> str:
    """Lists file size and loss of accuracy of the weights in each dtype."""
    rows: list[tuple[object, ...]] = []
    for name, measured in recorded("tools/precision.json")["weights"].items():
        for row in measured:
            size, unit = f"{row['bytes'] / 1000:,.0f} kB", row.get("unit", "")
            if "accuracy" in row:
                rows.append((f"`{name}`", row["precision"], size, "", f"accuracy {row['accuracy']:g} %"))
                continue
            squared = f" ({unit})²" if unit else ""
            errors = [f"MSE {row['mse']:.4g}{squared}"]
            if test := row.get("test"):
                csi = ", ".join(f"{k} {unit} {v:.4f}" for k, v in list(test.items())[2:4])
                errors.append(f"{test['sequences']} test sequences: MSE {test['mse']:.4g}{squared}, {csi}")
            difference = f"{row['difference']:.2g} {unit}".rstrip()
            rows.append((f"`{name}`", row["precision"], size, difference, "; ".join(errors)))
    return markdown(("weights", "precision", "file", "difference", "errors"), rows)


DATASETS = {
    "moving_mnist": ("Moving MNIST", ("MSE", "SSIM")),
    "rain": ("Rain over the Netherlands and Finland", ("CSI 0.5 mm/h", "CSI 2 mm/h", "MSE")),
}
"""Title of the datasets of the ladder, and their scores, the first of which orders the families."""


def families(dataset: str) -> list[list[dict[str, Any]]]:
    """Returns the rows of each family of the ladder, the seeds in order, best family first."""
    by_family: dict[str, list[dict[str, Any]]] = {}
    for row in recorded("references/ladder.json"):
        if row["dataset"] == dataset:
            by_family.setdefault(row["family"], []).append(row)
    score = DATASETS[dataset][1][0]
    return sorted(by_family.values(), key=lambda rows: mean_score(rows, score), reverse=score != "MSE")


def ladder(page: str) -> str:
    """Lists the scores and costs of every family on every data set, with the command."""
    return "\n\n".join(map(_ladder_table, DATASETS))


def _ladder_table(dataset: str) -> str:
    title, scores = DATASETS[dataset]
    rows: list[list[object]] = []
    for seeds in families(dataset):
        first = seeds[0]
        costs = f"{1000 * first['seconds']:.0f} ms", f"{first['bytes'] / 1e6:.0f} MB"
        spreads = (_with_deviation(seeds, name) for name in scores)
        rows.append([f"`{first['family']}`", f"{first['parameters']:,}", f"{first['rate']:g}", *spreads, *costs])
    for baseline in first["baselines"][scores[0]]:
        values = (first["baselines"].get(name, {}).get(baseline) for name in scores)
        rows.append([baseline, "", "", *("" if v is None else f"{v:,.{_digits(v)}f}" for v in values), "", ""])
    header = ("family", "parameters", "learning rate", *scores, "a forecast, one core", "memory of 16")
    return (
        f"**{title}**\n\n{markdown(header, rows)}\n\n`python -m references.ladder --dataset {dataset} --data DIR`; "
        f"{first['sequences']:,} sequences each. Costs: `--costs`, processor time of one thread, "
        f"{first['machine']['processor']}, torch {first['machine']['torch']}."
    )


def mean_score(rows: list[dict[str, Any]], name: str) -> float:
    """Returns the mean of a score over seeds."""
    return fmean(row["scores"][name] for row in rows)


def deviation(rows: list[dict[str, Any]], name: str) -> float | None:
    """Returns the standard deviation of a score between seeds; None for one seed."""
    return stdev(row["scores"][name] for row in rows) if len(rows) > 1 else None


def _with_deviation(rows: list[dict[str, Any]], name: str) -> str:
    mean, spread = mean_score(rows, name), deviation(rows, name)
    digits = _digits(mean if spread is None else min(mean, 10 * spread))
    return f"{mean:,.{digits}f}" + ("" if spread is None else f" ± {spread:,.{digits}f}")


def _digits(value: float) -> int:
    """Returns the number of digits after the point with which a value is shown."""
    return 0 if value >= 100 else 1 if value >= 1 else 3
