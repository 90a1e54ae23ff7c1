"""Sequences of unequal length: how they come in, and how they are pooled without reading what is not there."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

Lengths = Tensor | Sequence[int]


def in_graph() -> bool:
    """Whether a graph is being made that shall serve other lengths: then no length may be read."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def check_lengths(lengths: Lengths, batch: int, steps: int) -> Tensor:
    """`lengths` as a tensor of int64, one from 1 to `steps` for each sequence, on the CPU unless :func:`in_graph`.

    In a graph the values are not checked.
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
    """``(N, T, …)`` with its lengths as a packed sequence, in any order."""
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, steps: int | None = None) -> tuple[Tensor, Tensor]:
    """The way back: ``(N, T, …)`` with zeros behind each end, and the lengths."""
    return pad_packed_sequence(packed, batch_first=True, total_length=steps)


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns booleans ``(N, T)``, true where a sequence has a step, from lengths ``(N,)`` or such booleans."""
    mask = lengths.to(x.device)
    return mask if mask.dtype == torch.bool else torch.arange(x.shape[1], device=x.device) < mask.unsqueeze(1)


def valid_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """A mask of ``(N, T, 1, …)`` that is true where there is data: of lengths ``(N,)``, or of booleans ``(N, T)``."""
    mask = step_mask(x, lengths)
    return mask.reshape(*mask.shape, *(1,) * (x.dim() - 2))


def _space(x: Tensor) -> tuple[int, ...]:
    return tuple(range(3, x.dim()))


def pool_avg(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """The mean over every step and pixel that there is."""
    if lengths is None:
        return x.mean(dim=(1, *_space(x)))
    total = torch.where(valid_steps(x, lengths), x, 0).mean(dim=_space(x)).sum(dim=1)
    return total / lengths.to(total).unsqueeze(1)


def pool_max(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """The largest value over every step and pixel that there is."""
    if lengths is not None:
        x = torch.where(valid_steps(x, lengths), x, -torch.inf)
    return x.amax(dim=(1, *_space(x)))


def pool_last(x: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """The mean over the pixels of each direction's last step: the end for the first, the start for the second."""
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
"""Each takes ``(N, T, F, *S)``, the lengths or None, and the number of directions, and gives ``(N, F)``."""


def check_pool(kind: str | None) -> str | None:
    """A name of :data:`POOLS`, ``""`` for none, or None for what the input asks for."""
    if kind is not None and kind not in ("", *POOLS):
        raise ValueError(f"global_pool must be one of '', {', '.join(map(repr, POOLS))} or None, got {kind!r}")
    return kind


def check_format(output_fmt: str) -> None:
    """Refuses an order of axes that is not timm's ``"NCHW"``."""
    if output_fmt != "NCHW":
        raise ValueError(f"output_fmt must be 'NCHW' (channels before the map), got {output_fmt!r}")


def chosen_layers(num_layers: int, indices: int | Sequence[int] | None) -> list[int]:
    """Numbers of layers by timm's rule: all for None, the last n for n, and a negative one counts from the end.

    Example:
        >>> chosen_layers(3, 2), chosen_layers(3, [0, -1])
        ([1, 2], [0, 2])
    """
    every = range(num_layers)
    wanted = every[:] if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    if not {*wanted} <= {*range(-num_layers, num_layers)}:
        raise ValueError(f"indices must be of the {num_layers} layers that there are, got {indices!r}")
    return [every[i] for i in wanted]
