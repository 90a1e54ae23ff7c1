"""Profile of a run: time in convolutions, gates, copies, and between the operations."""

import time
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from .cases import Case
from .measure import TASKS
from .peers import ours

KINDS = ("convolutions", "gates", "copies", "rest")
"""`gates` is all arithmetic except convolutions. `rest` is Python, memory management and dispatch."""

_COPIES = ("copy", "cat", "stack", "fill", "zero", "clone", "contiguous")
SPAN = 0.5  # seconds that the runs under the profiler should fill


def shares(case: Case) -> dict[str, dict[str, list[float]]]:
    """Returns the shares of the time for each task, in the order of :data:`KINDS`."""
    x, result = case.input(), {}
    for task, make in TASKS.items():
        result[task] = {"ours": _shares(make(ours(case), x))}
    return result


def classify(operation: str) -> str:
    """Classifies an operation of torch."""
    name = operation.removeprefix("aten::")
    if "conv" in name or "mkldnn" in name:
        return "convolutions"
    if not operation.startswith("aten::"):
        return "rest"  # autograd nodes
    if name.startswith(_COPIES):
        return "copies"
    return "gates" if name.removesuffix("_") in _ARITHMETIC else "rest"


_ARITHMETIC = {
    "add",
    "addcmul",
    "lerp",
    "mul",
    "neg",
    "relu",
    "sigmoid",
    "sigmoid_backward",
    "sub",
    "sum",
    "tanh",
    "tanh_backward",
    "threshold_backward",
}


def _shares(run: Callable[[], None]) -> list[float]:
    run()
    start = time.perf_counter()
    run()
    runs = max(1, round(SPAN / (time.perf_counter() - start)))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        seconds = time.perf_counter() - start
    spent = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        spent[classify(event.key)] += event.self_cpu_time_total / 1e6
    spent["rest"] = max(0.0, seconds - sum(spent[k] for k in KINDS if k != "rest"))
    return [round(spent[k] / sum(spent.values()), 3) for k in KINDS]
