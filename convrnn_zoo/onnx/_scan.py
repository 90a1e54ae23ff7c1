"""A loop over time that stays a loop in an exported graph: torch's higher-order scan.

torch calls it a prototype, and its place is private. This file alone knows it; ``tests/export`` pins what it must do.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._errors import ExportError

Maps = tuple[Tensor, ...]
FIRST = (2, 13)
"""The first torch that this was run with. Exporters of some before it may make a Scan as well; 2.6 makes none."""


def check_version() -> None:
    """Refuses a torch that cannot export a loop.

    Raises:
        ExportError: torch is older than :data:`FIRST`.
    """
    have = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if have < FIRST:
        wanted = ".".join(map(str, FIRST))
        raise ExportError(
            f"a loop over time is exported by torch {wanted} or newer, and this is {torch.__version__}; upgrade torch, "
            "or export the step form, which has no loop"
        )


def scan(step: Callable[[Maps, Maps], Maps], xs: Maps, first: Maps, *, reverse: bool = False) -> tuple[Tensor, Maps]:
    """The first entry of ``state = step(x, state)`` for each x of the tensors `xs` along axis 0, and the last state."""
    from torch._higher_order_ops.scan import scan as higher_order_scan

    def body(state: Maps, x: Maps) -> tuple[Maps, Tensor]:
        new = tuple(map(_own, step(x, state)))
        return new, new[0].clone()

    # torch traces the body by its compiler, which in an export takes every size for open, those of weights as well.
    fixed: Any = torch._dynamo.config.patch(assume_static_by_default=True, automatic_dynamic_shapes=False)
    with fixed:
        end, ys = higher_order_scan(body, tuple(map(_own, first)), tuple(map(_own, xs)), reverse=reverse)
    return ys, end


def _own(x: Tensor) -> Tensor:
    """A copy: what goes around must not share memory, and must lie in it alike before and after a step."""
    return x.clone(memory_format=torch.contiguous_format)
