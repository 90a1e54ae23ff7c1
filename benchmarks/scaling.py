"""Time and memory over steps, batch, map and channels, and throughput over threads and streams."""

import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from statistics import linear_regression, median
from typing import Any

import torch

from .cases import Case
from .measure import CLOCKS, TASKS, inference, interleaved
from .memory import in_a_fresh_process, peak_of
from .peers import IMPLEMENTATIONS, ours

BASE = Case("scaling", "LSTM", 10, 4, 16, 32, (16, 16), 3)
AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Case]]] = {
    "steps": ((5, 10, 20, 40, 80, 160), lambda n: BASE._replace(steps=n)),
    "batch": ((1, 2, 4, 8, 16), lambda n: BASE._replace(batch=n)),
    "pixels": ((64, 256, 1024, 4096), lambda n: BASE._replace(size=(math.isqrt(n),) * 2)),
    "channels": ((8, 16, 32, 64), lambda n: BASE._replace(in_channels=n, channels=n)),
}
"""Values of each axis, and the case with a value. All other sizes are those of :data:`BASE`."""
COMPARED = ("ours", "two convolutions", "one convolution")
STREAMS = (Case("small", "LSTM", 10, 1, 1, 8, (8, 8), 3), BASE._replace(name="medium", batch=1))
"""Cases of one sequence each, which several threads of Python run at the same time."""
THREADS = (1, 2)
SECONDS = 2.0
"""Duration of one measurement of the throughput."""


def measure_axis(axis: str, rounds: int, clock: str, memory: bool) -> dict[str, Any]:
    """Returns median seconds per task and peak bytes of a training step, by implementation and value of the axis."""
    values, make_case = AXES[axis]
    result: dict[str, Any] = {"values": values, **{task: {name: [] for name in COMPARED} for task in TASKS}}
    for case in map(make_case, values):
        x, forwards = case.input(), {name: IMPLEMENTATIONS[name](case) for name in COMPARED}
        for task, make in TASKS.items():
            runs = {name: make(forward, x) for name, forward in forwards.items()}
            for name, times in interleaved(runs, rounds, CLOCKS[clock]).items():
                result[task][name].append(median(times))
    if memory:
        result["memory"] = {name: [peak_of(case, name) for case in map(make_case, values)] for name in COMPARED}
    return result


def exponent(values: list[int], measured: list[float]) -> float:
    """Returns p of the best fit of ``measured ∝ values ** p``, on logarithmic axes.

    Example:
        >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6)
        2.0
    """
    return linear_regression([math.log(v) for v in values], [math.log(max(m, 1e-9)) for m in measured]).slope


def measure_streams() -> list[dict[str, Any]]:
    """Returns the frames per second of all streams together, for each case and number of threads and streams."""
    return [
        {
            "title": case.title,
            "threads": threads,
            "streams": streams,
            "frames_per_second": in_a_fresh_process(frames_per_second, case, threads, streams, SECONDS),
        }
        for case, threads, streams in itertools.product(STREAMS, THREADS, (1, 2, 4))
    ]


def frames_per_second(case: Case, threads: int, streams: int, seconds: float) -> float:
    """Returns the frames per second of inference in `streams` Python threads with `threads` torch threads each."""
    frames, warm, stop = [0] * streams, threading.Barrier(streams + 1), threading.Event()

    def run_stream(i: int) -> None:
        try:
            torch.set_num_threads(threads)
            run = inference(ours(case), case.input())
            run()
        finally:  # a stream that fails here must not keep the others waiting
            warm.wait()
        while not stop.is_set():
            run()
            frames[i] += case.steps * case.batch

    with ThreadPoolExecutor(streams) as pool:
        workers = [pool.submit(run_stream, i) for i in range(streams)]
        warm.wait()
        begin = time.perf_counter()
        wait(workers, seconds, return_when=FIRST_EXCEPTION)
        stop.set()
        for worker in workers:
            worker.result()
    return sum(frames) / (time.perf_counter() - begin)
