"""Memory of training with and without checkpointing, and constant memory of inference and streaming."""

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.cases import Case
from benchmarks.memory import peak_of
from benchmarks.plain import Plain
from convrnn_zoo.layers import Conv2dLSTM

CASE = Case("batch", "LSTM", 20, 16, 64, 64, (16, 16), 3)


def saved(run: Callable[[], Tensor]) -> int:
    """Bytes of distinct storages that the backward pass of `run` holds on to."""
    held: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        held[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        out = run()
    assert out.requires_grad
    return sum(held.values())


def test_a_training_step_saves_less_than_the_plain_scan() -> None:
    rnn, x = Conv2dLSTM(8, 8, 3), torch.randn(12, 2, 8, 8, 8)
    plain = Plain(rnn)
    input_size = x.untyped_storage().nbytes()  # saved by both
    assert saved(lambda: rnn(x)[0]) - input_size < 0.9 * (saved(lambda: plain(x)) - input_size)


def test_checkpointing_saves_only_the_ends_of_segments() -> None:
    rnn, x = Conv2dLSTM(8, 8, 3), torch.randn(100, 2, 8, 8, 8)
    everything = saved(lambda: rnn(x)[0])
    rnn.grad_checkpointing = True
    assert saved(lambda: rnn(x)[0]) < 0.3 * everything


@pytest.mark.slow
def test_peak_of_a_training_step_is_below_that_of_the_plain_scan() -> None:
    ours, plain = (peak_of(CASE, scheme) for scheme in ("ours", "two convolutions"))
    assert ours is not None
    assert plain is not None
    assert ours <= 0.72 * plain


@pytest.mark.slow
def test_peak_with_checkpointing_over_200_steps() -> None:
    long = CASE._replace(steps=200)
    ours, plain = (peak_of(long, scheme) for scheme in ("ours recomputing", "two convolutions"))
    assert ours is not None
    assert plain is not None
    assert ours <= 0.15 * plain


@pytest.mark.needs("linux")
@pytest.mark.slow
def test_streaming_is_flat() -> None:
    rnn, frame, state = Conv2dLSTM(4, 8, 3), torch.randn(1, 1, 4, 16, 16), None
    resident = []
    with torch.inference_mode():
        for step in range(10_000):
            _, state = rnn(frame, state)
            if step in (2_000, 9_999):
                gc.collect()
                resident.append(_resident())
    assert resident[1] - resident[0] < 4 << 20


def _resident() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
