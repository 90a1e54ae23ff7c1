"""The first call at a map size that was not seen before, over the third: what a change of sizes costs."""

from .cases import Case
from .measure import CLOCKS, TASKS, seconds
from .peers import SCHEMES

_SCHEMES = ("ours", "two convolutions")  # the second tells what torch itself needs at a new size
_SIZES = 5


def first_over_third(case: Case, clock: str = "wall") -> dict[str, dict[str, list[float]]]:
    """For each task and scheme that ratio at each of some new sizes, of a layer that has run at the case's own."""
    found: dict[str, dict[str, list[float]]] = {}
    larger = iter(case._replace(size=tuple(n + more for n in case.size)) for more in range(1, 1 + _SIZES * len(TASKS)))
    for task, make in TASKS.items():
        new = [next(larger).input() for _ in range(_SIZES)]  # sizes that the other task has not seen, either
        found[task] = {}
        for name in _SCHEMES:
            forward = SCHEMES[name](case)
            make(forward, case.input())()
            calls = [[seconds(run, 1, CLOCKS[clock]) for _ in range(3)] for run in (make(forward, x) for x in new)]
            found[task][name] = [round(first / third, 3) for first, _, third in calls]
    return found
