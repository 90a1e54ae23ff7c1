"""Counts the calls that start a kernel on a GPU, without one: ``python -m benchmarks.launches``.

The layers and models run on meta tensors, which have a shape and no values, by the path of a GPU. Views and allocations
start no kernel and are not counted; convolutions, copies and operations in place are. A read of a value by the host is
an error, since a meta tensor has none. Times on a card are not known from it: ``python -m benchmarks.device`` measures
them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode

import convrnn_zoo
from convrnn_zoo.layers import _fused, _in_place, _kernels

STEPS, SHAPE, CHANNELS = 20, (4, 8, 32, 32), 16
FREE = ("empty", "new_empty", "detach", "_unsafe_view", "lift_fresh", "alias")
"""Beginnings of the names of operations that only allocate or rename."""


_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_channels_last(t: Tensor) -> bool:
    return t.is_contiguous(memory_format=_LAYOUTS[t.dim()]) and not t.is_contiguous()


class Calls(TorchDispatchMode):
    """Counts the operations that start a kernel, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        returns = [r.alias_info for r in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        result = func(*args, **(kwargs or {}))
        if name == "convolution" and any(t.dim() > 3 and _is_channels_last(t) for t in args[:2]):
            # as cuDNN does; other devices follow the input only
            result = result.contiguous(memory_format=_LAYOUTS[result.dim()])
        if not is_view and not name.startswith(FREE):
            self.by_name["kernel of a step" if name == "sinh" else name] += 1
        return result


def _matrix(rows: Tensor, factor: int) -> Tensor:
    return rows.new_empty((rows.shape[0], rows.shape[1] * factor))


def _fake_kernels() -> dict[str, Callable[..., Any]]:
    """Returns functions with the shapes of torch's kernels, of which some versions have no fake implementation."""

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = function(*args)
            torch.sinh(result[0])  # counts as the one call of the kernel, named so since no layer calls it
            return result

        return call

    return {
        "_thnn_fused_lstm_cell": count(lambda x, h, c, *b: (_matrix(c, 1), _matrix(c, 1), _matrix(c, 4))),
        "_thnn_fused_lstm_cell_backward_impl": count(
            lambda dh, dc, c, new, workspace, bias: (_matrix(dh, 4), _matrix(dh, 1), None)
        ),
        "_thnn_fused_gru_cell": count(lambda x, h, state, *b: (_matrix(state, 1), _matrix(state, 5))),
        "_thnn_fused_gru_cell_backward": count(
            lambda dh, workspace, bias: (*(_matrix(dh, 3),) * 2, _matrix(dh, 1), None, None)
        ),
    }


@contextlib.contextmanager
def fake_device(*, has_kernels: bool = True) -> Iterator[None]:
    """Context manager in which meta tensors take the path of a GPU, optionally of one without torch's kernels."""
    with (
        patch.object(_kernels, "ops", SimpleNamespace(**_fake_kernels())),
        patch.object(_kernels, "has_operations", lambda device: has_kernels and device == "meta"),
        patch.object(_in_place, "CHANNELS_LAST", ("meta",) if has_kernels else ()),
    ):
        yield


class Count(NamedTuple):
    """Calls by operation, in a forward pass without gradients, and in forward and backward pass together."""

    inference: Counter[str]
    training: Counter[str]


def count_calls(
    make: Callable[[], Any],
    *shape: int,
    dtype: torch.dtype | None = None,
    has_kernels: bool = True,
    lengths: Sequence[int] = (),
) -> Count:
    """Counts the calls of a module that `make` builds on meta tensors, for an input of a shape.

    `dtype` is that of autocast. `lengths`, in descending order, pack a sequence for each length.
    """
    with fake_device(has_kernels=has_kernels):
        module = make()
        x: Any = torch.empty(*shape, device="meta")
        if lengths:
            sizes = torch.tensor([sum(n > t for n in lengths) for t in range(lengths[0])])
            x = PackedSequence(torch.empty(sum(lengths), *shape[2:], device="meta"), sizes)
        with patch.object(_fused, "_conv_dtype", lambda own, device: dtype or own):
            with torch.no_grad(), Calls() as inference:
                module.eval()(x)
            module.train()
            with Calls() as training:
                _first_tensor(module(x)).sum().backward()
    return Count(inference.by_name, training.by_name)


def _first_tensor(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else _first_tensor(output[0])


LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "RNN": (convrnn_zoo.Conv2dRNN, {}),
    "LSTM": (convrnn_zoo.Conv2dLSTM, {}),
    "peephole LSTM": (convrnn_zoo.Conv2dPeepholeLSTM, {}),
    "peephole LSTM, by channel": (convrnn_zoo.Conv2dPeepholeLSTM, {"peephole": "channel"}),
    "GRU": (convrnn_zoo.Conv2dGRU, {}),
    "GRU, reset before": (convrnn_zoo.Conv2dGRU, {"reset_after": False}),
}
"""Layers of the first table, and their options."""
MODELS: dict[str, tuple[int, ...]] = {
    "convlstm2d_bi_2layer": (4, 20, 1, 32, 32),
    "convgru_advection": (1, 6, 1, 128, 128),
    "convgru_forecaster": (2, 10, 1, 64, 64),
    "predrnn": (2, 10, 1, 64, 64),
    "phydnet": (2, 10, 1, 64, 64),
}
"""Models of the second table, and the shapes of their inputs ``(N, T, C, H, W)``."""


def count_layer(cls: Any, *, has_kernels: bool = True, lengths: Sequence[int] = (), **options: Any) -> Count:
    """Counts the calls of a layer over 20 steps of (4, 8, 32, 32), with 16 hidden channels.

    `options` are those of the layer, and `autocast`, the dtype of its convolutions.
    """
    n, channels, *size = SHAPE
    size, dtype = {1: [32], 2: size, 3: [8, 8, 8]}[cls.ndim], options.pop("autocast", None)
    make = partial(cls, channels, CHANNELS, 3, device="meta", **options)
    return count_calls(make, STEPS, n, channels, *size, dtype=dtype, has_kernels=has_kernels, lengths=lengths)


def count_model(name: str, *, has_kernels: bool = True) -> Count:
    """Counts the calls of a model without weights."""

    def make() -> Any:
        return convrnn_zoo.create_model(name, in_chans=1).to("meta")

    return count_calls(make, *MODELS[name], has_kernels=has_kernels)


def main() -> None:
    """Print both tables."""
    print(f"| {STEPS} steps of {SHAPE}, {CHANNELS} channels | inference, calls a step | training, calls a step |")
    print("|---|---|---|")
    for name, (cls, options) in LAYERS.items():
        before, now = (count_layer(cls, has_kernels=has_kernels, **options) for has_kernels in (False, True))
        cells = (f"{old.total() / STEPS:.1f} → {new.total() / STEPS:.1f}" for old, new in zip(before, now, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| model | inference, calls | training, calls | most of inference |\n|---|---|---|---|")
    for name, shape in MODELS.items():
        before, now = (count_model(name, has_kernels=has_kernels) for has_kernels in (False, True))
        cells = (f"{old.total()} → {new.total()}" for old, new in zip(before, now, strict=True))
        most = ", ".join(f"{count} {op}" for op, count in now.inference.most_common(4))
        print(f"| `{name}` {shape} | {' | '.join(cells)} | {most} |")


if __name__ == "__main__":
    main()
