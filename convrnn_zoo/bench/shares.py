"""Where the time of a run goes: into convolutions, the gates, copies, or between the operations."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile, record_function

from convrnn_zoo.layers._fused import FusedKernel

from .cases import Case
from .measure import TASKS
from .peers import SCHEMES

KINDS = ("convolutions", "gates", "copies", "rest")
"""`gates` is all arithmetic but the convolutions'; `rest` Python, the memory's management, what wraps an operation."""

_SCHEMES = ("ours", "ours fused")
_COPIES = ("copy", "cat", "stack", "fill", "zero", "clone", "contiguous")
_COMPILED = "gates, compiled"
_SPAN = 0.5  # seconds that the runs under the profiler should fill


def shares(case: Case) -> dict[str, dict[str, list[float]]]:
    """For each task, and our layers eager and fused, the parts of the time in the order of :data:`KINDS`."""
    x, found = case.input(), {}
    for task, make in TASKS.items():
        found[task] = {name: _shares(make(SCHEMES[name](case), x)) for name in _SCHEMES}
    return found


def kind(operation: str) -> str:
    """What an operation of torch counts as."""
    name = operation.removeprefix("aten::")
    if "conv" in name or "mkldnn" in name:
        return "convolutions"
    if operation == _COMPILED:
        return "gates"
    if not operation.startswith("aten::"):
        return "rest"  # autograd's own
    if name.startswith(_COPIES):
        return "copies"
    return "gates" if name.removesuffix("_") in _ARITHMETIC else "rest"


_ARITHMETIC = {
    "add", "addcmul", "mul", "neg", "relu", "sigmoid", "sigmoid_backward", "sub", "sum", "tanh", "tanh_backward",
    "threshold_backward",
}  # fmt: skip


def _shares(run: Callable[[], None]) -> list[float]:
    run()
    start = time.perf_counter()
    run()
    runs = max(1, round(_SPAN / (time.perf_counter() - start)))
    with _compiled_is_seen(), profile(activities=[ProfilerActivity.CPU]) as seen:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        seconds = time.perf_counter() - start
    spent = dict.fromkeys(KINDS, 0.0)
    for event in seen.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total / 1e6
    spent["rest"] = max(0.0, seconds - sum(spent[k] for k in KINDS if k != "rest"))
    return [round(spent[k] / sum(spent.values()), 3) for k in KINDS]


@contextmanager
def _compiled_is_seen() -> Iterator[None]:
    """What Inductor makes is no operation of torch: it gets a name of its own."""

    def named(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            with record_function(_COMPILED):
                return call(*args)

        return wrapped

    with (
        patch.object(FusedKernel, "forward", named(FusedKernel.forward)),
        patch.object(FusedKernel, "backward", named(FusedKernel.backward)),
    ):
        yield
