"""For any layer, the engine gives the outputs, states and gradients of the plain loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn_zoo.layers import Conv2dGRU, _in_place
from tests.helpers.layers.comparison import VARIANTS, assert_same, built, lengths_of_sequences, outcomes
from tests.helpers.layers.oracles import SEQUENCES, case_id
from tests.helpers.registry import two_dimensions_first


@pytest.mark.parametrize("examples", [10, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cls", two_dimensions_first(SEQUENCES), ids=case_id)
def test_in_double_precision_over_all_options(cls: type, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(built(cls), lengths_of_sequences, st.booleans(), st.booleans())
    def holds(rnn: torch.nn.Module, lengths: list[int], packed: bool, with_state: bool) -> None:
        assert_same(*outcomes(rnn, lengths, packed, with_state), tolerance=1e-10)

    holds()


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(VARIANTS), ids=case_id)
def test_in_single_precision(cls: type, options: dict, packed: bool) -> None:
    rnn = cls(3, 4, 3, num_layers=2, bidirectional=True, **options)
    for with_state in (False, True):
        assert_same(*outcomes(rnn, [4, 3, 3, 1], packed, with_state), tolerance=1e-5)


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(VARIANTS), ids=case_id)
def test_checkpointing_changes_nothing(cls: type, options: dict) -> None:
    rnn = cls(2, 3, 3, num_layers=2, bidirectional=True, dtype=torch.float64, **options)
    rnn.grad_checkpointing = True
    for packed in (False, True):
        assert_same(*outcomes(rnn, [7, 5, 2, 2], packed, with_state=True), tolerance=1e-10)


@pytest.mark.parametrize("recompute", [False, True])
def test_only_required_gradients_are_computed(recompute: bool) -> None:
    rnn, x = SEQUENCES[4](2, 3, 3), torch.randn(3, 2, 2, 4, requires_grad=True)
    rnn.grad_checkpointing = recompute
    rnn.requires_grad_(False)
    rnn(x)[0].sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in rnn.parameters())
    rnn.weight_hh_l0.requires_grad_(True)
    rnn(x.detach())[0].sum().backward()
    assert [name for name, p in rnn.named_parameters() if p.grad is not None] == ["weight_hh_l0"]


@pytest.mark.parametrize("recompute", [False, True])
def test_last_state_can_be_differentiated_without_the_output(recompute: bool) -> None:
    rnn, x = SEQUENCES[4](2, 3, 3), torch.randn(3, 2, 2, 4, requires_grad=True)
    rnn.grad_checkpointing = recompute
    h, *_ = rnn(x)[1]
    h.sum().backward()
    by_state, x.grad = x.grad, None
    rnn(x)[0][-1].sum().backward()
    torch.testing.assert_close(by_state, x.grad)


@pytest.mark.parametrize("products", [0, 2**40], ids=["separate", "joint"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_separate_gates_on_maps_of_any_size(
    products: int, bias: bool, reset_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_in_place, "JOINT_PRODUCTS", products)
    rnn = Conv2dGRU(2, 3, 3, bias=bias, bidirectional=True, reset_after=reset_after, dtype=torch.float64)
    for recompute in (False, True):
        rnn.grad_checkpointing = recompute
        assert_same(*outcomes(rnn, [4, 2, 1], packed=True, with_state=True), tolerance=1e-10)
        assert_same(*outcomes(rnn, [3, 3], packed=False, with_state=False), tolerance=1e-10)
