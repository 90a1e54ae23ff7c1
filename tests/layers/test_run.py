"""Runs of a layer: masks, replaced loops, states as lists, and the number of calls down to the convolution."""

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from convrnn_zoo import ConvRNNModel, layers
from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM
from tests.helpers.layers.oracles import SEQUENCES, assert_close, case_id, mapped

LENGTHS = torch.tensor([5, 2, 3])


def build(cls: type = Conv2dLSTM, **kwargs: Any) -> Any:
    return cls(2, 3, 3, **{"num_layers": 2, "bidirectional": True, **kwargs})


def make_mask(lengths: Tensor) -> Tensor:
    """Returns booleans ``(T, N)``."""
    return torch.arange(int(lengths.max())).unsqueeze(1) < lengths


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("cls", [cls for cls in SEQUENCES if cls.ndim == 2], ids=case_id)
def test_a_mask_equals_a_packed_sequence(cls: type, checkpointed: bool) -> None:
    rnn, x = build(cls), torch.randn(5, 3, 2, 4, 5, requires_grad=True)
    rnn.grad_checkpointing = checkpointed
    sources, hx = [x, *rnn.parameters()], None
    for depth in (2, 1):
        packed, expected_state = rnn.forward_layers(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx, depth)
        expected = [pad_packed_sequence(y)[0] for y in packed]
        outputs, state = rnn.forward_layers(x, hx, depth, mask=make_mask(LENGTHS))
        assert_close((outputs, state), (expected, expected_state), 1e-5)
        grads = [torch.autograd.grad(y[-1].square().sum(), sources, allow_unused=True) for y in (outputs, expected)]
        assert_close(*grads, 1e-4)
        hx = mapped(Tensor.detach, state)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (torch.ones(5, 3), TypeError),
        ([[True] * 3] * 5, TypeError),
        (torch.ones(3, 5, dtype=torch.bool), ValueError),
        (torch.ones(5, dtype=torch.bool), ValueError),
    ],
    ids=["float", "list", "transposed", "one axis"],
)
def test_masks_are_checked(mask: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="mask"):
        build().forward_layers(torch.randn(5, 3, 2, 4, 5), mask=mask)


def test_a_packed_or_unbatched_input_takes_no_mask() -> None:
    rnn, x, mask = build(), torch.randn(5, 3, 2, 4, 5), make_mask(LENGTHS)
    for other in (x[:, 0], pack_padded_sequence(x, LENGTHS, enforce_sorted=False)):
        with pytest.raises(ValueError, match="mask"):
            rnn.forward_layers(other, mask=mask)


def test_call_depth_from_a_model_to_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most seven functions of the package call torch's convolutions, without others in between."""
    folder, calls = Path(layers.__file__).parents[1], []

    def record(conv: Any) -> Any:
        def recorded(x: Tensor, *args: Any) -> Tensor:
            frames = [f for f in traceback.extract_stack() if folder in Path(f.filename).parents]
            calls.append([f.name for f in frames if "comp>" not in f.name])  # part of its function since Python 3.12
            return conv(x, *args)

        return recorded

    monkeypatch.setattr("convrnn_zoo.layers._conv._CONV", {2: record(torch.conv2d)})
    monkeypatch.setattr("torch._C._get_mkldnn_enabled", lambda: False)
    model = ConvRNNModel(Conv2dLSTM, in_chans=2, hidden_channels=64, bidirectional=True).eval()
    with torch.inference_mode():
        model(torch.randn(2, 3, 2, 24, 24))
    assert len(calls) == 2 * 3  # of each direction and step
    for stack in calls:
        assert stack[0] == "forward"
        assert len(stack) <= 7, stack


def test_a_model_runs_the_hooks_of_its_layer() -> None:
    """Pruning computes a weight before every call, so that a second step has a graph of its own."""
    model = ConvRNNModel(Conv2dLSTM, in_chans=1, hidden_channels=2)
    prune.l1_unstructured(model.rnn, "weight_hh_l0", 0.5)
    x, calls = torch.randn(2, 3, 1, 4, 4), []
    model.rnn.register_forward_hook(lambda *_: calls.append(None))
    for _ in range(2):
        model(x).sum().backward()
    before = model(x)
    with torch.no_grad():
        model.rnn.weight_hh_l0_orig.mul_(3)
    assert not torch.equal(model(x), before)
    assert len(calls) == 4


@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU, layers.Conv2dMinGRU])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_masked_steps_do_not_reach_the_gradients(cls: type, value: float) -> None:
    rnn, x = build(cls), torch.randn(5, 3, 2, 4, 5)
    x = torch.where(make_mask(LENGTHS)[..., None, None, None], x, value)
    outputs, _ = rnn.forward_layers(x, mask=make_mask(LENGTHS))
    outputs[-1].sum().backward()
    assert all(p.grad.isfinite().all() for p in rnn.parameters())


def test_weights_that_are_computed_are_listed_and_not_reset() -> None:
    rnn = Conv2dLSTM(1, 2, 3, num_layers=2)
    torch.nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l1")
    assert [len(weights) for weights in rnn.all_weights] == [4, 4]
    for call in (rnn.reset_parameters, lambda: rnn.keep_layers(1)):
        with pytest.raises(RuntimeError, match="weight_hh_l1"):
            call()
