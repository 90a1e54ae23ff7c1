"""Peak memory of a training step, each scheme in a process of its own."""

import multiprocessing
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .cases import Case
from .measure import training
from .peers import SCHEMES


def peaks(case: Case, schemes: Sequence[str]) -> dict[str, int]:
    """:func:`peak_of` each scheme that can do the case."""
    found = {name: peak_of(case, name) for name in schemes}
    return {name: peak for name, peak in found.items() if peak is not None}


def peak_of(case: Case, scheme: str) -> int | None:
    """Bytes by which the resident memory of a fresh process rises in one training step; None if it cannot do it."""
    return in_a_fresh_process(_peak, case, scheme)


def in_a_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """What a function of a module gives there."""
    pool = multiprocessing.get_context("spawn").Pool(1)
    try:
        return pool.apply(function, args)
    finally:  # let it end: a pool that is only terminated leaves its semaphores behind
        pool.close()
        pool.join()


def _peak(case: Case, scheme: str) -> int | None:
    build = SCHEMES[scheme]
    small = case._replace(steps=2, batch=1, lengths=(1, 2) if case.lengths else None)
    warm, forward = build(small), build(case)
    if warm is None or forward is None:
        return None
    training(warm, small.input())()  # what is loaded and traced at first use is not the step's
    return rise(training(forward, case.input()))


def rise(step: Callable[[], None]) -> int:
    """Bytes by which this process's resident memory rises at most while it runs."""
    before = _resident()
    step()
    return max(0, _highest() - before)


def _resident() -> int:
    """Resident bytes now, and from here on the mark that :func:`_highest` reads, where the system lets it be set."""
    mark = Path("/proc/self/clear_refs")
    if mark.exists():
        mark.write_text("5")
    return _status("VmRSS")


def _highest() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: the highest so far, which is all that there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024
