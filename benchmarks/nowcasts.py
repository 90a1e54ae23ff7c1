"""Time and memory of nowcasts of large maps: ``python -m benchmarks.nowcasts`` writes nowcasts.json.

Each forecast of twelve frames runs in a new process, on tiles of the radar images of the demo. Times are processor
time, which other programs hardly change; memory is the peak above what the process has after the imports.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

MEASURED = Path(__file__).with_name("nowcasts.json")
ROOT = Path(__file__).parents[1]
HORIZON, MEMBERS = 12, 20
THRESHOLDS = [0.5, 5.0]


class Case(NamedTuple):
    """A forecast: size of the map, what is forecast, threads, and whether torch asks Linux for pages of 2 MiB."""

    title: str
    height: int
    width: int
    kind: str
    threads: int = 1
    huge_pages: bool = False


CASES = {
    "forecast": Case("forecast", 1024, 1024, "forecast"),
    "bfloat16": Case("forecast under autocast in bfloat16", 1024, 1024, "bfloat16"),
    "probabilities": Case("probabilities of two thresholds", 1024, 1024, "probabilities"),
    "members": Case("20 members", 1024, 1024, "members"),
    "huge-pages": Case("forecast in huge pages", 1024, 1024, "forecast", huge_pages=True),
    "opera": Case("forecast", 2200, 1900, "forecast", 2),
    "opera-huge-pages": Case("forecast in huge pages", 2200, 1900, "forecast", 2, huge_pages=True),
}


def run(height: int, width: int, kind: str, threads: int) -> dict[str, float]:
    """Runs a forecast in this process, which must be new, and returns seconds, wall time and MiB."""
    import numpy as np
    import torch

    import convrnn_zoo

    torch.set_num_threads(threads)
    model: Any = convrnn_zoo.create_model("convgru_advection.nowcast", pretrained=True).eval()
    radar = torch.tensor(
        np.load(Path(convrnn_zoo.__file__).parent / "demo" / "nowcast.npz")["x"][:4], dtype=torch.float32
    )
    repeats = [-(-n // m) for n, m in zip((height, width), radar.shape[1:], strict=True)]
    radar = torch.tile(radar, (1, *repeats))[:, :height, :width].contiguous()
    before, start, wall = peak_memory(), time.process_time(), time.perf_counter()
    if kind == "probabilities":
        model.probabilities(radar, THRESHOLDS, HORIZON)
    elif kind == "members":
        model.forecast(radar, HORIZON, members=MEMBERS, seed=0)
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            model.forecast(radar, HORIZON)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    return {"seconds": seconds, "wall": wall, "mib": (peak_memory() - before) / 2**20}


def peak_memory() -> int:
    """Returns the peak of this process's resident memory in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(case: Case, checkout: Path) -> dict[str, float]:
    """Returns what :func:`run` returns in a new process, with the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(case.threads)}
    environment["THP_MEM_ALLOC_ENABLE"] = str(int(case.huge_pages))
    arguments = [sys.executable, __file__, *map(str, case[1:5])]
    done = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@click.command(help="Measure time and memory of nowcasts of large maps, each in a new process.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Only this case.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Processes of each case.")
@click.option(
    "--against", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Another checkout to compare with."
)
@click.option("-o", "--output", "out", default=MEASURED, type=click.Path(path_type=Path, dir_okay=False))
def main(names: tuple[str, ...], rounds: int, against: Path | None, out: Path) -> None:
    """Measures the cases in turn, alternating between the checkouts, and writes the least of each."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.measure import machine

    checkouts = {"ours": ROOT} | ({"other": against.resolve()} if against else {})
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for _, name, (label, checkout) in itertools.product(range(rounds), names or CASES, checkouts.items()):
        if label == "other" and CASES[name].kind == "bfloat16":
            continue
        least = measured.setdefault(name, {}).get(label, {})
        part = {k: min(v, least.get(k, v)) for k, v in measure(CASES[name], checkout).items()}
        measured[name][label] = part
        ours = measured[name]["ours"]
        ratio = {f"{k} of ours": round(ours[k] / v, 3) for k, v in part.items()} if label == "other" else {}
        click.echo(json.dumps({name: label, **{k: round(v, 2) for k, v in part.items()}, **ratio}))
    rows = [{"name": name, **CASES[name]._asdict(), **of["ours"]} for name, of in measured.items()]
    text = json.dumps({"machine": machine("cpu"), "rounds": rounds, "cases": rows}, indent=1)
    out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1].isdigit():  # in a process of `measure`
        height, width, kind, threads = sys.argv[1:]
        print(json.dumps(run(int(height), int(width), kind, int(threads))))
    else:
        main()
