"""Cost of a new map size: the time of the first call over that of the third."""

from .cases import Case
from .measure import CLOCKS, TASKS, seconds
from .peers import IMPLEMENTATIONS

_IMPLEMENTATIONS = ("ours", "two convolutions")  # the second measures what torch itself needs at a new size
_SIZES = 5


def first_over_third(case: Case, clock: str = "wall") -> dict[str, dict[str, list[float]]]:
    """Returns the ratios at new sizes by task and implementation. Each implementation first runs at the case's size."""
    ratios: dict[str, dict[str, list[float]]] = {}
    larger = iter(case._replace(size=tuple(n + more for n in case.size)) for more in range(1, 1 + _SIZES * len(TASKS)))
    for task, make in TASKS.items():
        new = [next(larger).input() for _ in range(_SIZES)]  # sizes that are new to the other task as well
        ratios[task] = {}
        for name in _IMPLEMENTATIONS:
            forward = IMPLEMENTATIONS[name](case)
            make(forward, case.input())()
            calls = [[seconds(run, 1, CLOCKS[clock]) for _ in range(3)] for run in (make(forward, x) for x in new)]
            ratios[task][name] = [round(first / third, 3) for first, _, third in calls]
    return ratios
