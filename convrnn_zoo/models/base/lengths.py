"""Sequences of unequal length: checks, packing, masks, pools, and several levels of feature maps."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..._hints import similar
from ...layers import ConvRNNBase
from ...layers import _checks as check
from .blocks import framewise

Lengths = Tensor | Sequence[int]


def in_graph() -> bool:
    """Returns whether a graph is being recorded, which must not depend on the values of lengths."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def check_lengths(lengths: Lengths, batch: int, steps: int) -> Tensor:
    """Returns `lengths` as a tensor of int64, one from 1 to `steps` per sequence.

    It is on the CPU, except in a graph, where the values are not checked.
    """
    try:
        out = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as e:
        raise TypeError(f"lengths must be {batch} whole numbers, got {lengths!r}; pass a list or a 1-D tensor") from e
    if out.shape != (0,) and (out.is_floating_point() or out.is_complex() or out.dtype == torch.bool):
        raise TypeError(f"lengths must be whole numbers, got {out.dtype}; convert with .long()")
    if out.shape != (batch,):
        raise ValueError(
            f"lengths must hold one number for each of the {batch} sequences, got shape {tuple(out.shape)}"
        )
    if in_graph():
        return out.to(torch.int64)
    out = out.to("cpu", torch.int64)
    if batch and not (out.min() >= 1 and out.max() <= steps):
        raise ValueError(
            f"lengths must be from 1 to the {steps} steps of the input, got {out.tolist()}; drop empty ones"
        )
    return out


def pack(x: Tensor, lengths: Tensor) -> PackedSequence:
    """Packs ``(N, T, …)`` by its lengths, in any order."""
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns a packed sequence as ``(N, T, …)``, padded with zeros, and its lengths."""
    return pad_packed_sequence(packed, batch_first=True, total_length=steps)


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns booleans ``(N, T)``, true where a sequence has a step, from lengths ``(N,)`` or such booleans."""
    mask = lengths.to(x.device)
    return mask if mask.dtype == torch.bool else torch.arange(x.shape[1], device=x.device) < mask.unsqueeze(1)


def valid_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns a mask ``(N, T, 1, …)``, true where there is data, from lengths ``(N,)`` or booleans ``(N, T)``."""
    mask = step_mask(x, lengths)
    return mask.reshape(*mask.shape, *(1,) * (x.dim() - 2))


def _space(x: Tensor) -> tuple[int, ...]:
    return tuple(range(3, x.dim()))


def pool_avg(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Returns the mean over all valid steps and pixels."""
    if lengths is None:
        return x.mean(dim=(1, *_space(x)))
    total = torch.where(valid_steps(x, lengths), x, 0).mean(dim=_space(x)).sum(dim=1)
    return total / lengths.to(total).unsqueeze(1)


def pool_max(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Returns the maximum over all valid steps and pixels."""
    if lengths is not None:
        x = torch.where(valid_steps(x, lengths), x, -torch.inf)
    return x.amax(dim=(1, *_space(x)))


def pool_last(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Returns the mean over the pixels of the last step of each direction."""
    rows = torch.arange(x.shape[0], device=x.device)
    end = x[:, -1] if lengths is None else x[rows, lengths.to(x.device) - 1]
    if directions == 2:
        half = x.shape[2] // 2
        end = torch.cat([end[:, :half], x[:, 0, half:]], dim=1)
    return end.mean(dim=tuple(range(2, end.dim())))


POOLS: dict[str, Callable[[Tensor, Tensor | None, int], Tensor]] = {
    "avg": pool_avg,
    "max": pool_max,
    "last": pool_last,
}
"""Pools by name: each maps ``(N, T, F, *S)``, lengths or None and the number of directions to ``(N, F)``."""


def check_pool(kind: str | None) -> str | None:
    """Returns `kind` if it is a name of :data:`POOLS`, ``""`` for no pool, or None for the default."""
    if kind is not None and kind not in ("", *POOLS):
        hint = similar(kind, POOLS)
        raise ValueError(f"global_pool must be one of '', {', '.join(map(repr, POOLS))} or None, got {kind!r}{hint}")
    return kind


def check_format(output_fmt: str) -> None:
    """Raises ValueError unless `output_fmt` is timm's ``"NCHW"``."""
    if output_fmt != "NCHW":
        raise ValueError(f"output_fmt must be 'NCHW' (channels before the map), got {output_fmt!r}")


def chosen_layers(num_layers: int, indices: int | Sequence[int] | None) -> list[int]:
    """Returns the numbers of the layers that timm's `indices` select: all for None, the last n for a number n.

    Example:
        >>> chosen_layers(3, 2), chosen_layers(3, [0, -1])
        ([1, 2], [0, 2])
    """
    layers = range(num_layers)
    selected = layers if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    if not {*selected} <= {*range(-num_layers, num_layers)}:
        raise ValueError(f"indices must be of the {num_layers} layers that there are, got {indices!r}")
    return [layers[i] for i in selected]


def run_lengths(rnn: ConvRNNBase, x: Tensor, hx: Any, lengths: Tensor) -> tuple[Tensor, Any]:
    """Returns the output of a layer for ``(N, T, …)``, zero at padded steps, and its state.

    In a graph, all steps are computed and no length is read, so that it is valid for any lengths.
    """
    if in_graph():
        ys, state = rnn.forward_layers(x, hx, mask=step_mask(x, lengths))
        return ys[-1], state
    y, state = rnn(pack(x, lengths), hx)
    return unpack(y, x.shape[1])[0], state


def run_levels(
    rnns: Iterable[nn.Module], posts: Iterable[nn.Module], maps: Sequence[Any], hx: Any, lengths: Tensor | None = None
) -> tuple[list[Any], list[Any]]:
    """Runs the layer of each level and a module on each frame of its output.

    Args:
        rnns: layers that take batch-first sequences.
        posts: modules that are applied to each frame, one per layer.
        maps: ``(N, T, C_l, H_l, W_l)`` or packed, one per level.
        hx: the state of the layer, or a list of the states of several; None for zeros.
        lengths: lengths of padded maps, in a graph.
    """
    outputs: list[Any] = []
    states = []
    for x, state, rnn, post in zip(maps, split_state(hx, len(maps)), rnns, posts, strict=True):
        if lengths is None:
            y, state = rnn(x, state)
        else:
            ys, state = rnn.forward_layers(x, state, mask=step_mask(x, lengths))  # type: ignore[operator]
            y = ys[-1]
        if isinstance(y, PackedSequence):
            outputs.append(PackedSequence(post(y.data), *y[1:]))
        else:
            y = framewise(post, y)
            outputs.append(y if lengths is None else torch.where(valid_steps(y, lengths), y, 0))
        states.append(state)
    return outputs, states


def split_state(hx: Any, levels: int) -> list[Any]:
    """Returns the state of each level: of the one that there is, or those in the list `hx`; None for zeros.

    Raises:
        ValueError: the list does not have a state for each level.
    """
    if hx is None or levels == 1:
        return [hx] * levels
    if not isinstance(hx, list | tuple) or len(hx) != levels:
        raise ValueError(
            f"expected the state as a list of {levels}, one for each level, as the model returns it, got "
            f"{check.describe(hx)}; leave it out for zero states"
        )
    return list(hx)


def check_clips(owner: str, x: object, lengths: Lengths | None, in_chans: int, like: Tensor) -> Tensor | None:
    """Checks clips, frames or packed frames of `in_chans` channels, and returns their lengths."""
    packed = isinstance(x, PackedSequence)
    data = x.data if isinstance(x, PackedSequence) else x
    if not isinstance(data, Tensor) or data.dim() not in ((4,) if packed else (4, 5)):
        raise ValueError(
            f"{owner} expected clips (N, T, C, H, W), frames (N, C, H, W) or a PackedSequence, got "
            f"{check.describe(data)}; add the missing axes, first N, then T"
        )
    if data.shape[-3] != in_chans:
        raise ValueError(
            f"{owner} expected {in_chans} channels at axis -3, (…, C, H, W), got {tuple(data.shape)}; permute it, or "
            f"build with in_chans={data.shape[-3]}"
        )
    if data.dim() == 5 and not data.shape[1]:
        raise ValueError(f"{owner} expected at least one frame a clip, got {tuple(data.shape)}; drop empty clips")
    check.device_and_dtype(owner, "x", data, like)
    if lengths is None:
        return None
    if packed or data.dim() == 4:
        got = "a PackedSequence, which has its own" if packed else f"one frame each, {tuple(data.shape)}"
        raise ValueError(f"lengths came with {got}; leave them out, or pass clips (N, T, C, H, W)")
    return check_lengths(lengths, *data.shape[:2]) if data.shape[0] else None


def pool_levels(
    levels: Sequence[Any], kind: str, lengths: Lengths | None, directions: int, ndim: int = 2
) -> list[Tensor]:
    """Pools each level to ``(N, F_l)``, by a pool of :data:`~convrnn_zoo.models.base.lengths.POOLS`.

    A level is ``(N, T, F_l, *S_l)`` with maps of `ndim` dimensions, one frame each ``(N, F_l, *S_l)``, or packed.
    """
    pooled = []
    for x in levels:
        ends = lengths
        if isinstance(x, PackedSequence):
            x, ends = unpack(x)
        elif x.dim() == ndim + 2:
            x = x.unsqueeze(1)
        ends = None if ends is None else check_lengths(ends, *x.shape[:2])
        pooled.append(POOLS[kind](x, ends, directions))
    return pooled


RunningPool = Callable[[Tensor | None, Tensor, Tensor, Tensor], Tensor]
"""Updates pooled features with a piece of a stream.

It takes the features so far ``(N, F)`` or None, the number of steps including the piece ``(N,)``, the piece
``(N, T, F, *S)`` and the lengths of its sequences ``(N,)``, which may be 0. The result is at least in single precision,
since a running mean in half precision would stop changing after many steps."""


def _running(kind: str, combine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> RunningPool:
    def pool(before: Tensor | None, steps: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths.to(y.device)
        exact = torch.promote_types(y.dtype, torch.float32)
        new = POOLS[kind](y.to(exact), lengths.clamp(min=1), 1)
        if before is None:
            return new
        is_first, is_empty = (steps == lengths).unsqueeze(1), (lengths == 0).unsqueeze(1)
        share = (lengths / steps.clamp(min=1)).to(exact).unsqueeze(1)
        return torch.where(is_empty, before, torch.where(is_first, new, combine(before, new, share)))

    return pool


RUNNING_POOLS: dict[str, RunningPool] = {
    "avg": _running("avg", torch.lerp),
    "max": _running("max", lambda before, new, share: torch.maximum(before, new)),
    "last": _running("last", lambda before, new, share: new),
}
"""Running pools, by the names of :data:`POOLS`."""
