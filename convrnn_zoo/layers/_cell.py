"""The cell: one step of the equations on the maps of one moment."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from . import _checks as check
from ._base import Equations, Size
from ._conv import check_map


class CellArgs(TypedDict, total=False):
    """The arguments of every cell beyond the first three, by name."""

    bias: bool
    stride: Size
    dilation: Size
    groups: int
    hidden_kernel_size: Size | None
    padding_mode: str
    device: torch.device | str | None
    dtype: torch.dtype | None


class ConvRNNCellBase(Equations):
    """One step of a convolutional RNN: the interface of :class:`torch.nn.RNNCellBase`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the state.
        kernel_size: kernel of the input-to-state convolution; an int or one an axis.
        bias: whether the gates have biases.
        stride, dilation, groups: of every convolution. The size of the map is kept by padding whatever the
            stride: with ``stride=s`` the kernel samples every s-th pixel of a map padded to s times its size.
            Groups divide the gates' rows as they are stacked, as in the convolution itself: with ``groups=2`` the
            first half of the gates sees the first half of the channels.
        hidden_kernel_size: kernel of the state-to-state convolutions; `kernel_size` by default.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device, dtype: where and as what the parameters are made.

    Shapes:
        input ``(N, C_in, *S)`` or ``(C_in, *S)``; every state ``(N, C_out, *S)`` or ``(C_out, *S)``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, bias: bool = True, stride: Size = 1,
        dilation: Size = 1, groups: int = 1, *, hidden_kernel_size: Size | None = None, padding_mode: str = "zeros",
        device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._configure(in_channels, bias, stride, dilation, groups, padding_mode)
        self.out_channels = check.positive_int("out_channels", out_channels)
        check.divisible(self.groups, in_channels=in_channels, out_channels=out_channels)
        self.kernel_size = check.ntuple("kernel_size", kernel_size, self.ndim)
        hidden = kernel_size if hidden_kernel_size is None else hidden_kernel_size
        self.hidden_kernel_size = check.ntuple("hidden_kernel_size", hidden, self.ndim)
        factory = check.factory(device, dtype)
        self._add_parameters("", in_channels, out_channels, self.kernel_size, self.hidden_kernel_size, factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Samples every parameter from U(-k, k), ``1/k² = out_channels / groups · taps of hidden_kernel_size``.

        Scales of norms (``weight_norm…``) start at 1 and their shifts (``bias_norm…``) at 0.
        """
        self._init_uniform(self.parameters(), self.out_channels, math.prod(self.hidden_kernel_size))
        self._start_norms()

    def names(self, hx: Any) -> Sequence[str]:
        """The states that `hx` should hold; of a cell that looks back, more than its kind has."""
        return self.states

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The next state of ``(input, hx)``: ``h``, or ``(h, c)``; `hx` is zero when not given."""
        owner, n = type(self).__name__, self.ndim
        w, space = self._weights("", self.out_channels), self.space
        ranks = {n + 2: f"(N, C, {space})", n + 1: f"(C, {space})"}
        check.tensor_input(owner, "a tensor", input, ranks, self.in_channels, -n - 1, w.ih)
        for kernel in {self.kernel_size, self.hidden_kernel_size}:
            check_map(owner, input.shape[-n:], kernel, self.geometry)
        batched = input.dim() == n + 2
        shape = (*input.shape[: -n - 1], self.out_channels, *input.shape[-n:])
        if hx is None:
            state: tuple[Tensor, ...] = (input.new_zeros(shape),) * len(self.names(None))
        else:
            names = self.names(hx)
            parts = check.state_parts(owner, hx, names)
            state = tuple(check.state_tensor(owner, s, p, shape, input) for s, p in zip(names, parts, strict=True))
        if not batched:
            input, state = input.unsqueeze(0), tuple(s.unsqueeze(0) for s in state)
        state = self._checked_advance(input, state, w)
        if not batched:
            state = tuple(s.squeeze(0) for s in state)
        return state if len(state) > 1 else state[0]
