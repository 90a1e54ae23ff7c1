"""Variants of the core cells in published architectures: one bias per gate, other norms, other nonlinearities."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _checks as check
from ._base import Constant, Equations, Size
from ._norm import GroupNormed, MapNormed, resize_weight
from ._run import Maps
from .gru import Conv2dGRU, Conv2dGRUCell, GRUEquations
from .lstm import Conv2dLSTM, Conv2dLSTMCell
from .peephole import Conv2dPeepholeLSTM, Conv2dPeepholeLSTMCell
from .stlstm import STLSTMCell


# ---- one bias --------------------------------------------------------------------------------------------------
class OneBias(Equations):
    """Base of cells whose gates have the bias ``bias_ih`` and no ``bias_hh``, as in the equations of papers."""

    biases = ("bias_ih",)


class Conv2dOneBiasLSTMCell(OneBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with one bias per gate."""


class Conv2dOneBiasLSTM(OneBias, Conv2dLSTM):
    """2-d :class:`ConvLSTM` over ``(T, N, C, H, W)`` with one bias per gate."""


class Conv2dOneBiasPeepholeLSTM(OneBias, Conv2dPeepholeLSTM):
    """2-d :class:`ConvPeepholeLSTM` over ``(T, N, C, H, W)`` with one bias per gate."""


class Conv2dPastPeepholeLSTMCell(OneBias, Conv2dPeepholeLSTMCell):
    r"""One step of a 2-d :class:`ConvPeepholeLSTM` whose output gate reads the previous cell state c, not c'.

    .. math::
        i, f, o &= σ(W_{i·} * x + W_{h·} * h + W_{p·} * c + b_{·}) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h + b_{g}) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    where ``*`` is a convolution, ``⊙`` an element-wise product and ``·`` a gate.

    References:
        Kladny, K.-R. et al. (2024). Enhanced prediction of vegetation responses to extreme drought using deep learning
        and Earth observation data. https://doi.org/10.1016/j.ecoinf.2024.102474
    """

    in_place: ClassVar[Any] = None

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        _, c = state
        i, f, g, o = gates.chunk(4, dim=1)
        look = self.conv if self.peephole == "conv" else torch.mul
        pi, pf, po = (look(c, weight) for weight in extra)
        c = (f + pf).sigmoid() * c + (i + pi).sigmoid() * g.tanh()
        return (o + po).sigmoid() * c.tanh(), c


class Conv2dReLUPeepholeLSTMCell(OneBias, Conv2dPeepholeLSTMCell):
    r"""One step of a 2-d :class:`ConvPeepholeLSTM` with a peephole weight for each pixel, and ReLU in place of tanh.

    .. math::
        i, f &= σ(W_{i·} * x + W_{h·} * h + b_{·} + w_{p·} ⊙ c) \\
        c' &= f ⊙ c + i ⊙ \max(0, W_{ig} * x + W_{hg} * h + b_g) \\
        o &= σ(W_{io} * x + W_{ho} * h + b_o + w_{po} ⊙ c') \\
        h' &= o ⊙ \max(0, c')

    where ``*`` is a convolution, ``⊙`` an element-wise product and ``·`` a gate. The peephole weights are ``(C, H, W)``
    for maps of `map_size`, and are resized bilinearly for maps of other sizes.

    References:
        Kitamoto, A. et al. (2023). Digital Typhoon: Long-term Satellite Image Dataset for the Spatio-Temporal Modeling
        of Tropical Cyclones. https://arxiv.org/abs/2311.02665
    """

    options: ClassVar = {}
    in_place: ClassVar[Any] = None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, *, map_size: Size, **kwargs: Any
    ) -> None:
        self.map_size = check.ntuple("map_size", map_size, self.ndim)
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        _, c = state
        i, f, g, o = gates.chunk(4, dim=1)
        pi, pf, po = (resize_weight(weight, c.shape[-2:]) for weight in extra)
        c = (f + pf * c).sigmoid() * c + (i + pi * c).sigmoid() * g.relu()
        return (o + po * c).sigmoid() * c.relu(), c

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        return {f"weight_p{gate}": Constant((channels, *self.map_size), 0.0) for gate in "ifo"}


class BiasedSTLSTMCell(STLSTMCell):
    """One step of the :class:`STLSTMCell` whose convolutions of [c', m'] have biases as well.

    With :math:`b_{po}` and :math:`b_{cm}` added to :math:`W_{po} * [c', m']` and :math:`W_{cm} * [c', m']`.
    """

    has_memory_biases = True


class Conv2dOneBiasGRU(OneBias, Conv2dGRU):
    """2-d :class:`ConvGRU` over ``(T, N, C, H, W)`` with one bias per gate and ``reset_after=False`` by default."""

    options: ClassVar = {**Conv2dGRU.options, "reset_after": (False, True)}


# ---- other nonlinearities --------------------------------------------------------------------------------------
class Conv2dReLUGRU(OneBias, Conv2dGRU):
    r"""A GRU over ``(T, N, C, H, W)`` with a ReLU candidate: ``output, h_n = rnn(input, h_0)``.

    .. math::
        r, z &= σ(W_{i·} * x + W_{h·} * h + b_{·}) \\
        n &= \max(0, W_{in} * x + W_{hn} * (r ⊙ h) + b_n) \\
        h' &= n + z ⊙ (h - n)

    where ``*`` is a convolution, ``⊙`` an element-wise product and ``·`` a gate. There is one bias per gate, and the
    state is reset before its convolution. The state has no upper bound, and a non-negative state stays non-negative.
    DGMR divides each weight by its largest singular value (spectral norm); the weights of this layer are the results of
    that division.

    References:
        Ravuri, S. et al. (2021). Skilful precipitation nowcasting using deep generative models of radar, methods.
        https://arxiv.org/abs/2104.00954
    """

    options: ClassVar = {"reset_after": (False,)}
    nonlinearity = "relu"


class LeakyGRU(GRUEquations):
    """Base of GRUs that reset the state after its convolution, with a leaky ReLU of slope 0.2 in place of tanh."""

    options: ClassVar = {"reset_after": (True,)}
    nonlinearity = "leaky_relu"


class Conv2dLeakyGRU(LeakyGRU, Conv2dGRU):
    """2-d :class:`ConvGRU` over ``(T, N, C, H, W)`` with a leaky ReLU of slope 0.2 in place of tanh.

    References:
        Shi, X. et al. (2017). Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model.
        https://arxiv.org/abs/1706.03458
    """


# ---- other norms -----------------------------------------------------------------------------------------------
class Conv2dGroupNormLSTMCell(GroupNormed, OneBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with a group norm over its four gates."""

    options: ClassVar = {}
    norms = 4


class Conv2dGroupNormGRUCell(GroupNormed, OneBias, Conv2dGRUCell):
    """One step of a 2-d :class:`ConvGRU` on ``(N, C, H, W)`` with group norms and ``reset_after=False``.

    One norm is applied to r and z, and one to the candidate n.
    """

    options: ClassVar = {"reset_after": (False,)}


class Conv2dMapNormLSTMCell(MapNormed, Conv2dLSTMCell):
    r"""One step of a convolutional LSTM with a layer norm after each convolution: ``h, c = cell(x, (h, c))``.

    N is a layer norm over channels and map, ``*`` a convolution, ``⊙`` an element-wise product, ``·`` a gate:

    .. math::
        i, f, o &= σ(N(W_{i·} * x) + N(W_{h·} * h)) \\
        g &= \tanh(N(W_{ig} * x) + N(W_{hg} * h)) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    The norm of a convolution includes all four gates, and has a scale and a shift per channel and pixel. Without
    `norm_size` there are no norms, see :class:`MapNormed`. A :class:`~convrnn_zoo.Conv2dLSTM` with ``norm="layer"``
    normalises the pre-activation of each gate instead, with one scale per channel.

    References:
        Ba, J. L. et al. (2016). Layer Normalization. https://arxiv.org/abs/1607.06450
    """
