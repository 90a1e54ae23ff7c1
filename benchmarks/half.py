"""Cost of half precision on a CPU: ``python -m benchmarks.half`` times layers in bfloat16 and writes half.json."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from convrnn_zoo.layers import _fused

from .cases import CASES, Case
from .measure import comparison_command
from .peers import Output, ours

MEASURED = Path(__file__).with_name("half.json")
NAMES = ("wide", "large-map", "tiny", "batch", "gru")


class Half(Output):
    """Layer in bfloat16: under autocast, or with bfloat16 weights and input.

    With `convert`, the convolutions run in bfloat16 even where the layer considers float32 faster.
    """

    def __init__(self, case: Case, autocast: bool, convert: bool) -> None:
        super().__init__(case.layer() if autocast else case.layer().bfloat16())
        self.autocast, self.convert = autocast, convert
        self.x = case.padded() if autocast else case.padded().bfloat16()

    def forward(self, _: Any) -> Tensor:
        """Returns the output in float32."""
        is_fast = (lambda dtype: True) if self.convert else _fused.half_is_fast
        with patch.object(_fused, "half_is_fast", is_fast), torch.autocast("cpu", enabled=self.autocast):
            return super().forward(self.x).float()


IMPLEMENTATIONS: dict[str, Any] = {
    "float32": ours,
    "autocast": partial(Half, autocast=True, convert=False),
    "bfloat16 weights": partial(Half, autocast=False, convert=False),
    "autocast, bfloat16 convolutions": partial(Half, autocast=True, convert=True),
    "bfloat16 weights and convolutions": partial(Half, autocast=False, convert=True),
}


main = comparison_command(
    "Time layers in bfloat16 against float32.", [c for c in CASES if c.name in NAMES], IMPLEMENTATIONS, MEASURED
)

if __name__ == "__main__":
    main()
