"""The layers of a model as an exported graph has them: the equations are the layers' own, the loop is not."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ..layers._base import Equations
from ..layers._conv import same_padding
from ..layers._run import DirectionWeights, prepare_weights, reference_step
from ..models.base.blocks import Unroll
from ..models.base.encoder import FrameEncoder
from ..models.base.sequences import valid_steps
from ._scan import Maps, scan


class Stack(nn.Module):
    """A sequence layer or an :class:`Unroll`: its steps layer by layer, and the loops over them.

    Called as the layer is, on ``(T, N, C, *S)``, or ``(N, T, C, *S)`` where that has the batch first. A state that
    comes as a list, a tuple of tensors for each layer and direction, goes out as one; any other is the layer's own.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.unrolled = isinstance(layer, Unroll)
        owner: Any = layer.cell if isinstance(layer, Unroll) else layer
        self.owner = owner
        self.batch_first = not self.unrolled and owner.batch_first
        self.states, self.ndim = owner.states, owner.ndim
        self.widths: list[int] = [owner.out_channels] if self.unrolled else owner.widths
        self.num_directions = 1 if self.unrolled else owner.num_directions
        if any(stride > 1 for stride in owner.stride):
            owner.conv = partial(_padded_conv, owner)

    def suffixes(self, first: int = 0) -> list[str]:
        """The ending of each layer and direction, in torch's order; layers are counted from `first`."""
        ends = ("", "_reverse")[: self.num_directions]
        return [f"_l{first + i}{end}" for i in range(len(self.widths)) for end in ends]

    def step(self, layer: int, suffix: str, like: Tensor) -> Callable[[Tensor, Maps], Maps]:
        """One step of a layer on ``(N, C, *S)``, whose map is of the size of `like`'s."""
        cell: Equations = self.owner
        w = cell._weights("" if self.unrolled else suffix, self.widths[layer])
        # Copies, since a loop in a graph refuses two halves of one weight; the exporters see through them.
        own: Any = (None if t is None else t.clone() for t in (*w[:4], *w.extra))
        ih, hh, b_ih, b_hh, *more = own
        w = DirectionWeights(ih, hh, b_ih, b_hh, tuple(more))
        if any(stride > 1 for stride in cell.stride):
            return lambda x, state: cell.advance(x, state, w)
        w = prepare_weights(cell, like, w)
        return lambda x, state: reference_step(cell, x, state, w)

    def advance(self, x: Tensor, states: Sequence[Maps]) -> list[Maps]:
        """The next state of every layer after one frame ``(N, C, *S)``, in one direction."""
        new: list[Maps] = []
        for layer, (suffix, state) in enumerate(zip(self.suffixes(), states, strict=True)):
            new.append(self.step(layer, suffix, x)(x, state))
            x = new[-1][0]
        return new

    def run(
        self, xs: Tensor, states: Sequence[Maps] | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], list[Maps]]:
        """The output of every layer, and the last states.

        `valid`, ``(T, N, 1, …)``, tells where a sequence has data: it keeps its state elsewhere, and gives zeros.
        """
        outputs: list[Tensor] = []
        ends: list[Maps] = []
        for layer, width in enumerate(self.widths):
            both = []
            for reverse in range(self.num_directions):
                suffix = self.suffixes()[len(ends)]
                step = partial(_masked, self.step(layer, suffix, xs))
                if states is None:
                    shape = (xs.shape[1], width, *xs.shape[-self.ndim :])
                    first = tuple(xs.new_zeros(shape) for _ in self.states)
                else:
                    first = states[len(ends)]
                y, end = scan(step, (xs,) if valid is None else (xs, valid), first, reverse=reverse == 1)
                both.append(y)
                ends.append(end)
            xs = torch.cat(both, 2) if len(both) > 1 else both[0]
            if valid is not None:
                xs = torch.where(valid, xs, 0)
            outputs.append(xs)
        return outputs, ends

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """``(output, state)``, as the layer gives them."""
        outputs, state = self.forward_layers(input, hx)
        return outputs[-1], state

    def forward_layers(
        self, input: Tensor, hx: Any = None, depth: int | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], Any]:
        """The output of every layer, whatever the `depth`, and the state; `valid` has its axes as the input has."""
        xs = input.transpose(0, 1) if self.batch_first else input
        if valid is not None and self.batch_first:
            valid = valid.transpose(0, 1)
        outputs, ends = self.run(xs, None if hx is None else self.unpacked(hx, xs), valid)
        state = ends if isinstance(hx, list) else self.packed(ends)
        return [y.transpose(0, 1) for y in outputs] if self.batch_first else outputs, state

    def run_masked(self, x: Tensor, hx: Any, lengths: Tensor) -> tuple[list[Tensor], Any]:
        """The same of sequences of these lengths; see :mod:`convrnn_zoo.models.base.sequences`."""
        return self.forward_layers(x, hx, valid=valid_steps(x, lengths))

    def unpacked(self, hx: Any, like: Tensor) -> list[Maps]:
        """A state as a list; `like`, ``(…, N, C, *S)``, tells the sizes of its maps."""
        if isinstance(hx, list):
            return hx
        if self.unrolled:
            return [hx if isinstance(hx, tuple) else (hx,)]
        return self.owner._unpack_state(hx, like, None, False)

    def packed(self, states: list[Maps]) -> Any:
        """A list as the layer's own state."""
        if self.unrolled:
            return states[0] if len(self.states) > 1 else states[0][0]
        return self.owner._pack_state(states, None, False)


class OneStep(Stack):
    """The same for sequences of one step, in one direction and from a given state: no loop."""

    def run(
        self, xs: Tensor, states: Sequence[Maps] | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], list[Maps]]:
        """The output of every layer, and the next states."""
        assert states is not None
        new = self.advance(xs.squeeze(0), states)
        return [state[0].unsqueeze(0) for state in new], new


def _masked(step: Callable[[Tensor, Maps], Maps], x: Maps, state: Maps) -> Maps:
    new = step(x[0], state)
    if len(x) == 1:
        return new
    return tuple(torch.where(x[1], n, s) for n, s in zip(new, state, strict=True))


def _padded_conv(cell: Equations, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution whose padding depends on the map: ONNX's own cannot, so the map is padded before it."""
    stride, dilation, groups, *_ = cell.geometry
    pads = same_padding(x.shape[2:], weight.shape[2:], stride, dilation)
    x = F.pad(x, [p for pair in reversed(pads) for p in pair])
    return getattr(F, f"conv{cell.ndim}d")(x, weight, bias, stride, 0, dilation, groups)


def loops_in_graph(model: nn.Module, stack: type[Stack] = Stack) -> nn.Module:
    """`model`, which is changed, with a :class:`Stack` for each layer that loops, and sizes that divide plainly.

    An image encoder keeps its sizes, and reads all frames at once: how many there are is not known.
    """
    for name, child in model.named_children():
        if isinstance(child, ConvRNNBase | Unroll):
            setattr(model, name, stack(child))
        elif isinstance(child, FrameEncoder):
            child.forward = child.encode  # type: ignore[method-assign]
        elif isinstance(child, nn.Conv2d) and max(child.stride) > 1 and _divides(child):
            child.forward = partial(_dividing_conv, child)  # type: ignore[method-assign]
        else:
            loops_in_graph(child, stack)
    return model


class Called(nn.Module):
    """A model on whole sequences, with the loops of its layers in the graph; `fixed` are arguments but inputs."""

    def __init__(self, model: nn.Module, **fixed: Any) -> None:
        super().__init__()
        self.model, self.fixed = loops_in_graph(copy.deepcopy(model)), fixed

    def forward(self, input: Tensor, **inputs: Any) -> tuple[Tensor]:
        """The model's output."""
        return (self.model(input, **self.fixed, **inputs),)


def _divides(conv: nn.Conv2d) -> bool:
    """Whether a map that the stride divides is made smaller by exactly that."""
    plain = conv.padding_mode == "zeros" and set(conv.dilation) == {1} and conv.groups == 1
    return plain and all(k - s <= 2 * p < k for k, s, p in _each_axis(conv))


def _each_axis(conv: nn.Conv2d) -> list[tuple[int, int, int]]:
    """Kernel, stride and padding."""
    pads = (0, 0) if isinstance(conv.padding, str) else conv.padding  # torch takes no words with a stride
    return list(zip(conv.kernel_size, conv.stride, pads, strict=True))


def _dividing_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A strided convolution that does not pad what it never reads, so that its size is that of x by the stride.

    Else every size behind it holds a rounded division, and torch's reasoning about sizes takes minutes.
    """
    pads: list[int] = []
    for kernel, stride, pad in reversed(_each_axis(conv)):
        pads += [pad, kernel - stride - pad]
    return F.conv2d(F.pad(x, pads), conv.weight, conv.bias, conv.stride)
