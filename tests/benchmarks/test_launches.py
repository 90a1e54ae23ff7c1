"""The calls that start a kernel on a GPU do not become more, and none of them reads a value."""

from typing import Any

import pytest
import torch

from benchmarks.launches import LAYERS, STEPS, Calls, count_layer
from convrnn_zoo.layers import Conv1dGRU, Conv1dLSTM, Conv2dGRU, Conv2dLSTM, Conv3dGRU, Conv3dLSTM

MOST = {
    "RNN": (4.4, 8.3),
    "LSTM": (2.6, 6.3),
    "peephole LSTM": (14.5, 37.5),
    "peephole LSTM, by channel": (13.5, 41.5),
    "GRU": (2.5, 7.1),
    "GRU, reset before": (10.5, 28.2),
}
"""Calls a step, in inference and in training."""


@pytest.mark.parametrize("name", LAYERS)
def test_calls_of_a_kind_of_layer_do_not_become_more(name: str) -> None:
    cls, options = LAYERS[name]
    for count, most in zip(count_layer(cls, **options), MOST[name], strict=True):
        assert 1 < count.total() / STEPS <= most


@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True}, {"lengths": [20, 17, 9, 4]}, {"autocast": torch.bfloat16}],
    ids=["plain", "bidirectional", "packed", "bfloat16"],
)
@pytest.mark.parametrize("cls", [Conv1dLSTM, Conv2dLSTM, Conv3dLSTM, Conv1dGRU, Conv2dGRU, Conv3dGRU])
def test_a_step_takes_at_most_four_calls_and_ten_in_training(cls: type, options: dict[str, Any]) -> None:
    count = count_layer(cls, **options)
    steps = STEPS * (2 if options.get("bidirectional") else 1)
    assert count.inference["kernel of a step"] == steps
    assert count.training["kernel of a step"] == 2 * steps
    fixed = (
        14 if "autocast" in options else 0
    )  # each step casts h and the gates, so that the rest of a layer comes on top
    assert count.inference.total() <= 4 * steps + fixed
    assert count.training.total() <= 10 * steps + fixed


@pytest.mark.parametrize("read", [torch.Tensor.item, torch.Tensor.cpu, bool, torch.nonzero])
def test_a_read_of_a_value_would_be_an_error(read: Any) -> None:
    with Calls(), pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.empty((), device="meta"))
