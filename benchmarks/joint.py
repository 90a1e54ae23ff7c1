"""Joint convolutions of GRUs: ``python -m benchmarks.joint --threads 1 --clock cpu`` writes joint.json.

Compares one convolution, whose weight is zero where a gate does not read a channel, with one convolution per part.
"""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from convrnn_zoo.layers import _fused

from .cases import Case
from .measure import comparison_command
from .peers import Output, ours

MEASURED = Path(__file__).with_name("joint.json")
SHAPES = [
    (8, 3, 8, (8, 8), 3), (1, 3, 8, (8, 8), 3), (8, 8, 16, (8, 8), 3), (1, 8, 16, (8, 8), 3), (1, 12, 20, (8, 8), 3),
    (1, 16, 32, (8, 8), 3), (1, 32, 64, (4, 4), 3), (1, 64, 64, (4, 4), 3), (8, 1, 32, (40,), 5), (1, 1, 32, (40,), 5),
]  # fmt: skip
JOINT_CASES = [
    Case(f"{n}x{in_channels}-{channels}x{len(size)}d", "GRU", 20, n, in_channels, channels, size, kernel)
    for n, in_channels, channels, size, kernel in SHAPES
]


class Bounded(Output):
    """Layer whose gates are joined if the weight has at most `values` values."""

    def __init__(self, case: Case, values: int) -> None:
        super().__init__(case.layer())
        self.values = values

    def forward(self, x: Any) -> Tensor:
        """Returns the output."""
        with patch.multiple(_fused, JOINT_VALUES=self.values, JOINT_PRODUCTS=1 << 40):
            return super().forward(x)


IMPLEMENTATIONS: dict[str, Any] = {
    "ours": ours,
    "joint": partial(Bounded, values=1 << 40),
    "separate": partial(Bounded, values=0),
}


main = comparison_command("Time joint convolutions of GRUs.", JOINT_CASES, IMPLEMENTATIONS, MEASURED)

if __name__ == "__main__":
    main()
