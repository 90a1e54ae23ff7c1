"""Peak memory of a training step, measured in a fresh process per implementation."""

import multiprocessing
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .cases import Case
from .measure import training
from .peers import IMPLEMENTATIONS


def peaks(case: Case, implementations: Sequence[str]) -> dict[str, int]:
    """Returns :func:`peak_of` for each implementation that supports the case."""
    all_peaks = {name: peak_of(case, name) for name in implementations}
    return {name: peak for name, peak in all_peaks.items() if peak is not None}


def peak_of(case: Case, implementation: str) -> int | None:
    """Returns the bytes by which a fresh process grows in a training step; None if the case is not supported."""
    return in_a_fresh_process(_peak, case, implementation)


def in_a_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a module-level function in a fresh process and returns its result."""
    pool = multiprocessing.get_context("spawn").Pool(1)
    try:
        return pool.apply(function, args)
    finally:  # a terminated pool would leave its semaphores
        pool.close()
        pool.join()


def _peak(case: Case, implementation: str) -> int | None:
    build = IMPLEMENTATIONS[implementation]
    size = tuple(min(n, 8) for n in case.size)
    small = case._replace(steps=2, batch=1, size=size, lengths=(1, 2) if case.lengths else None)
    warm, forward = build(small), build(case)
    if warm is None or forward is None:
        return None
    training(warm, small.input())()  # exclude what is loaded at first use
    return rise(training(forward, case.input()))


def rise(step: Callable[[], object]) -> int:
    """Returns the largest growth of this process's resident memory during `step`, in bytes."""
    before = _resident()
    step()
    return max(0, peak_memory() - before)


def _resident() -> int:
    """Returns the resident bytes and resets the peak that :func:`peak_memory` reads, where the system allows it."""
    mark = Path("/proc/self/clear_refs")
    if mark.exists():
        mark.write_text("5")
    return _status("VmRSS")


def peak_memory() -> int:
    """Returns the peak of this process's resident memory in bytes; memory of the parent process does not count."""
    return _status("VmHWM")


def _status(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: only the peak since the start is available
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024
