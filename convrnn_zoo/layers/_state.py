"""States as callers know them (torch's stacks, in their batch order) and as the layers take them."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from . import _checks as check

States = list[tuple[Tensor, ...]]  # one a layer and direction, in torch's order: l0, l0_reverse, l1, …


def packed_sizes(owner: str, packed: PackedSequence) -> list[int]:
    """The batch size of every step, checked: torch lets a hand-made PackedSequence hold anything."""
    sizes = packed.batch_sizes.tolist()
    whole = packed.batch_sizes.dim() == 1 and packed.batch_sizes.dtype == torch.int64
    falling = whole and all(a >= b for a, b in itertools.pairwise(sizes))
    cure = "make it with torch.nn.utils.rnn.pack_padded_sequence"
    if not sizes or not falling or sizes[-1] < 1 or sum(sizes) != len(packed.data):
        raise ValueError(
            f"{owner} expected a PackedSequence whose batch sizes are positive, never rise and sum to its "
            f"{len(packed.data)} rows, got {sizes}; {cure}"
        )
    for name, order in zip(packed._fields[2:], packed[2:], strict=True):
        if order is not None and tuple(order.shape) != (sizes[0],):
            raise ValueError(
                f"{owner} expected a PackedSequence with {name} for its {sizes[0]} sequences, "
                f"got {check.describe(order)}; {cure}"
            )
    return sizes


def unpack_state(
    owner: str,
    hx: Any,
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    stacked: bool,
    like: Tensor,
    order: Tensor | None,
    unbatched: bool,
) -> States:
    """The caller's `hx` as one tuple a layer and direction.

    `shapes` holds ``(D, N, C_l, *S)`` (without N when `unbatched`) for each layer; `stacked` states come as one
    tensor of all of them, others as one tensor a layer. `order` brings the batch into packed order.
    """
    if hx is None:
        zero = like.new_zeros(())
        zeros = [(zero.expand((1, *s[1:]) if unbatched else s[1:]), s[0]) for s in shapes]
        return [(zero,) * len(names) for zero, directions in zeros for _ in range(directions)]
    parts = []
    for name, part in zip(names, check.state_parts(owner, hx, names), strict=True):
        if stacked:
            whole = (sum(s[0] for s in shapes), *shapes[0][1:])
            layers = list(check.state_tensor(owner, f"{name}_0", part, whole, like).split([s[0] for s in shapes]))
        else:
            if not isinstance(part, (tuple, list)):
                raise TypeError(
                    f"{owner} expected {name}_0 as a tuple of {len(shapes)} tensors (one a layer, since out_channels "
                    f"is a list), got {check.describe(part)}; pass None for a zero state"
                )
            if len(part) != len(shapes):
                raise ValueError(
                    f"{owner} expected {name}_0 to hold {len(shapes)} layers, got {len(part)}; pass one a layer"
                )
            layers = [
                check.state_tensor(owner, f"{name}_0[{i}]", p, s, like)
                for i, (p, s) in enumerate(zip(part, shapes, strict=True))
            ]
        if unbatched:
            layers = [s.unsqueeze(1) for s in layers]
        if order is not None:
            layers = [s.index_select(1, order) for s in layers]
        parts.append([direction for layer in layers for direction in layer.unbind(0)])
    return list(zip(*parts, strict=True))


def pack_state(finals: States, directions: int, stacked: bool, order: Tensor | None, unbatched: bool) -> Any:
    """The way back: a tensor (or a tuple of one a layer) for each state, in the caller's batch order."""
    parts = []
    for tensors in zip(*finals, strict=True):
        each = len(tensors) if stacked else directions
        layers = [torch.stack(tensors[i : i + each]) for i in range(0, len(tensors), each)]
        if order is not None:
            layers = [s.index_select(1, order) for s in layers]
        if unbatched:
            layers = [s.squeeze(1) for s in layers]
        parts.append(layers[0] if stacked else tuple(layers))
    return tuple(parts) if len(parts) > 1 else parts[0]
