"""Tables of measurements, from the files that the programs of ``benchmarks`` and ``references`` write."""

import json
from functools import partial
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.measure import TASKS
from benchmarks.report import fastest_peers
from benchmarks.tables import markdown, table
from convrnn_zoo.values.units import plural

from .. import ROOT, link, recorded

DEVICES = ROOT / "benchmarks" / "devices"
"""Reports of ``python -m benchmarks.device``."""


def caption(program: str, result: Any, runs: str = "medians of {rounds} runs in turn") -> str:
    """Returns the command, the machine and the clock of a measurement, and the runs that were timed."""
    machine = result.get("machine", result)
    processor = f" on {machine['processor']}" if "processor" in machine else ""
    return f"`python -m benchmarks{program}`{processor}, {_conditions(machine)}; {runs.format_map(result)}."


def _conditions(machine: Any) -> str:
    clock = {"cpu": "processor", "wall": "wall"}[machine["clock"]]
    return f"torch {machine['torch']}, {plural(machine['threads'], 'thread')}, {clock} time"


# ---- layers ----------------------------------------------------------------------------------------------------
MEASURED = "benchmarks/measured.json"
"""The ``bench.json`` that the page on speed shows."""


def speed(page: str) -> str:
    """Formats all tables of the published benchmark run."""
    return report.table(recorded(MEASURED))


def speed_summary(page: str) -> str:
    """Lists, per shape, the time of our layer and the relative time of the fastest other implementation."""
    columns: dict[str, Any] = {"shape": "{title}"}
    for task in TASKS:
        columns[f"{task}, ms"] = lambda case, t=task: f"{1e3 * median(case[t]['ours']):.1f}"
        for title, peer in {"other": "fastest peer", "compiled": "fastest compiled peer"}.items():
            columns[f"{task}, fastest {title}"] = lambda c, t=task, peer=peer: f"{fastest_peers(c[t])[peer]:.2f}"
    result = recorded(MEASURED)
    return f"{table(result['cases'], columns)}\n\n{caption('', result)}"


def speed_line(page: str) -> str:
    """States how much longer the fastest other implementation takes, for readers who decide within a minute."""
    cases = recorded(MEASURED)["cases"]
    times = [fastest_peers(case["inference"])["fastest peer"] for case in cases]
    return (
        f"The fastest other implementation takes {median(times):.2f} times as long as ours, in inference on a CPU "
        f"(median of {len(cases)} shapes; [training, compiled code]({link('docs/project/speed.md', page)}))."
    )


def compared(page: str) -> str:
    """States the time of other packages relative to ours in inference: median and range over shapes."""
    implementations = {
        "Keras": (MEASURED, "keras"),
        "TorchGeo": ("benchmarks/torchgeo.json", "torchgeo"),
        "a loop as in ConvLSTM_pytorch": (MEASURED, "one convolution"),
        "a loop as in pytorch_convolutional_rnn": (MEASURED, "two convolutions"),
    }
    parts = []
    for title, (file, name) in implementations.items():
        times = [case["inference"] for case in recorded(file)["cases"] if name in case["inference"]]
        ratios = [float(np.median(t[name]) / np.median(t["ours"])) for t in times]
        parts.append(f"{title} {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    return (
        f"Time in inference on a CPU as a multiple of ours, median and range over shapes: {'; '.join(parts)}. "
        f"[All measurements]({link('docs/project/measurements.md', page)}), also of training and compiled code."
    )


def _relative_times(name: str, base: str, columns: dict[str, str], page: str) -> str:
    """Lists the times of implementations relative to that of `base`, per shape."""
    result = recorded(f"benchmarks/{name}.json")
    cells: dict[str, Any] = {"shape": "{title}"}
    for task in TASKS:
        for key, title in columns.items():
            cells[f"{title}, {task}"] = lambda case, t=task, key=key: f"{case[t][key] / case[t][base]:.2f}"
    return f"{table(result['cases'], cells)}\n\n{caption(f'.comparisons {name}', result)}"


norms = partial(_relative_times, "norms", "plain", {"layer": "layer norm", "group": "group norm"})
minimal = partial(_relative_times, "minimal", "GRU", {kind: kind for kind in ("MinGRU", "MinLSTM", "MinExpLSTM")})
torchgeo = partial(_relative_times, "torchgeo", "ours", {"torchgeo": "TorchGeo"})
half = partial(_relative_times, "half", "float32", {"autocast": "autocast", "bfloat16 weights": "weights"})


def scaling(page: str) -> str:
    """Lists the exponents of time and memory, and the throughput over threads and streams."""
    result = recorded("benchmarks/scaling.json")
    return (
        f"{report.exponents_table(result)}\n\n{caption(' --scaling', result)}\n\n"
        "Frames per second of all streams together. A stream is one sequence at a time, in a thread of Python; "
        f"2 × 4 are 2 threads of torch in each of 4 streams.\n\n{report.streams_table(result)}"
    )


# ---- tasks -------------------------------------------------------------------------------------------------------
def tasks(page: str) -> str:
    """Lists the processor time of whole tasks: cold, with the share of each part, and warm."""
    result = recorded("benchmarks/tasks.json")
    for task in result["tasks"]:
        task["imports"] = task["torch and timm"] + task["convrnn_zoo"]
        task["cold"] = sum(task[part] for part in ("imports", "preparation", "first run"))
    columns: dict[str, Any] = {"task": "{title}", "cold, s": "{cold:.1f}"}
    for part in ("imports", "preparation", "first run"):
        columns[part] = lambda task, part=part: f"{task[part] / task['cold']:.0%}"
    columns["warm, s"] = lambda row: f"{row['again']:.2g}" if "again" in row else "–"
    runs = caption(".tasks", result, "the least of {rounds} processes, next to other programs")
    return f"{table(result['tasks'], columns)}\n\n{runs}"


def large_nowcasts(page: str) -> str:
    """Lists the time and memory of nowcasts of large maps."""
    result = recorded("benchmarks/nowcasts.json")
    columns: dict[str, Any] = {
        "pixels": "{height:,} × {width:,}",
        "12 frames of": "{title}",
        "threads": "{threads}",
        "processor time, s": "{seconds:.0f}",
        "by the clock, s": "{wall:.0f}",
        "GiB above the imports": lambda case: f"{case['mib'] / 1024:.1f}",
    }
    return (
        f"{table(result['cases'], columns)}\n\n`python -m benchmarks.nowcasts` on {result['machine']['processor']}, "
        f"torch {result['machine']['torch']}, next to other programs; the least of {plural(result['rounds'], 'run')}."
    )


def archive(page: str) -> str:
    """Lists forecasts of an archive per second and the processor time of each, by the number of workers."""
    data = recorded("benchmarks/archive.json")
    count, models = data["forecasts"], data["seconds"]
    columns: dict[str, Any] = {"weights": "`{}`".format}
    for ways in next(iter(models.values())):
        columns[ways] = lambda model, ways=ways: (
            f"{count / models[model][ways]:.2g} ({data['processor_time'][model][ways] / count:.2g} s)"
        )
    loads = " to ".join(f"{x:.0f}" for x in data["load"])
    return (
        f"Forecasts per second, and in brackets the processor time per forecast in all processes, medians of "
        f"{plural(data['repeats'], 'round')}, for maps of {data['size'][0]} × {data['size'][1]} pixels and "
        f"{data['batch_size']} issue times a task, on {data['cores']} cores with a load average of {loads}, this "
        f"benchmark included. A task costs the scheduler and the worker {1000 * data['task']:.1f} ms of processor "
        f"time. `python -m benchmarks.archive` measures it.\n\n{table(models, columns)}"
    )


def published_speed(page: str) -> str:
    """Lists time and memory of a forecast and a training step, compared with the original code."""
    result = recorded("benchmarks/published.json")
    ways = {"ours": "", "recomputing": ", recomputing", "original": ", the original code"}
    rows = [
        {"name": f"`{name}`{ways[way]}", "way": way, **network, "peak": network["peak"][way] / 2**20}
        for name, network in result["networks"].items()
        for way in ways
        if way in network["peak"]
    ]
    columns: dict[str, Any] = {
        "": "{name}",
        "frames": lambda r: f"{r['inputs']} of {r['size']}²" + (f" to {r['horizon']}" if r["horizon"] else ""),
    }
    for task, title in zip(TASKS, ("a forecast, s", "a training step, s"), strict=True):
        columns[title] = lambda r, t=task: f"{r['seconds'][t][r['way']]:.2f}" if r["way"] in r["seconds"][t] else "–"
    columns["memory of the step, MiB"] = "{peak:,.0f}"
    return f"One sequence in float32.\n\n{table(rows, columns)}\n\n{caption('.published', result)}"


# ---- devices -----------------------------------------------------------------------------------------------------
def reports() -> list[Any]:
    """Returns the reports of devices."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DEVICES.glob("*.json"))]


def devices(page: str) -> str:
    """Lists the reports, then the times of layers and tasks of each."""
    titles = {"device": "name", "type": "device", "torch": "torch", "system": "system"}
    columns: dict[str, Any] = {title: f"{{machine[{key}]}}" for title, key in titles.items()}
    columns["tests"] = lambda r: (
        ", ".join(f"{n} {k}" for k, n in (r["tests"] or {}).items() if k in ("passed", "failed", "xfailed"))
        or "not run"
    )
    parts = [table(reports(), columns)]
    for r in reports():
        m = r["machine"]
        load = "" if m["load"] is None else f", at a load average of {m['load']:.0f} before the start"
        caption = f"{_conditions(m)}{load}; medians of {r['rounds']} calls."
        tasks = [
            {"task": row["title"], "seconds": _seconds(row, 1), "MiB": _number(row, "peak_bytes", 2**-20)}
            for row in r["tasks"]
        ]
        kernels = [
            {
                "torch's kernels of a step": row["title"],
                "largest difference": f"{row['output_error']:.1e}",
                "of gradients": f"{row['gradient_error']:.1e}",
                "training, ms with and without": " and ".join(f"{1000 * s:.3g}" for s in row["seconds"]),
            }
            for row in r.get("kernels", ())
            if row["has_kernels"]
        ]
        tables = map(_without_empty, filter(None, (_layer_times(r["layers"]), tasks, kernels)))
        parts += [f"<details markdown>\n<summary>{m['name']}</summary>", caption, *tables, "</details>"]
    return "\n\n".join(parts)


def _without_empty(rows: list[dict[str, str]]) -> str:
    """Formats a table without the columns that no row has a value for."""
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    return markdown(titles, [[row[title] or "–" for title in titles] for row in rows])


def _number(row: Any, field: str, factor: float) -> str:
    return f"{factor * row[field]:.3g}" if field in row else ""


def _seconds(row: Any, factor: float) -> str:
    return _number(row, "seconds", factor) or row["error"].partition("\n")[0].replace("|", " ")


LOOPS = ["one convolution float32 eager", "two convolutions float32 eager"]
OTHERS = {
    "leanest loop": LOOPS,
    "dense LSTM": ["dense LSTM float32 eager"],
    "compiled": ["ours float32 compiled"],
    "graph": ["ours float32 graph"],
    "TF32": ["ours tf32 eager"],
    "bfloat16": ["ours bfloat16 eager"],
}
"""Columns of the times of layers that are relative to our layer, with the ways to compute of which the best counts."""


def _layer_times(measured: list[Any]) -> list[dict[str, str]]:
    """Returns time and peak memory of our layer, and those of :data:`OTHERS` relative to it."""
    cases: dict[str, Any] = {}
    for r in measured:
        way = f"{r['implementation']} {r['precision']} {r['mode']}"
        cases.setdefault(f"{r['title']}, {r['task']}", {})[way] = r
    rows = []
    for title, case in cases.items():
        ours = case["ours float32 eager"]
        row = {"shape": title, "ours, ms": _seconds(ours, 1e3), "ours, MiB": _number(ours, "peak_bytes", 2**-20)}
        fields = {title: ("seconds", ways) for title, ways in OTHERS.items()}
        for column, (field, ways) in {**fields, "memory of the leanest loop": ("peak_bytes", LOOPS)}.items():
            values = [case[way][field] for way in ways if field in ours and field in case.get(way, ())]
            row[column] = f"{min(values) / ours[field]:.2f}" if values else ""
        rows.append(row)
    return rows


# ---- weights and architectures -----------------------------------------------------------------------------------
def precisions(page: str) -> str:
    """Lists file size and loss of accuracy of the weights in each dtype."""
    results = recorded("tools/precision.json")
    rows = [{"unit": "", **row, "name": name} for name in results if name != "versions" for row in results[name]]
    columns: dict[str, Any] = {
        "weights": "`{name}`",
        "precision": "{precision}",
        "file": lambda row: f"{row['bytes'] / 1000:,.0f} kB",
        "difference": lambda row: f"{row['difference']:.2g} {row['unit']}".rstrip() if "difference" in row else "",
        "errors": _errors,
    }
    return table(rows, columns)


def _errors(row: Any) -> str:
    if "accuracy" in row:
        return f"accuracy {row['accuracy']:g} %"
    squared = f" ({row['unit']})²" if row["unit"] else ""
    errors = f"MSE {row['mse']:.4g}{squared}"
    if test := row.get("test"):
        csi = ", ".join(f"{k} {row['unit']} {v:.4f}" for k, v in list(test.items())[2:4])
        errors += f"; {test['sequences']} test sequences: MSE {test['mse']:.4g}{squared}, {csi}"
    return errors


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
    return sorted(by_family.values(), key=lambda rows: mean_and_deviation(rows, score)[0], reverse=score != "MSE")


def mean_and_deviation(rows: list[dict[str, Any]], score: str) -> tuple[float, float | None]:
    """Returns the mean of a score over seeds and its standard deviation, which is None for one seed."""
    values = [row["scores"][score] for row in rows]
    return fmean(values), stdev(values) if len(values) > 1 else None


def ladder(page: str) -> str:
    """Lists the scores and costs of every family on every data set, with the command."""
    parts = []
    for dataset, (title, scores) in DATASETS.items():
        rows: list[list[object]] = []
        for seeds in families(dataset):
            first = seeds[0]
            costs = f"{1000 * first['seconds']:.0f} ms", f"{first['bytes'] / 1e6:.0f} MB"
            cells = (_shown(*mean_and_deviation(seeds, score)) for score in scores)
            rows.append([f"`{first['family']}`", f"{first['parameters']:,}", f"{first['rate']:g}", *cells, *costs])
        for baseline in first["baselines"][scores[0]]:
            values = (first["baselines"].get(score, {}).get(baseline) for score in scores)
            rows.append([baseline, "", "", *("" if value is None else _shown(value) for value in values), "", ""])
        header = ("family", "parameters", "learning rate", *scores, "a forecast, one core", "memory of 16")
        parts.append(
            f"**{title}**\n\n{markdown(header, rows)}\n\n`python -m references.ladder --dataset {dataset} --data DIR`; "
            f"{first['sequences']:,} sequences each. Costs: `--costs`, processor time of one thread, "
            f"{first['machine']['processor']}, torch {first['machine']['torch']}."
        )
    return "\n\n".join(parts)


def _shown(mean: float, spread: float | None = None) -> str:
    smallest = mean if spread is None else min(mean, 10 * spread)
    digits = 0 if smallest >= 100 else 1 if smallest >= 1 else 3
    return f"{mean:,.{digits}f}" + ("" if spread is None else f" ± {spread:,.{digits}f}")
