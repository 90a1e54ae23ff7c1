"""Checks, packing, masks and pools of sequences of unequal length."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ... import _checks as check
from ...layers._base import SPACE
from ...layers._run import is_traced
from .blocks import framewise

Lengths = Tensor | Sequence[int]


def check_lengths(lengths: Lengths, batch: int, steps: int, min_length: int = 1) -> Tensor:
    """Checks that each sequence has a length from `min_length` to `steps`, and returns int64 ``(batch,)``.

    The tensor is on the CPU. In a graph, which cannot raise, it stays on its device, and other lengths are clamped;
    an exported file returns NaN for them.
    """
    try:
        out = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as e:
        raise TypeError(f"lengths must be {batch} whole numbers, got {lengths!r}; pass a list or a 1-D tensor") from e
    if out.shape != (0,) and (out.is_floating_point() or out.is_complex() or out.dtype == torch.bool):
        raise TypeError(f"lengths must be whole numbers, got {out.dtype}; convert with .long()")
    if out.shape != (batch,):
        raise ValueError(f"lengths must have a number for each of the {batch} sequences, got shape {tuple(out.shape)}")
    if is_traced():
        return out.to(torch.int64).clamp(min_length, steps)
    out = out.to("cpu", torch.int64)
    if batch and not (out.min() >= min_length and out.max() <= steps):
        raise ValueError(f"lengths must be from {min_length} to the {steps} steps of the input, got {out.tolist()}")
    return out


def check_sequences(
    owner: str, x: object, lengths: Lengths | None, ndim: int, in_chans: int, like: Tensor
) -> Tensor | None:
    """Checks sequences, single frames or a PackedSequence of `ndim`-d maps, and returns the checked lengths."""
    packed, space = isinstance(x, PackedSequence), SPACE[ndim]
    ranks = {ndim + 2: f"(N, C, {space})"} | ({} if packed else {ndim + 3: f"(N, T, C, {space})"})
    data: Any = x.data if isinstance(x, PackedSequence) else x
    data = check.tensor_input(owner, "a tensor or a PackedSequence", data, ranks, in_chans, -ndim - 1, like, name="x")
    is_sequence = data.dim() == ndim + 3
    if is_sequence and not data.shape[1]:
        raise ValueError(f"{owner} expected at least one frame a sequence, got {tuple(data.shape)}; drop empty ones")
    if lengths is None:
        return None
    if not is_sequence:
        got = "a PackedSequence, which has its own" if packed else f"single frames {tuple(data.shape)}"
        raise ValueError(f"lengths are only valid for sequences (N, T, C, {space}), got {got}; leave them out")
    return None if data.shape[0] == 0 else check_lengths(lengths, *data.shape[:2])


def pack(x: Tensor, lengths: Tensor) -> PackedSequence:
    """Packs sequences ``(N, T, …)`` of these lengths, which need not be sorted."""
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns zero-padded sequences ``(N, T, …)`` and their lengths; T is `steps`, or else the longest length."""
    data, sizes, _, order = packed
    # Unpacks in the packed order and then restores the original one: torch would copy it to the CPU, where meta fails.
    padded, lengths = pad_packed_sequence(PackedSequence(data, sizes), batch_first=True, total_length=steps)
    return (
        (padded, lengths)
        if order is None
        else (padded.index_select(0, order), lengths.to(order.device, non_blocking=True)[order])
    )


def map_frames(module: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Applies a function of frames ``(B, C, *S)`` to sequences ``(N, T, C, *S)`` or to a PackedSequence."""
    return PackedSequence(module(x.data), *x[1:]) if isinstance(x, PackedSequence) else framewise(module, x)


def is_frame(x: Any, ndim: int) -> bool:
    """Returns whether `x` has one frame per sequence, ``(N, C, *S)``."""
    return isinstance(x, Tensor) and x.dim() == ndim + 2


def without_padding(x: Any, lengths: Tensor | None) -> tuple[Any, Tensor | None]:
    """Returns sequences ``(N, T, …)`` as layers read them: packed and without a mask, or in a graph with a mask."""
    if lengths is None:
        return x, None
    return (x, step_mask(x, lengths)) if is_traced() else (pack(x, lengths), None)


def with_padding(y: Any, x: Any) -> Any:
    """Returns the output of a layer in the form of the model's input `x`: padded sequences, frames, or packed."""
    if isinstance(x, Tensor) and isinstance(y, PackedSequence):
        return unpack(y, x.shape[1])[0]
    return y.squeeze(1) if isinstance(x, Tensor) and x.dim() < y.dim() else y


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns booleans ``(N, T)``, true where a sequence has a step, from `lengths` ``(N,)`` or such booleans."""
    mask = lengths.to(x.device, non_blocking=True)
    return mask if mask.dtype == torch.bool else torch.arange(x.shape[1], device=x.device) < mask.unsqueeze(1)


def valid_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns :func:`step_mask` as ``(N, T, 1, …)``, which broadcasts with `x`."""
    mask = step_mask(x, lengths)
    return mask.reshape(*mask.shape, *(1,) * (x.dim() - 2))


def mask_steps(x: Tensor, lengths: Tensor | None, value: float = 0.0) -> Tensor:
    """Replaces the padding of `x` ``(N, T, …)`` by `value`; `lengths` may be a mask, or None for no padding."""
    return x if lengths is None else torch.where(valid_steps(x, lengths), x, value)


def pool_avg(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Returns the mean over all valid steps and pixels."""
    space = tuple(range(3, x.dim()))
    if lengths is None:
        return x.mean(dim=(1, *space))
    exact = torch.promote_types(x.dtype, torch.float32)  # sums over the steps, and lengths, overflow float16
    total = mask_steps(x, lengths).mean(dim=space, dtype=exact).sum(dim=1)
    return (total / lengths.to(total, non_blocking=True).unsqueeze(1)).to(x.dtype)


def pool_max(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Returns the maximum over all valid steps and pixels."""
    return mask_steps(x, lengths, -torch.inf).amax(dim=(1, *range(3, x.dim())))


def pool_last(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Averages the pixels of the last step; the backward direction has its last step at the first frame."""
    rows = torch.arange(x.shape[0], device=x.device)
    end = x[:, -1] if lengths is None else x[rows, lengths.to(x.device, non_blocking=True) - 1]
    if directions == 2:
        half = x.shape[2] // 2
        end = torch.cat([end[:, :half], x[:, 0, half:]], dim=1)
    return end.mean(dim=tuple(range(2, end.dim())))


POOLS = {"avg": pool_avg, "max": pool_max, "last": pool_last}
"""Pools by name: functions from ``(N, T, F, *S)``, lengths or None, and the number of directions to ``(N, F)``."""


def check_pool(kind: str | None) -> str | None:
    """Returns `kind` if it is a name in :data:`POOLS`, ``""`` (no pool) or None (default); else raises ValueError."""
    return check.choice("global_pool", kind, ("", *POOLS, None))


def pool(x: Any, kind: str, lengths: Lengths | None, directions: int, ndim: int) -> Tensor:
    """Pools sequences ``(N, T, F, *S)``, a PackedSequence, or single frames ``(N, F, *S)`` to ``(N, F)``."""
    if isinstance(x, PackedSequence):
        x, lengths = unpack(x)
    elif x.dim() == ndim + 2:
        x = x.unsqueeze(1)
    return POOLS[kind](x, None if lengths is None else check_lengths(lengths, *x.shape[:2]), directions)


def update_pool(kind: str, before: Tensor, new: Tensor, read: Tensor, steps: Tensor) -> Tensor:
    """Updates the pooled features `before` ``(N, F)`` of a stream with those of its next piece, `new`.

    `read` ``(N,)`` are the numbers of steps in the piece and may be 0; `steps` ``(N,)`` include them and all earlier
    steps. Pass at least float32: a running mean in half precision would stop changing after many steps.
    """
    if kind == "avg":
        merged = torch.lerp(before, new, (read / steps.clamp(min=1)).to(new).unsqueeze(1))
    else:
        merged = torch.maximum(before, new) if kind == "max" else new
    is_first, is_empty = (steps == read).unsqueeze(1), (read == 0).unsqueeze(1)
    return torch.where(is_empty, before, torch.where(is_first, new, merged))
