"""Times layers on an accelerator in several precisions, eager, compiled and as CUDA graphs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from statistics import median
from typing import Any

import torch

from .cases import Case
from .measure import TASKS
from .peers import Build, ours, two_convolutions

PRECISIONS = ("float32", "tf32", "bfloat16")
MODES = ("eager", "compiled", "graph")
IMPLEMENTATIONS: dict[str, Build] = {"ours": ours, "two convolutions": two_convolutions}
WARM_UP = 3
"""Calls before the first timed one: they choose kernels, compile, and fill the allocator."""


def precision_context(precision: str, device: str) -> AbstractContextManager[Any]:
    """Returns a context in which layers with float32 weights compute in a precision."""
    stack = ExitStack()
    if device == "cuda":
        stack.enter_context(
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=False, allow_tf32=precision == "tf32"
            )
        )
    if precision == "bfloat16":
        stack.enter_context(torch.autocast(device, torch.bfloat16))
    return stack


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """Captures `run` as a CUDA graph after a warm-up on another stream, and returns the function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def seconds_of_calls(run: Callable[[], None], rounds: int, device: str) -> list[float]:
    """Returns the seconds of each call after a warm-up, measured by CUDA events on CUDA and by the clock elsewhere."""
    for _ in range(WARM_UP):
        run()
    if device != "cuda":
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return times
    torch.cuda.synchronize()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(rounds)]
    for start_event, end_event in events:
        start_event.record()
        run()
        end_event.record()
    torch.cuda.synchronize()
    return [start_event.elapsed_time(end_event) / 1e3 for start_event, end_event in events]


def time_on_device(
    case: Case, device: str, rounds: int, modes: Sequence[str] = MODES, precisions: Sequence[str] = PRECISIONS
) -> Iterator[dict[str, Any]]:
    """Yields the median seconds of a case, one row per task, implementation, precision and mode."""
    x: Any = case.input()
    x = x.to(device)
    for name, build in IMPLEMENTATIONS.items():
        for mode in modes:
            torch.compiler.reset()  # earlier cases would count towards the recompilation limit
            forward = build(case).to(device)
            if mode == "compiled":
                forward.compile(dynamic=False)
            for precision in precisions:
                for task, make in TASKS.items():
                    with precision_context(precision, device):
                        run = make(forward, x)
                        run = captured(run) if mode == "graph" else run
                        seconds = median(seconds_of_calls(run, rounds, device))
                    yield {
                        "title": case.title,
                        "task": task,
                        "implementation": name,
                        "precision": precision,
                        "mode": mode,
                        "seconds": round(seconds, 7),
                    }


def describe_device(device: str) -> dict[str, str]:
    """Returns the name of the device and the versions of the run."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "cuda": str(torch.version.cuda)}
