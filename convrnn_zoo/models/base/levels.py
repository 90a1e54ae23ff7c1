"""Several levels of feature maps, each with a recurrent layer of its own: run in time, pooled, and read."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ...layers import _checks as check
from .blocks import framewise
from .masked import run_masked
from .sequences import POOLS, Lengths, check_lengths, unpack, valid_steps


def run_levels(
    rnns: Iterable[nn.Module], posts: Iterable[nn.Module], maps: Sequence[Any], hx: Any, lengths: Tensor | None = None
) -> tuple[list[Any], list[Any]]:
    """The output of each level's layer behind its module of single frames, and its state.

    Args:
        rnns: layers that take batch-first sequences.
        posts: modules of single frames, one behind each layer.
        maps: ``(N, T, C_l, H_l, W_l)`` or packed, one a level.
        hx: the state of the one layer, or a list of one a layer; None for zeros.
        lengths: of padded maps, where a graph is being made; see :func:`~convrnn_zoo.models.base.masked.run_masked`.
    """
    outputs: list[Any] = []
    states = []
    for x, state, rnn, post in zip(maps, split_state(hx, len(maps)), rnns, posts, strict=True):
        if lengths is None:
            y, state = rnn(x, state)
        else:
            ys, state = run_masked(rnn, x, state, lengths)  # type: ignore[arg-type]
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
    """Refuses what are no clips, frames or packed frames of `in_chans` channels; gives the lengths, checked."""
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
        came = "a PackedSequence, which has its own" if packed else f"one frame each, {tuple(data.shape)}"
        raise ValueError(f"lengths came with {came}; leave them out, or pass clips (N, T, C, H, W)")
    return check_lengths(lengths, *data.shape[:2]) if data.shape[0] else None


def pool_levels(
    levels: Sequence[Any], kind: str, lengths: Lengths | None, directions: int, ndim: int = 2
) -> list[Tensor]:
    """``(N, F_l)`` of each level, by a pool of :data:`~convrnn_zoo.models.base.sequences.POOLS`.

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


def mean_probability(logits: Sequence[Tensor]) -> Tensor:
    """Logits ``(N, K)`` whose softmax is the mean of those of each of `logits`."""
    return torch.stack([x.log_softmax(-1) for x in logits]).logsumexp(0) - math.log(len(logits))


def hidden_layers(widths: Sequence[int], device: Any = None, dtype: torch.dtype | None = None) -> nn.Sequential:
    """Linear layers from each width to the next, each followed by ReLU; none for one width."""
    layers: list[nn.Module] = []
    for below, above in pairwise(widths):
        layers += [nn.Linear(below, above, device=device, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*layers)
