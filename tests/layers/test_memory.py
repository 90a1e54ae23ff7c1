"""Memory of training with and without checkpointing, and constant memory of inference and streaming."""

import gc
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.plain import Plain
from convrnn_zoo import create_model
from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM


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


def test_a_training_step_saves_less_than_the_plain_loop() -> None:
    rnn, x = Conv2dLSTM(8, 8, 3), torch.randn(12, 2, 8, 8, 8)
    plain = Plain(rnn)
    input_size = x.untyped_storage().nbytes()  # saved by both
    assert saved(lambda: rnn(x)[0]) - input_size < 0.9 * (saved(lambda: plain(x)) - input_size)


def test_checkpointing_saves_only_the_ends_of_segments() -> None:
    rnn, x = Conv2dLSTM(8, 8, 3), torch.randn(100, 2, 8, 8, 8)
    everything = saved(lambda: rnn(x)[0])
    rnn.grad_checkpointing = True
    assert saved(lambda: rnn(x)[0]) < 0.3 * everything


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
                status = Path("/proc/self/status").read_text()
                resident.append(next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmRSS" in line))
    assert resident[1] - resident[0] < 4 << 20


def peak(run: Callable[[], object]) -> int:
    """Largest number of bytes that torch holds at once for `run`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = sorted(profiler.events(), key=lambda e: e.time_range.start)
    return max(accumulate(e.self_cpu_memory_usage for e in events))


@pytest.mark.parametrize("packed", [pytest.param(False, marks=pytest.mark.slow), True], ids=["padded", "packed"])
def test_inference_keeps_the_outputs_of_two_layers_at_a_time(packed: bool) -> None:
    x: Any = torch.randn(25, 2, 8, 32, 32)
    bytes_of_output = x.untyped_storage().nbytes()
    x = pack_padded_sequence(x, torch.tensor([25, 25])) if packed else x
    with torch.no_grad():
        for num_layers in (2, 5):
            rnn = Conv2dGRU(8, 8, 3, num_layers)
            assert peak(lambda rnn=rnn: rnn(x)) < 3 * bytes_of_output


def test_a_model_keeps_only_the_outputs_that_its_features_need() -> None:
    x = torch.randn(1, 25, 8, 32, 32)
    model = create_model("convgru2d_1layer", in_chans=8, hidden_channels=8, num_layers=5).eval()
    with torch.no_grad():
        assert peak(lambda: model(x)) < 3 * x.untyped_storage().nbytes()
    _, maps = model.forward_intermediates(x)
    assert len(maps) == 5
