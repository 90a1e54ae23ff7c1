"""GRU of DGMR, with a ReLU as the activation of the candidate."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ._fused import threshold_backward
from ._run import Maps
from .gru import Conv2dGRU, GRUInPlace
from .onebias import OneBiasGRU


class ReLUGRUInPlace(GRUInPlace):
    """In-place version of the step of :class:`Conv2dReLUGRU`."""

    def activate(self, n: Tensor) -> None:
        """Applies the ReLU, in place."""
        F.relu_(n)

    def activation_gradient(self, grad: Tensor, n: Tensor) -> None:
        """Replaces `grad` by the gradient of the ReLU, from its result n."""
        threshold_backward(grad, n, 0, grad_input=grad)


class Conv2dReLUGRU(OneBiasGRU, Conv2dGRU):
    r"""A GRU over ``(T, N, C, H, W)`` with a ReLU candidate: ``output, h_n = rnn(input, h_0)``.

    .. math::
        r, z &= σ(W_{i·} * x + W_{h·} * h + b_{·}) \\
        n &= \max(0, W_{in} * x + W_{hn} * (r ⊙ h) + b_n) \\
        h' &= n + z ⊙ (h - n)

    with one bias per gate, and the state reset before its convolution. The state has no upper bound, and a
    non-negative state stays non-negative. DGMR divides each weight by its largest singular value (spectral norm); the
    weights here are the quotients.

    References:
        Ravuri, S. et al. (2021). Skilful precipitation nowcasting using deep generative models of radar, methods.
        https://arxiv.org/abs/2104.00954

    Example:
        >>> output, h_n = Conv2dReLUGRU(2, 4, kernel_size=3)(torch.randn(5, 1, 2, 8, 8))
        >>> tuple(output.shape), bool((output >= 0).all())
        ((5, 1, 4, 8, 8), True)
    """

    options: ClassVar = {"reset_after": (False,)}
    in_place = ReLUGRUInPlace

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        """Computes the next state."""
        (h,) = state
        r, z, n = gates.chunk(3, dim=1)
        n = (n + self.conv(r.sigmoid() * h, *extra)).relu()
        return (n + z.sigmoid() * (h - n),)
