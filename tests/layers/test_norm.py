"""Norms of gates and cell state equal torch's, on maps of any size, packed, reversed and in chunks."""

import inspect
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from convrnn_zoo.interop import SOURCES
from convrnn_zoo.layers import Conv2dGRU, Conv2dGRUCell, Conv2dLSTM, Conv2dLSTMCell, Conv2dPeepholeLSTM
from convrnn_zoo.layers.gru import GRUInPlace
from convrnn_zoo.layers.lstm import LSTMInPlace
from convrnn_zoo.layers.phycell import PhyCell
from convrnn_zoo.layers.variants import (
    Conv2dGroupNormGRUCell,
    Conv2dGroupNormLSTMCell,
    Conv2dLeakyGRU,
    Conv2dMapNormLSTMCell,
    Conv2dOneBiasGRU,
)
from tests.helpers.layers.oracles import CELLS, SEQUENCES, assert_close, case_id, mapped, space

OVER_OPTIONS = [
    (cls, {"norm": norm, **more})
    for cls in SEQUENCES
    if "norm" in cls.options
    for norm in ("layer", "group")
    for more in ([{"reset_after": True}, {"reset_after": False}] if "reset_after" in cls.options else [{}])
]
every = pytest.mark.parametrize(("cls", "options"), OVER_OPTIONS, ids=case_id)
of_two_dimensions = pytest.mark.parametrize(
    ("cls", "options"), [(c, o) for c, o in OVER_OPTIONS if c.ndim == 2], ids=case_id
)


def randomized(module: Any) -> Any:
    """Returns the module with random scales and shifts in its norms."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "norm" in name:
                p.add_(0.5 * torch.randn_like(p))
    return module


def torch_norm(norm: str, channels: int, size: tuple[int, ...], weight: Tensor, bias: Tensor) -> nn.Module:
    """torch.nn.LayerNorm over channels and map, or torch.nn.GroupNorm of 16 channels."""
    if norm == "group":
        module: Any = nn.GroupNorm(channels // 16, channels)
        module.weight, module.bias = nn.Parameter(weight), nn.Parameter(bias)
        return module
    module = nn.LayerNorm([channels, *size])
    shape = (channels, *(1,) * len(size))
    module.weight = nn.Parameter(weight.reshape(shape).expand(channels, *size))
    module.bias = nn.Parameter(bias.reshape(shape).expand(channels, *size))
    return module


def torch_norms(cell: Any, norm: str) -> list[nn.Module]:
    rows = zip(cell.weight_norm.split(32), cell.bias_norm.split(32), strict=True)
    return [torch_norm(norm, 32, (4, 5), *row) for row in rows]


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_the_lstm_by_torch_norm_norms(norm: str) -> None:
    cell, c0 = randomized(Conv2dLSTMCell(3, 32, 3, norm=norm)), torch.randn(2, 32, 4, 5)
    x, h0 = torch.randn(2, 3, 4, 5), torch.randn(2, 32, 4, 5)
    sums = F.conv2d(x, cell.weight_ih, cell.bias_ih, padding=1) + F.conv2d(h0, cell.weight_hh, cell.bias_hh, padding=1)
    rows = torch_norms(cell, norm)
    i, f, g, o = (n(part) for n, part in zip(rows, sums.split(32, 1), strict=False))
    c = f.sigmoid() * c0 + i.sigmoid() * g.tanh()
    assert_close(cell(x, (h0, c0)), (o.sigmoid() * rows[4](c).tanh(), c), 1e-5)


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_the_gru_by_torch_norm_norms(norm: str, reset_after: bool) -> None:
    cell: Any = randomized(Conv2dGRUCell(3, 32, 3, norm=norm, reset_after=reset_after))
    x, h0 = torch.randn(2, 3, 4, 5), torch.randn(2, 32, 4, 5)
    rows = torch_norms(cell, norm)
    assert len(rows) == (4 if reset_after else 3)
    ir, iz, i_n = F.conv2d(x, cell.weight_ih, cell.bias_ih, padding=1).split(32, 1)
    hr, hz, hn = F.conv2d(h0, cell.weight_hh, cell.bias_hh, padding=1).split(32, 1)
    r, z = rows[0](ir + hr).sigmoid(), rows[1](iz + hz).sigmoid()
    if reset_after:
        n = (rows[2](i_n) + r * rows[3](hn)).tanh()
    else:
        n = rows[2](i_n + F.conv2d(r * h0, cell.weight_hh[64:], cell.bias_hh[64:], padding=1)).tanh()
    assert_close(cell(x, h0), (1 - z) * n + z * h0, 1e-5)


@every
def test_packed_equals_separate_sequences_in_both_directions(cls: type, options: dict) -> None:
    rnn = randomized(cls(2, 32, 3, num_layers=2, bidirectional=True, **options))
    x, lengths = torch.randn(5, 3, 2, *space(cls, 2)), [2, 5, 3]
    output, state = rnn(pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False))
    padded, _ = pad_packed_sequence(output)
    for i, n in enumerate(lengths):
        alone, end = rnn(x[:n, i : i + 1])
        assert_close(padded[:n, i : i + 1], alone, 1e-5)
        assert_close(mapped(lambda s, i=i: s[:, i : i + 1], state), end, 1e-5)


@of_two_dimensions
def test_chunks_equal_one_call_and_maps_may_be_of_any_size(cls: type, options: dict) -> None:
    rnn = randomized(cls(2, 32, 3, num_layers=2, **options))
    for size in ((4, 3), (1, 7)):
        x = torch.randn(7, 2, 2, *size)
        first, state = rnn(x[:4])
        second, state = rnn(x[4:], state)
        full, last = rnn(x)
        assert_close(torch.cat([first, second]), full, 1e-5)
        assert_close(state, last, 1e-5)


@of_two_dimensions
def test_the_scale_of_the_input_does_not_matter(cls: type, options: dict) -> None:
    """Uses no biases, which do not grow with the input."""
    rnn = cls(2, 32, 3, bias=False, dtype=torch.float64, **options)
    x = torch.randn(1, 2, 2, 6, 5, dtype=torch.float64)  # one step: the state does not grow either
    assert_close(rnn(1000 * x)[0], rnn(x)[0], 1e-3)


@of_two_dimensions
def test_checkpointing_gives_the_same_gradients(cls: type, options: dict) -> None:
    rnn, x = randomized(cls(2, 32, 3, **options)), torch.randn(5, 1, 2, 4, 3)
    expected = torch.autograd.grad(rnn(x)[0].square().sum(), list(rnn.parameters()))
    rnn.grad_checkpointing = True
    assert_close(torch.autograd.grad(rnn(x)[0].square().sum(), list(rnn.parameters())), expected, 1e-5)


def test_a_norm_starts_with_scale_one_and_shift_zero() -> None:
    lstm, gru = Conv2dLSTM(2, 32, 3, norm="layer"), Conv2dGRU(2, 32, 3, norm="group", reset_after=False)
    assert torch.equal(lstm.weight_norm_l0, torch.ones(5 * 32))
    assert torch.equal(gru.bias_norm_l0, torch.zeros(3 * 32))
    assert not torch.equal(lstm.bias_hh_l0, torch.zeros(4 * 32))


def test_only_a_norm_turns_the_fused_path_off() -> None:
    assert Conv2dLSTM(1, 2, 3).in_place is LSTMInPlace is Conv2dLSTM.in_place
    assert Conv2dGRU(1, 2, 3).in_place is GRUInPlace is Conv2dGRU.in_place
    assert Conv2dLSTM(1, 2, 3, norm="layer").in_place is None
    assert Conv2dLSTM.in_place is LSTMInPlace


def test_without_a_norm_the_same_seed_gives_the_same_layer() -> None:
    torch.manual_seed(0)
    plain = Conv2dLSTM(1, 2, 3)
    torch.manual_seed(0)
    assert torch.equal(Conv2dLSTM(1, 2, 3, norm=None).weight_hh_l0, plain.weight_hh_l0)
    assert not any("norm" in name for name in plain.state_dict())


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize(
    ("cls", "options"),
    [(Conv2dGRUCell, {"reset_after": True}), (Conv2dGRUCell, {"reset_after": False}), (Conv2dLSTMCell, {})],
    ids=case_id,
)
def test_the_norm_of_one_value_is_its_shift_for_any_batch(norm: str, cls: type, options: dict) -> None:
    cell, x = randomized(cls(1, 1, 1, norm=norm, **options)), torch.randn(2, 1, 1, 1)
    together = cell(x)
    for i in (0, 1):
        assert_close(cell(x[i : i + 1]), mapped(lambda s, i=i: s[i : i + 1], together), 1e-6)


@pytest.mark.parametrize("cls", [Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell])
def test_the_group_norm_of_one_value_is_its_shift(cls: type) -> None:
    cell, x = cls(1, 1, 1), torch.randn(2, 1, 1, 1)
    assert_close(cell(x[:1]), mapped(lambda s: s[:1], cell(x)), 1e-6)


@pytest.mark.parametrize("cls", [Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell])
def test_a_cell_with_a_group_norm_that_can_be_built_can_run(cls: type) -> None:
    x, rejected = torch.randn(1, 1, 2, 2), {}
    for channels in range(1, 41):
        try:
            cell = cls(1, channels, 1)
        except ValueError as e:
            rejected[channels] = str(e)
        else:
            cell(x)
    unequal = set() if cls is Conv2dGroupNormGRUCell else {25, 26, 28, 29, 31}
    assert rejected.keys() == unequal | set(range(33, 41))
    assert all(re.search(rf"out_channels.*\b{n}\b", text) and "multiple of" in text for n, text in rejected.items())


def test_a_physical_cell_takes_one_pixel() -> None:
    cell, x = PhyCell(1, filters=7), torch.randn(2, 1, 1, 1)
    assert_close(cell(x[:1]), cell(x)[:1], 1e-6)


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_vmap_over_a_normed_gru(norm: str, reset_after: bool, batch: int) -> None:
    rnn: Any = randomized(Conv2dGRU(2, 32, 3, norm=norm, reset_after=reset_after))
    xs = torch.randn(3, 4, batch, 2, 5, 6)
    expected = torch.stack([rnn(x)[0] for x in xs])
    assert_close(torch.vmap(lambda x: rnn(x)[0])(xs), expected, 1e-5)


def test_vmap_over_the_group_normed_gru_cell() -> None:
    cell, xs = Conv2dGroupNormGRUCell(2, 4, 3), torch.randn(3, 1, 2, 5, 6)
    assert_close(torch.vmap(cell)(xs), torch.stack([cell(x) for x in xs]), 1e-5)


class CustomStep(Conv2dLSTM):
    in_place = None

    def step(self, gates: Tensor, state: Any, extra: Any) -> Any:
        return state


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "name": (lambda: Conv2dLSTM(1, 2, 3, norm="batch"), ValueError, "norm.* 'batch'"),
    "width": (lambda: Conv2dGRU(1, 24, 3, norm="group"), ValueError, "out_channels.* 24.*norm='group'"),
    "other kind": (lambda: Conv2dPeepholeLSTM(1, 2, 3, norm="layer"), TypeError, "norm"),
    "other activation": (lambda: Conv2dLeakyGRU(1, 2, 3, norm="layer"), TypeError, "norm"),
    "group norm": (lambda: Conv2dGroupNormLSTMCell(1, 2, 3, norm="layer"), TypeError, "norm"),
    "custom step": (lambda: CustomStep(1, 2, 3, norm="layer"), ValueError, "norm='layer'.* CustomStep"),
}


@pytest.mark.parametrize("case", BAD)
def test_unsupported_norms_are_rejected(case: str) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("source", [name for name, source in SOURCES.items() if source.export])
@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU])
def test_layers_with_norms_are_not_exported_to_other_projects(source: str, cls: type) -> None:
    with pytest.raises(ValueError, match=f"{source} .*{cls.__name__}"):
        SOURCES[source].export(cls(1, 4, 3, norm="layer"))


def test_cells_of_both_families_support_norms() -> None:
    assert {cls.__name__ for cls in CELLS if "norm" in cls.options} == {
        f"Conv{n}d{kind}Cell" for n in (1, 2, 3) for kind in ("LSTM", "GRU")
    }


def test_signatures_include_the_arguments_of_all_bases() -> None:
    assert {"norm_size", "norm", "bias"} < {*inspect.signature(Conv2dMapNormLSTMCell).parameters}
    assert {"in_channels", "reset_after", "norm"} < {*inspect.signature(Conv2dOneBiasGRU).parameters}
