"""Half precision and autocast: errors match the number format for values of any size, and dtypes are kept."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from convrnn_zoo import layers
from convrnn_zoo.layers._nonlinearities import half_tanh
from tests.helpers.layers.comparison import VARIANTS, plain, weights
from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    SEQUENCES,
    assert_close,
    case_id,
    example,
    mapped,
    over_variants,
    space,
    tensors,
)
from tests.helpers.registry import two_dimensions_first

SCALES = [10.0**-k for k in range(8)]


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def errors(rnn: Any, x: Tensor) -> tuple[list[float], list[float]]:
    """Returns relative errors of output and gradient, of the layer and of the reference."""
    options = {name: getattr(rnn, name) for name in rnn.options}
    exact = type(rnn)(rnn.in_channels, rnn.out_channels, 3, bias=False, dtype=torch.float64, **options)
    exact.load_state_dict(rnn.state_dict())

    def outcome(y: Tensor, x: Tensor) -> list[Tensor]:
        return [y.detach().double(), torch.autograd.grad((y * weights(y)).sum(), x)[0].double()]

    leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    truth = outcome(plain(exact, wide)[0], wide)
    return tuple(  # type: ignore[return-value]
        [((f - t).norm() / t.norm()).item() for f, t in zip(outcome(y, leaf), truth, strict=True)]
        for y in (rnn(leaf)[0], plain(rnn, leaf)[0])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(VARIANTS), ids=case_id)
def test_at_most_twice_the_plain_schemes_error(cls: type, options: dict, dtype: torch.dtype) -> None:
    rnn = cls(3, 8, 3, bias=False, dtype=dtype, **options)
    step = torch.finfo(dtype).eps
    for scale in SCALES:
        if scale < 30 * torch.finfo(dtype).smallest_normal:
            continue  # the format itself has no digits there
        x = (torch.randn(4, 2, 3, *space(rnn, 6)) * scale).to(dtype)
        pairs = list(zip(*errors(rnn, x), strict=True))
        if "relu" in options.values() and dtype != torch.float32:
            del pairs[1]  # where a pre-activation rounds across zero, a whole derivative comes or goes in either scheme
        for error, by_plain in pairs:
            assert error <= max(2 * by_plain, step), f"{error:.2e} for {by_plain:.2e} at {scale:g}"


@pytest.mark.parametrize("cls", [layers.Conv2dRNN, layers.Conv2dLSTM, layers.Conv2dPeepholeLSTM, layers.Conv2dGRU])
def test_autocast_is_at_most_twice_as_far_off_as_the_plain_scheme(cls: Any) -> None:
    rnn = cls(3, 16, 3, bias=False)
    exact = cls(3, 16, 3, bias=False, dtype=torch.float64)
    exact.load_state_dict(rnn.state_dict())
    for scale in SCALES:
        x = torch.randn(3, 2, 3, 32, 32) * scale  # maps large enough for the fast tanh
        with torch.no_grad():
            truth = exact(x.double())[0]
            with bf16():
                error, by_plain = ((y.double() - truth).norm() / truth.norm() for y in (rnn(x)[0], plain(rnn, x)[0]))
        assert error <= 2 * by_plain, f"{error:.2e} for {by_plain:.2e} at {scale:g}"


def test_the_fast_tanh_of_half_precision_has_a_small_relative_error() -> None:
    positive = torch.logspace(-20, 10, 30001)
    x = torch.cat([positive, -positive, torch.tensor([float("inf"), -float("inf")])])
    exact = x.double().tanh()
    assert ((half_tanh(x, out=torch.empty_like(x)) - exact) / exact).abs().max() <= 4e-5
    special = torch.tensor([0.0, float("nan")])
    assert half_tanh(special, out=special)[0] == 0
    assert special[1].isnan()


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(over_variants(CLASSES)), ids=case_id)
def test_a_state_can_be_fed_back(cls: type, options: dict) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)

    def carried(out: Any) -> Any:
        return out if cls in CELLS else out[1]

    first = module(x)
    second = module(x, carried(first))
    for dtype in (torch.float32, torch.bfloat16):
        with bf16():
            low = module(x.to(dtype))
            assert {t.dtype for t in tensors(low)} == {torch.float32}  # that of the weights
            assert_close(low, first, 5e-2)
            assert any(not torch.equal(a, b) for a, b in zip(tensors(low), tensors(first), strict=True))
            assert_close(module(x, carried(low)), second, 5e-2)
            assert_close(module(x, mapped(lambda h, dtype=dtype: h.to(dtype), carried(first))), second, 5e-2)


@pytest.mark.parametrize("cls", two_dimensions_first(CLASSES), ids=case_id)
def test_float64_stays_as_it_is(cls: type) -> None:
    module, x = cls(2, 3, 3, dtype=torch.float64), example(cls, 2).double()
    expected = module(x)
    with bf16():
        assert all(map(torch.equal, tensors(module(x)), tensors(expected)))


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(over_variants(SEQUENCES)), ids=case_id)
def test_packed_both_ways_and_backward(cls: type, options: dict) -> None:
    rnn = cls(2, [3, 4], 3, num_layers=2, bidirectional=True, **options)
    x = pack_padded_sequence(example(cls, 2), [2, 3], enforce_sorted=False)
    expected = rnn(x)
    with bf16():
        output, state = rnn(x)
        output, state = rnn(x, mapped(torch.zeros_like, state))
    assert_close((output.data, state), (expected[0].data, expected[1]), 5e-2)
    output.data.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in rnn.parameters())


@pytest.mark.parametrize("cls", two_dimensions_first(CLASSES), ids=case_id)
def test_rejects_integers_under_autocast(cls: type) -> None:
    with bf16(), pytest.raises(TypeError, match=r"torch\.float32.*input.*torch\.int64"):
        cls(2, 3, 3)(example(cls, 2).long())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_cells_accept_any_dtype_and_keep_that_of_their_weights(dtype: torch.dtype) -> None:
    for cell in (
        layers.Conv2dLSTMCell(2, 4, 3),
        layers.Conv2dGRUCell(2, 4, 3, groups=2),
        layers.Conv2dMinGRUCell(2, 4, 3),
    ):
        with bf16():
            state = cell(torch.randn(1, 2, 4, 4, dtype=dtype))
            state = cell(torch.randn(1, 2, 4, 4), state)
        assert {s.dtype for s in (state if isinstance(state, tuple) else (state,))} == {torch.float32}
