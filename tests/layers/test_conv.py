"""The size-preserving convolution against torch's own."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convrnn_zoo._checks import PADDING_MODES
from convrnn_zoo.layers._conv import (
    Geometry,
    check_map,
    conv_of_planes,
    plain_conv,
    prepare_conv,
    prepare_input_gradient,
    same_conv,
    same_padding,
)
from tests.helpers.layers.oracles import assert_close

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)


def geometry(ndim: int, *, stride: int = 1, dilation: int = 1, groups: int = 1, mode: str = "zeros") -> Geometry:
    return Geometry((stride,) * ndim, (dilation,) * ndim, groups, (mode,) * ndim)


# torch copies the input to pad an even kernel, and warns
@pytest.mark.sampled("ndim", "dilation", "groups")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("ndim", CONV)
def test_it_is_torchs_padding_same(ndim: int, kernel: int, dilation: int, groups: int, mode: str) -> None:
    sizes = tuple(range(7, 7 - ndim, -1))
    conv = CONV[ndim](
        2, 4, kernel, padding="same", padding_mode=mode, dilation=dilation, groups=groups, dtype=torch.float64
    )
    x = torch.randn(2, 2, *sizes, dtype=torch.float64)
    ours = same_conv(x, conv.weight, conv.bias, geometry(ndim, dilation=dilation, groups=groups, mode=mode))
    assert_close(ours, conv(x), 1e-12)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (2, 1, 1), (4, 2, 1), (3, 1, 2), (3, 2, 1)])
def test_stacked_planes_are_a_3d_convolution(kernel: int, stride: int, dilation: int, mode: str) -> None:
    where = geometry(3, stride=stride, dilation=dilation, mode=mode)
    conv, x = nn.Conv3d(2, 4, kernel, dtype=torch.float64), torch.randn(2, 2, 9, 8, 7, dtype=torch.float64)
    ours = conv_of_planes(x, conv.weight, conv.bias, where)
    assert_close(ours, same_conv(x, conv.weight, conv.bias, where), 1e-12)


@PROPERTY
@given(n=st.integers(1, 6), k=st.integers(1, 4), s=st.integers(2, 3), d=st.integers(1, 2))
def test_a_stride_samples_the_dense_convolution_of_the_padded_map(n: int, k: int, s: int, d: int) -> None:
    x, weight = torch.randn(2, 1, n, dtype=torch.float64), torch.randn(3, 1, k, dtype=torch.float64)
    [pads] = same_padding((n,), (k,), (s,), (d,))
    dense = F.conv1d(F.pad(x, pads), weight, dilation=d)
    assert_close(same_conv(x, weight, None, Geometry((s,), (d,), 1, ("zeros",))), dense[..., ::s], 1e-12)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("ndim", CONV)
def test_rejects_maps_that_torch_cannot_pad(ndim: int, mode: str) -> None:
    rejected = 0
    for n, kernel, dilation in itertools.product(range(1, 6), range(1, 7), (1, 2)):
        where, size = geometry(ndim, dilation=dilation, mode=mode), (9,) * (ndim - 1) + (n,)
        pads = same_padding(size, (1,) * (ndim - 1) + (kernel,), where.stride, where.dilation)
        try:
            flat = [p for pair in reversed(pads) for p in pair]
            F.pad(torch.zeros(1, 1, *size), flat, mode.replace("zeros", "constant"))
            fits = True
        except RuntimeError:
            fits = False
        if fits:
            check_map("Layer", size, (1,) * (ndim - 1) + (kernel,), where)
        else:
            rejected += 1
            with pytest.raises(ValueError, match=f"axis {ndim - 1}.* {n};"):
                check_map("Layer", size, (1,) * (ndim - 1) + (kernel,), where)
    assert (rejected > 0) == (mode in ("reflect", "circular"))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("channels", "rows", "size"),
    [(4, 8, (16, 16)), (48, 96, (16, 16)), (70, 8, (16, 16)), (8, 16, (48, 48)), (128, 256, (8, 8)), (16, 24, (40,))],
    ids=str,
)
def test_a_prepared_convolution_and_its_gradient_are_the_ordinary_ones(
    batch: int, channels: int, rows: int, size: tuple[int, ...]
) -> None:
    """The cases lie on both sides of the limits below which torch's own convolution replaces oneDNN."""
    ndim, generator = len(size), torch.Generator().manual_seed(0)
    weight, bias = torch.randn(rows, channels, *(3,) * ndim, generator=generator), torch.randn(rows)
    x, grad = (torch.randn(batch, *size, n, generator=generator).movedim(-1, 1) for n in (channels, rows))
    expected = same_conv(x.requires_grad_(), weight, bias, geometry(ndim))
    for conv, args in (
        prepare_conv(weight, bias, geometry(ndim), batch, size, True),
        plain_conv(weight, bias, geometry(ndim), size),
    ):
        assert_close(conv(x.detach(), *args), expected.detach(), 1e-5)
    to_input = prepare_input_gradient(weight, geometry(ndim), batch, size, True)
    assert_close(to_input(grad), torch.autograd.grad(expected, x, grad)[0], 1e-5)
