"""Minimal layers compared with a GRU: ``python -m benchmarks.minimal`` writes minimal.json."""

from pathlib import Path
from typing import Any

from convrnn_zoo import layers

from .cases import Case
from .measure import comparison_command
from .peers import Output, ours

MEASURED = Path(__file__).with_name("minimal.json")
CASES = [Case(f"{steps} steps", "GRU", steps, 4, 16, 64, (16, 16), 3) for steps in (10, 50, 200)]


def build(kind: str) -> Any:
    """Returns a function that builds the layer of a case with the cell `kind`, such as ``"MinGRU"``."""
    return lambda case: Output(case.layer(getattr(layers, f"Conv2d{kind}")))


IMPLEMENTATIONS: dict[str, Any] = {"GRU": ours, **{kind: build(kind) for kind in ("MinGRU", "MinLSTM", "MinExpLSTM")}}

main = comparison_command("Time minimal layers against a GRU.", CASES, IMPLEMENTATIONS, MEASURED)

if __name__ == "__main__":
    main()
