"""Options and equations that neither torch.nn nor the ancestor has, against formulas written out here."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.layers.oracles import CELLS, SEQUENCES, assert_close, case_id, example, over_variants, space
from tests.helpers.registry import two_dimensions_first

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
DOUBLE = {"dtype": torch.float64}


def named(part: str) -> list[type]:
    """The cells of one kind, in all dimensions."""
    return [cls for cls in CELLS if cls.__name__[len("Conv1d") :] == part + "Cell"]


def convolution(weight: Tensor, bias: Tensor | None = None, mode: str = "zeros") -> Callable[[Tensor], Tensor]:
    """torch's own convolution module with this weight, the map keeping its size."""
    conv = CONV[weight.dim() - 2](
        weight.shape[1],
        weight.shape[0],
        weight.shape[2:],
        padding="same",
        padding_mode=mode,
        bias=bias is not None,
        dtype=weight.dtype,
    )
    conv.weight.data = weight.data
    if bias is not None:
        conv.bias.data = bias.data
    return conv


def random_maps(cell: nn.Module, channels: int) -> Tensor:
    return torch.randn(2, channels, *space(cell), dtype=torch.float64)


@pytest.mark.parametrize("cls", named("GRU"), ids=case_id)
@pytest.mark.parametrize("bias", [True, False])
def test_gru_that_resets_the_state_before_its_convolution(cls: type, bias: bool) -> None:
    cell = cls(2, 3, 3, bias=bias, reset_after=False, **DOUBLE)
    x, h = random_maps(cell, 2), random_maps(cell, 3)
    w_ir, w_iz, w_in = cell.weight_ih.chunk(3)
    w_hr, w_hz, w_hn = cell.weight_hh.chunk(3)
    b_ir, b_iz, b_in = cell.bias_ih.chunk(3) if bias else [None] * 3
    b_hr, b_hz, b_hn = cell.bias_hh.chunk(3) if bias else [None] * 3
    r = torch.sigmoid(convolution(w_ir, b_ir)(x) + convolution(w_hr, b_hr)(h))
    z = torch.sigmoid(convolution(w_iz, b_iz)(x) + convolution(w_hz, b_hz)(h))
    n = torch.tanh(convolution(w_in, b_in)(x) + convolution(w_hn, b_hn)(r * h))
    assert_close(cell(x, h), (1 - z) * n + z * h, 1e-12)


@pytest.mark.parametrize("cls", named("PeepholeLSTM"), ids=case_id)
@pytest.mark.parametrize("peephole", ["conv", "channel"])
def test_peepholes(cls: type, peephole: str) -> None:
    cell = cls(2, 3, 3, peephole=peephole, **DOUBLE)
    x, h, c = random_maps(cell, 2), random_maps(cell, 3), random_maps(cell, 3)

    def look(weight: Tensor, state: Tensor) -> Tensor:
        if peephole == "conv":
            return convolution(weight)(state)
        assert weight.shape == (3, *(1,) * cls.ndim)
        return weight * state

    gates = convolution(cell.weight_ih, cell.bias_ih)(x) + convolution(cell.weight_hh, cell.bias_hh)(h)
    i, f, g, o = gates.chunk(4, dim=1)
    i = torch.sigmoid(i + look(cell.weight_pi, c))
    f = torch.sigmoid(f + look(cell.weight_pf, c))
    c_next = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + look(cell.weight_po, c_next))  # the output gate sees the new state
    assert_close(cell(x, (h, c)), (o * torch.tanh(c_next), c_next), 1e-12)


@pytest.mark.parametrize("circular", [0, 1])
@pytest.mark.parametrize(
    ("cls", "options"), over_variants([c for c in SEQUENCES if c.ndim == 2 or c.__name__ == "Conv3dLSTM"]), ids=case_id
)
def test_a_shift_along_the_circular_axis_only_shifts_the_output(cls: type, options: dict, circular: int) -> None:
    modes = tuple("circular" if axis == circular else "zeros" for axis in range(cls.ndim))
    rnn = cls(2, 3, 3, num_layers=2, bidirectional=True, padding_mode=modes, **options, **DOUBLE)
    x = example(cls, 2, **DOUBLE)
    for axis in range(cls.ndim):
        shifted, moved = (t.roll(2, axis - cls.ndim) for t in (x, rnn(x)[0]))
        if axis == circular:
            assert_close(rnn(shifted)[0], moved, 1e-12)
        else:
            assert not torch.allclose(rnn(shifted)[0], moved, atol=1e-3)


@pytest.mark.parametrize("widths", [3, [3, 4]], ids=["one_width", "a_list"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(over_variants(SEQUENCES)), ids=case_id)
def test_chunks_with_carried_state_equal_one_call(
    cls: type, options: dict, batch_first: bool, widths: int | list[int]
) -> None:
    rnn = cls(2, widths, 3, num_layers=2, batch_first=batch_first, **options, **DOUBLE)
    x = example(cls, 2, steps=5, **DOUBLE)
    time = 1 if batch_first else 0
    x = x.transpose(0, time)
    state, ys = None, []
    for chunk in x.split([2, 1, 2], dim=time):
        y, state = rnn(chunk, state)
        ys.append(y)
    assert_close((torch.cat(ys, dim=time), state), rnn(x), 1e-12)
