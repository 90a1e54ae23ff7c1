"""Norms of gates and cell state equal torch's, on maps of any size, packed, reversed and in chunks."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn_zoo.layers import Conv2dGRU, Conv2dGRUCell, Conv2dLSTM, Conv2dLSTMCell, Conv2dPeepholeLSTM
from convrnn_zoo.layers.variants import (
    Conv2dGroupNormGRUCell,
    Conv2dGroupNormLSTMCell,
    Conv2dLeakyGRU,
)
from tests.helpers.layers.oracles import assert_close


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
