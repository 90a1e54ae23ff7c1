"""Trajectory GRU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from ._base import ConvRNNCellBase
from ._nonlinearities import NEGATIVE_SLOPE
from ._run import DirectionWeights, Maps
from .variants import LeakyGRU
from .warp import warp


class TrajGRUCell(LeakyGRU, ConvRNNCellBase):
    r"""One step of the trajectory GRU on ``(N, C, H, W)``: ``h = cell(x, h)``.

    A convolution reads the state at fixed offsets. This cell reads the state at `links` places per pixel. The
    flows (u, v) are the displacements of these places, computed at each step from input and state. ``*`` is a
    convolution, ``⊙`` an element-wise product, ``·`` a gate, l a link, φ a leaky ReLU of slope 0.2:

    .. math::
        u, v &= W_f * φ(W_{xf} * x + b_{xf} + W_{hf} * h + b_{hf}) + b_f \\
        a_{·} &= \sum_l W_{h·}^l \, \mathrm{warp}(h, u_l, v_l) + b_{h·} \\
        r, z &= σ(W_{i·} * x + b_{i·} + a_{·}) \\
        n &= φ(W_{in} * x + b_{in} + r ⊙ a_n) \\
        h' &= n + z ⊙ (h - n)

    ``weight_hh`` is ``(3C, C, 1, links)``, with one tap per link. Rows of ``weight_ih`` and ``weight_hh`` are r, z, n.
    Rows of ``weight_f`` are pairs u, v, one pair per link. If all flows are zero, the cell is a GRU with a
    1×1 state-to-state kernel, which is the sum of ``weight_hh`` over the links.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the state.
        kernel_size: kernel of the input-to-state convolution.
        links: number of places at which each pixel reads the state.
        bias: whether the gates and the flows have biases.
        flow_channels, flow_kernel_size: channels and kernel of the network that computes the flows.
        device, dtype: of the parameters.

    References:
        Shi, X. et al. (2017). Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model.
        https://arxiv.org/abs/1706.03458

    Example:
        >>> cell, h = TrajGRUCell(2, 4, kernel_size=3, links=5), None
        >>> for frame in torch.randn(3, 1, 2, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (1, 4, 8, 8)
    """

    ndim = 2
    in_place = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        links: int = 5,
        bias: bool = True,
        *,
        flow_channels: int = 32,
        flow_kernel_size: int = 5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.links = check.positive_int("links", links)
        self.flow_channels = check.positive_int("flow_channels", flow_channels)
        self.flow_kernel_size = check.ntuple("flow_kernel_size", flow_kernel_size, self.ndim)
        super().__init__(
            in_channels, out_channels, kernel_size, bias, hidden_kernel_size=(1, links), device=device, dtype=dtype
        )

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        sizes = {"xf": (self.flow_channels, self.in_channels), "hf": (self.flow_channels, channels)}
        sizes["f"] = (2 * self.links, self.flow_channels)
        shapes = {f"weight_{k}": (*size, *self.flow_kernel_size) for k, size in sizes.items()}
        return shapes | ({f"bias_{k}": (rows,) for k, (rows, _) in sizes.items()} if self.bias else {})

    def flows(self, x: Tensor, h: Tensor) -> Tensor:
        """Computes the displacements ``(N, links, 2, H, W)`` along which the state is read, in pixels."""
        hidden = F.leaky_relu(self._flow_conv(x, "xf") + self._flow_conv(h, "hf"), NEGATIVE_SLOPE)
        return self._flow_conv(hidden, "f").unflatten(1, (self.links, 2))

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (h,) = state
        warped = warp(h, self.flows(x, h)).flatten(1, 2)
        hh = F.conv2d(warped, w.hh.reshape(len(w.hh), -1, 1, 1), w.b_hh)
        return self.step(self.join(self._gate_input(x, w), hh), state, ())

    def _flow_conv(self, x: Tensor, name: str) -> Tensor:
        weight = getattr(self, f"weight_{name}", None)
        return x.new_zeros(()) if weight is None else self.conv(x, weight, getattr(self, f"bias_{name}", None))

    def _gate_input(self, x: Tensor, w: DirectionWeights) -> Tensor:
        return self.conv(x, w.ih, w.b_ih)


class TrajGRUStateCell(TrajGRUCell):
    """A :class:`TrajGRUCell` without input weights, for the first layer of a forecaster.

    It reads only the size of its input ``(N, 1, H, W)``, not the values.
    """

    def __init__(
        self,
        out_channels: int,
        links: int = 5,
        bias: bool = True,
        *,
        flow_channels: int = 32,
        flow_kernel_size: int = 5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            1,
            out_channels,
            1,
            links,
            bias,
            flow_channels=flow_channels,
            flow_kernel_size=flow_kernel_size,
            device=device,
            dtype=dtype,
        )

    def _parameter_shapes(self, layer: int) -> dict[str, Any]:
        missing = ("weight_ih", "bias_ih", "weight_xf", "bias_xf")
        return {name: shape for name, shape in super()._parameter_shapes(layer).items() if name not in missing}

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """Returns `w` with the state weights also as input weights, because callers read the dtype of input weights."""
        return DirectionWeights(w.hh, w.hh, w.b_ih, w.b_hh, w.extra)

    def _gate_input(self, x: Tensor, w: DirectionWeights) -> Tensor:
        return x.new_zeros(()).expand(x.shape[0], len(w.hh), *x.shape[2:])
