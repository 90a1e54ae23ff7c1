"""Minimal layers: the equations of their paper, blocks of steps, and the outputs of the original code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from convrnn_zoo.layers import Conv2dMinExpLSTM, Conv2dMinGRU, Conv2dMinLSTM, _run
from convrnn_zoo.layers._run import run_linear_loop
from tests.helpers.layers.oracles import CLASSES, case_id
from tests.helpers.registry import two_dimensions_first

KINDS = {"minconvgru": Conv2dMinGRU, "minconvlstm": Conv2dMinLSTM, "minconvexplstm": Conv2dMinExpLSTM}
RECORDED = load_file(Path(__file__).parent / "published" / "minimal.safetensors")


def steps(rnn: Any, x: Tensor, h: Tensor) -> Tensor:
    """Returns the states of a layer, one step at a time."""
    ys = []
    for frame in x:
        _, h = rnn(frame[None], h)
        ys.append(h[0])
    return torch.stack(ys)


# ---- the original ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", KINDS)
def test_the_outputs_of_the_original_code(name: str) -> None:
    recorded = {key.removeprefix(name + "."): v for key, v in RECORDED.items() if key.startswith(name + ".")}
    rnn = KINDS[name](3, 3, 3)
    rnn.load_state_dict({"weight_ih_l0": recorded["weight"], "bias_ih_l0": recorded["bias"]})
    torch.testing.assert_close(rnn(recorded["x"])[0], recorded["steps"], rtol=1e-5, atol=1e-6)
    # In parallel, the original passes its zero state through g.
    start = torch.full((1, 2, 3, 5, 6), 0.5)
    torch.testing.assert_close(rnn(recorded["x"], start)[0], recorded["parallel"], rtol=1e-5, atol=1e-6)


# ---- the recurrence --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("num_steps", "num_blocks"), [(1, 1), (6, 2), (7, 3), (12, 12), (5, 1)])
def test_blocks_give_the_states_and_gradients_of_the_loop(num_steps: int, num_blocks: int, reverse: bool) -> None:
    f, b = torch.rand(2, num_steps, 2, 3, dtype=torch.float64, requires_grad=True).unbind(0)
    h = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    state, expected = h, []
    for t in range(num_steps)[:: -1 if reverse else 1]:
        state = f[t] * state + b[t]
        expected.append(state)
    ys = torch.stack(run_linear_loop(f, b, h, reverse=reverse, num_blocks=num_blocks))
    loop = torch.stack(expected[:: -1 if reverse else 1])
    torch.testing.assert_close(ys, loop)
    for actual, expected_grad in zip(
        torch.autograd.grad(ys.square().sum(), (f, b, h)),
        torch.autograd.grad(loop.square().sum(), (f, b, h)),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected_grad)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("cls", two_dimensions_first(KINDS.values()), ids=case_id)
def test_a_long_sequence_of_vanishing_and_saturated_gates(
    cls: type, scale: float, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares with single steps in double precision; every value and gradient is finite."""
    if blocks:
        monkeypatch.setattr(
            _run, "run_linear_loop", lambda *args, num_blocks, **kw: run_linear_loop(*args, num_blocks=14, **kw)
        )
    rnn = cls(2, 3, 3)
    with torch.no_grad():
        rnn.weight_ih_l0[: -rnn.widths[0]].mul_(scale)  # the gates, and not the candidate
    x, h = torch.randn(100, 1, 2, 5, 6, requires_grad=True), torch.rand(1, 1, 3, 5, 6)
    y, last = rnn(x, h)
    exact = cls(2, 3, 3, dtype=torch.float64)
    exact.load_state_dict(rnn.state_dict())
    with torch.no_grad():
        expected = steps(exact, x.double(), h.double())
        single = steps(rnn, x, h)
    assert (y - single).abs().max() <= 1e-5
    assert (y - expected).abs().max() <= 1e-5 * max(1.0, scale)  # the gates' own rounding
    assert torch.equal(last[0], y[-1])
    y.sum().backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, *rnn.parameters()))


# ---- limitations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls.is_linear], ids=case_id)
def test_a_state_to_state_kernel_is_rejected(cls: type) -> None:
    with pytest.raises(ValueError, match=rf"hidden_kernel_size.*{cls.__name__}\b.* \(?3"):
        cls(2, 3, 3, hidden_kernel_size=3)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cls", KINDS.values(), ids=case_id)
def test_gates_that_leave_the_caches_are_convolved_in_parts(
    cls: type, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn, x = cls(2, 3, 3, bidirectional=True, dtype=torch.float64), torch.randn(7, 2, 2, 4, 5, dtype=torch.float64)
    batch: Any = pack_padded_sequence(x, torch.tensor([7, 4])) if packed else x
    results = []
    for size in (1 << 20, 1):
        monkeypatch.setattr(_run, "GATES_BYTES", size)
        y, last = rnn(batch)
        y = y.data if packed else y
        results.append((y, last, *torch.autograd.grad(y.square().sum(), list(rnn.parameters()))))
    for unsplit, split in zip(*results, strict=True):
        torch.testing.assert_close(unsplit, split)
