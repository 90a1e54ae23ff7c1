"""The sequence layer: layers, directions, packing and batch order around a cell's equations."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from . import _checks as check
from ._base import Equations, Size
from ._conv import check_map
from ._engine import run
from ._state import States, pack_state, packed_sizes, unpack_state

Widths = int | Sequence[int]
Kernels = Size | Sequence[Sequence[int]]


class LayerArgs(TypedDict, total=False):
    """The arguments of every layer beyond the first three, by name."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    stride: Size
    dilation: Size
    groups: int
    hidden_kernel_size: Kernels | None
    padding_mode: str
    device: torch.device | str | None
    dtype: torch.dtype | None


class ConvRNNBase(Equations):
    """A convolutional RNN over sequences: the interface of :class:`torch.nn.RNNBase`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the state: an int for all layers, or a list of one int per layer.
        kernel_size: kernel of the input-to-state convolution: an int for all axes, a tuple of one int per axis, or a
            list of one tuple per layer.
        num_layers: layers on top of each other.
        bias: whether the gates have biases.
        batch_first: whether tensors come and go as ``(N, T, …)``; states and packed sequences stay as they are.
        dropout: probability with which the output of each layer but the last is dropped in training.
        bidirectional: whether a second set of weights reads the sequence from its end.
        stride, dilation, groups: of every convolution. The size of the map is kept by padding whatever the
            stride, for input and state alike: with ``stride=s`` the kernel samples every s-th pixel of a map
            padded with zeros to s times its size. It does not make the map smaller.
            Groups divide the gates' rows as they are stacked, as in the convolution itself: with ``groups=2`` the
            first half of the gates sees the first half of the channels.
        hidden_kernel_size: kernel of the state-to-state convolutions; `kernel_size` by default.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device, dtype: where and as what the parameters are made.

    Shapes (``D`` directions, ``*S`` the map, which keeps its size):
        input ``(T, N, C_in, *S)``, ``(N, T, C_in, *S)`` with batch_first, ``(T, C_in, *S)`` for one sequence
        alone, or a :class:`~torch.nn.utils.rnn.PackedSequence`, sorted or not;
        output likewise with ``D · C_out`` channels; every state ``(num_layers · D, N, C_out, *S)`` in the
        caller's batch order. With a list as `out_channels`, a state is a tuple of ``(D, N, C_l, *S)``, one a layer.
        Output and states may lie in memory with their channels innermost: take ``.reshape``, not ``.view``.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range, which the message names.
    """

    _usual: ClassVar = {"num_layers": 1, "batch_first": False, "dropout": 0.0, "bidirectional": False}

    def __init__(
        self, in_channels: int, out_channels: Widths, kernel_size: Kernels, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, stride: Size = 1,
        dilation: Size = 1, groups: int = 1, *, hidden_kernel_size: Kernels | None = None,
        padding_mode: str = "zeros", device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._configure(in_channels, bias, stride, dilation, groups, padding_mode)
        self.grad_checkpointing = False  # whether a backward pass computes again what is inside segments of time
        self.num_layers = check.positive_int("num_layers", num_layers)
        self.batch_first = check.boolean("batch_first", batch_first)
        self.dropout = check.probability("dropout", dropout)
        self.bidirectional = check.boolean("bidirectional", bidirectional)
        if self.dropout and num_layers == 1:
            warnings.warn(  # as torch.nn.RNN does, in whose place this may stand
                f"dropout={dropout} acts between layers and num_layers=1 has no between: nothing will be dropped; "
                "use more layers, or nn.Dropout on the output",
                stacklevel=3,
            )
        self.widths = check.widths("out_channels", out_channels, num_layers)
        self.out_channels = out_channels if check.is_int(out_channels) else tuple(self.widths)
        self.kernels = check.kernels("kernel_size", kernel_size, self.ndim, num_layers)
        hidden = kernel_size if hidden_kernel_size is None else hidden_kernel_size
        self.hidden_kernels = check.kernels("hidden_kernel_size", hidden, self.ndim, num_layers)
        check.divisible(
            self.groups, in_channels=in_channels, **{f"out_channels[{i}]": w for i, w in enumerate(self.widths)}
        )
        factory = check.factory(device, dtype)
        for layer, suffix in self._suffixes():
            below = in_channels if layer == 0 else self.widths[layer - 1] * self.num_directions
            self._add_parameters(
                suffix, below, self.widths[layer], self.kernels[layer], self.hidden_kernels[layer],
                factory,
            )  # fmt: skip
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def kernel_size(self) -> tuple[int, ...] | list[tuple[int, ...]]:
        return self.kernels[0] if len(set(self.kernels)) == 1 else self.kernels

    @property
    def hidden_kernel_size(self) -> tuple[int, ...] | list[tuple[int, ...]]:
        return self.hidden_kernels[0] if len(set(self.hidden_kernels)) == 1 else self.hidden_kernels

    def _suffixes(self) -> list[tuple[int, str]]:
        ends = ("", "_reverse")[: self.num_directions]
        return [(layer, f"_l{layer}{end}") for layer in range(self.num_layers) for end in ends]

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, as torch.nn.RNNBase lists them."""
        names = [n for n in self._parameters if n.endswith("_l0")]
        return [[getattr(self, n.removesuffix("_l0") + suffix) for n in names] for _, suffix in self._suffixes()]

    def flatten_parameters(self) -> None:
        """Nothing to do here; present so that code written for torch.nn.RNN runs."""

    def reset_parameters(self) -> None:
        """Samples every parameter from U(-k, k), ``1/k² = out_channels / groups · taps of hidden_kernel_size``.

        Scales of norms (``weight_norm…``) start at 1 and their shifts (``bias_norm…``) at 0.
        """
        for (layer, _), weights in zip(self._suffixes(), self.all_weights, strict=True):
            self._init_uniform(weights, self.widths[layer], math.prod(self.hidden_kernels[layer]))
        self._start_norms()

    def keep_layers(self, n: int) -> None:
        """Drops every layer above the first `n`, for good: their parameters leave the state dict."""
        check.depth("n", n, self.num_layers)
        for layer, suffix in self._suffixes():
            if layer >= n:
                for name in [p for p in self._parameters if p.endswith(suffix)]:
                    delattr(self, name)
        self.num_layers = n
        self.widths, self.kernels, self.hidden_kernels = self.widths[:n], self.kernels[:n], self.hidden_kernels[:n]
        if not check.is_int(self.out_channels):
            self.out_channels = tuple(self.widths)

    # ---- forward -------------------------------------------------------------------------------------------
    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """``(output, h_n)``, or ``(output, (h_n, c_n))``; `hx` is zero when not given."""
        outputs, state = self.forward_layers(input, hx)
        return outputs[-1], state

    def forward_layers(
        self, input: Tensor | PackedSequence, hx: Any = None, depth: int | None = None
    ) -> tuple[list[Any], Any]:
        """:meth:`forward` with the output of every layer, or of the first `depth` alone and their state."""
        packed = input if isinstance(input, PackedSequence) else None
        x, sizes, unbatched = self._unpack_input(input)
        batch = () if unbatched else (int(packed.batch_sizes[0]) if packed is not None else x.shape[1],)
        shapes = [(self.num_directions, *batch, width, *x.shape[-self.ndim :]) for width in self.widths]
        stacked, owner = check.is_int(self.out_channels), type(self).__name__
        into = packed.sorted_indices if packed is not None else None
        states = unpack_state(owner, hx, self.states, shapes, stacked, x, into, unbatched)

        outputs, finals = [], []
        for layer in range(self.num_layers if depth is None else check.depth("depth", depth, self.num_layers)):
            x, ends = self._run_layer(layer, x, states, sizes, hx is None)
            outputs.append(x)
            finals += ends
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)

        if packed is not None:
            out = [PackedSequence(y, *packed[1:]) for y in outputs]
            return out, pack_state(finals, self.num_directions, stacked, packed.unsorted_indices, False)
        outward = outputs
        if unbatched:
            outward = [y.squeeze(1) for y in outputs]
        elif self.batch_first:
            outward = [y.transpose(0, 1) for y in outputs]
        return outward, pack_state(finals, self.num_directions, stacked, None, unbatched)

    def _unpack_input(self, input: Tensor | PackedSequence) -> tuple[Tensor, list[int] | None, bool]:
        """Data ``(T, N, C, *S)`` or packed ``(ΣT, C, *S)``, the packed batch sizes, and whether N was missing."""
        owner, n, space = type(self).__name__, self.ndim, self.space
        like: Any = self.weight_ih_l0
        if isinstance(input, PackedSequence):
            sizes, unbatched, ranks = packed_sizes(owner, input), False, {n + 2: f"packed (ΣT, C, {space})"}
            x = check.tensor_input(owner, "a tensor", input.data, ranks, self.in_channels, -n - 1, like)
        else:
            batched = f"(N, T, C, {space})" if self.batch_first else f"(T, N, C, {space})"
            ranks = {n + 3: batched, n + 2: f"(T, C, {space})"}
            kind = "a tensor or a PackedSequence"
            x = check.tensor_input(owner, kind, input, ranks, self.in_channels, -n - 1, like)
            sizes, unbatched = None, x.dim() == n + 2
            x = x.unsqueeze(1) if unbatched else x.transpose(0, 1) if self.batch_first else x
            if x.shape[0] == 0:
                raise ValueError(
                    f"{owner} expected at least one time step, got {tuple(input.shape)}; drop empty sequences"
                )
        for kernel in {*self.kernels, *self.hidden_kernels}:
            check_map(owner, x.shape[-n:], kernel, self.geometry)
        return x, sizes, unbatched

    def _run_layer(
        self, layer: int, x: Tensor, states: States, sizes: list[int] | None, from_zero: bool
    ) -> tuple[Tensor, States]:
        both = self.num_directions
        return run(
            self,
            x,
            states[layer * both : (layer + 1) * both],
            [self._weights(f"_l{layer}{end}", self.widths[layer]) for end in ("", "_reverse")[:both]],
            sizes,
            from_zero=from_zero,
            recompute=self.grad_checkpointing,
        )
