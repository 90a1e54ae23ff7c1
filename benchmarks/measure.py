"""Interleaved timing: all implementations take turns, so that disturbances affect them equally."""

import itertools
import math
import platform
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from convrnn_zoo import __version__

from .cases import Case
from .floor import floor
from .peers import IMPLEMENTATIONS, Build

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Times = dict[str, list[float]]

_SPAN = 0.01  # seconds that the shortest run of a case should fill
_AT_NEW_SIZES = ("ours", "two convolutions")  # the second measures what torch itself needs at a new size
_NEW_SIZES = 5


def machine(clock: str) -> dict[str, Any]:
    """Describes the machine and the versions of the run."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return {
        "processor": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "convrnn_zoo": __version__,
        "clock": clock,
    }


def inference(forward: Any, x: Any) -> Callable[[], None]:
    """Returns a function that runs the forward pass."""

    def run() -> None:
        with torch.inference_mode():
            forward(x)

    return run


def training(forward: Any, x: Any) -> Callable[[], None]:
    """Returns a function that runs forward and backward and discards the gradients."""
    parameters = [p for p in forward.parameters() if p.requires_grad]

    def run() -> None:
        forward(x).sum().backward()
        for p in parameters:
            p.grad = None

    return run


TASKS = {"inference": inference, "training": training}


def interleaved(runs: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]) -> Times:
    """Returns the seconds per call of each run in each round, after a warm-up.

    Short runs are called several times in a row, all equally often. This measures their time in a loop, not the time
    that it takes to warm the caches after another implementation.
    """
    times: Times = {name: [] for name in runs}
    shortest = min(seconds(run, 1, clock) for run in [*runs.values(), *runs.values()])
    calls = max(1, math.ceil(_SPAN / max(shortest, 1e-9)))
    names, order = list(runs), random.Random(0)
    for _ in range(rounds):
        order.shuffle(names)  # the previous run influences the caches, so vary it
        for name in names:
            times[name].append(seconds(runs[name], calls, clock))
    return times


def seconds(run: Callable[[], None], calls: int, clock: Callable[[], float]) -> float:
    """Returns the mean seconds per call over `calls` calls."""
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def time_case(
    case: Case, implementations: dict[str, Build], rounds: int, clock: str = "wall"
) -> Iterator[tuple[str, Times]]:
    """Yields the times of the lower bound and of every implementation that supports `case`, per task."""
    torch.compiler.reset()  # earlier cases would count towards the recompilation limit
    x, forwards = case.input(), {name: build(case) for name, build in implementations.items()}
    for (task, make), bare in zip(TASKS.items(), floor(case), strict=True):
        runs = {name: make(forward, x) for name, forward in forwards.items() if forward is not None}
        yield task, interleaved({**runs, "floor": bare}, rounds, CLOCKS[clock])


def ratios(times: Times, of: str) -> dict[str, float]:
    """Divides the times of every other run by those of the run `of`, and returns the medians over all rounds."""
    return {
        name: median(other / one for other, one in zip(others, times[of], strict=True))
        for name, others in times.items()
        if name != of
    }


def first_over_third(case: Case, clock: str = "wall") -> dict[str, dict[str, list[float]]]:
    """Returns the time of the first call at a new map size over that of the third, by task and implementation.

    Each implementation first runs at the case's size.
    """
    quotients: dict[str, dict[str, list[float]]] = {}
    sizes = (tuple(n + more for n in case.size) for more in itertools.count(1))
    for task, make in TASKS.items():
        new = [
            case._replace(size=next(sizes)).input() for _ in range(_NEW_SIZES)
        ]  # sizes that are new to the other task as well
        quotients[task] = {}
        for name in _AT_NEW_SIZES:
            forward = IMPLEMENTATIONS[name](case)
            make(forward, case.input())()
            calls = [[seconds(run, 1, CLOCKS[clock]) for _ in range(3)] for run in (make(forward, x) for x in new)]
            quotients[task][name] = [round(first / third, 3) for first, _, third in calls]
    return quotients
