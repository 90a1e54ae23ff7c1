"""Cost of norms: ``python -m benchmarks.norms`` times layers with and without norms and writes norms.json."""

from functools import partial
from pathlib import Path
from typing import Any

from .cases import CASES, Case
from .measure import comparison_command
from .peers import Output, autograd_of_the_step

MEASURED = Path(__file__).with_name("norms.json")
NAMES = ("wide", "tiny", "gru")


def build(case: Case, norm: str | None) -> Output:
    """Builds the layer of a case with a norm."""
    return Output(case.layer(partial(case.layer_class(), norm=norm)))


IMPLEMENTATIONS: dict[str, Any] = {
    "plain": partial(build, norm=None),
    "autograd of the step": autograd_of_the_step,
    "layer": partial(build, norm="layer"),
    "group": partial(build, norm="group"),
}


main = comparison_command(
    "Time layers with norms against layers without.", [c for c in CASES if c.name in NAMES], IMPLEMENTATIONS, MEASURED
)

if __name__ == "__main__":
    main()
