"""A loop over time that stays a loop in an exported graph: torch's higher-order scan.

torch calls it a prototype, and its module is private. Only this file uses it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

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
    """Runs ``state = step(x, state)`` for each x of the tensors `xs` along axis 0.

    The operator takes all that its body reads as inputs. ``torch._higher_order_ops.scan.scan`` would find what the step
    reads besides by compiling it, which fills and obeys the caches of the user's process. Here a first step outside the
    loop records it.

    Returns:
        The first tensor of each state, stacked along axis 0, and the last state.
    """
    from torch._higher_order_ops.scan import scan_op

    xs = tuple(_owned(x.flip(0) if reverse else x) for x in xs)
    first = tuple(map(_owned, first))
    example = tuple(x[0] for x in xs)
    with _RecordReads([*example, *first]) as record:
        step(example, first)  # dead code in the graph

    def body(*values: Tensor) -> list[Tensor]:
        state, x, reads = values[: len(first)], values[len(first) :][: len(xs)], values[len(first) + len(xs) :]
        with _Replace(dict(zip(map(id, record.reads), reads, strict=True))):
            new = [_owned(s) for s in step(x, state)]
        return [*new, new[0].clone()]

    *last, ys = scan_op(body, list(first), list(xs), additional_inputs=tuple(record.reads))
    return ys.flip(0) if reverse else ys, tuple(last)


class _RecordReads(TorchFunctionMode):
    """Lists the tensors that functions of torch read, except the `known` ones and those computed meanwhile."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {id(tensor): tensor for tensor in known}  # kept, so that no id is given twice
        self.reads: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and id(value) not in self.known:
                self.known[id(value)] = value
                self.reads.append(value)
        result = func(*args, **(kwargs or {}))
        self.known.update((id(value), value) for value in tree_leaves(result) if isinstance(value, Tensor))
        return result


class _Replace(TorchFunctionMode):
    """Passes other tensors to functions of torch, by the ids of the tensors that they replace."""

    def __init__(self, replacements: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.replacements = replacements

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(lambda value: self.replacements.get(id(value), value), (args, kwargs or {}))
        return func(*args, **kwargs)


def _owned(x: Tensor) -> Tensor:
    """Returns a copy: tensors of a loop must not share memory, and must have one layout before and after a step."""
    return x.clone(memory_format=torch.contiguous_format)
