"""Sources with one convolution of ``[x, h]`` where ours has two, padded by ``k // 2``, and one bias."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ._entries import (
    Entries,
    even_kernels,
    expect,
    fill,
    odd_kernels,
    one_bias,
    refuse,
    reorder,
    same_or_list,
    unlike,
)  # fmt: skip


def from_joined(
    entries: Entries,
    kind: type[ConvRNNBase],
    weights: list[Tensor],
    biases: list[Tensor],
    order: Sequence[int],
    **options: Any,
) -> Any:
    """The layer of these weights ``(gates · width, in + width, k, k)`` and biases, one each a layer, or no bias.

    `order` is that of their gates by ours, as for :func:`reorder`; `options` are the layer's.

    Raises:
        WeightsError: an entry is missing, of another shape or left over, or a kernel is even.
    """
    widths = [len(weight) // kind.gates for weight in weights]
    for layer, (weight, width) in enumerate(zip(weights, widths, strict=True)):
        if weight.shape[1] <= width and not entries.faults:
            shape = tuple(weight.shape)
            entries.fault("of another shape", f"layer {layer} {shape}: {width} channels of h and none of x")
    entries.done()
    kernels = [tuple(weight.shape[2:]) for weight in weights]
    odd_kernels(entries.origin, kernels)
    state: dict[str, Tensor] = {}
    for layer, (weight, width) in enumerate(zip(weights, widths, strict=True)):
        weight = reorder(weight, order)
        state |= {f"weight_ih_l{layer}": weight[:, :-width], f"weight_hh_l{layer}": weight[:, -width:]}
    for layer, bias in enumerate(biases):
        bias = reorder(bias, order)
        state |= {f"bias_ih_l{layer}": bias, f"bias_hh_l{layer}": torch.zeros_like(bias)}
    in_channels = state["weight_ih_l0"].shape[1]
    options["dtype"] = entries.checkpoint.dtype()
    return fill(kind(in_channels, same_or_list(widths), kernels, len(weights), bool(biases), **options), state)


def to_joined(
    target: str, module: nn.Module, kind: type[ConvRNNBase], **wanted: Any
) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias of each layer of the module, joined; the bias is None where the module has none.

    Raises:
        ValueError: the target cannot express the module, with every reason.
    """
    layer: ConvRNNBase = expect(target, module, kind)
    reasons = unlike(
        layer, **wanted, bidirectional=False, stride=(1, 1), dilation=(1, 1), groups=1, padding_mode="zeros",
        hidden_kernels=layer.kernels,
    )  # fmt: skip
    refuse(target, module, reasons + even_kernels(layer.kernels))
    state = layer.state_dict()
    return [
        (
            torch.cat([state[f"weight_ih_l{n}"], state[f"weight_hh_l{n}"]], dim=1),
            one_bias(state[f"bias_ih_l{n}"], state[f"bias_hh_l{n}"]) if layer.bias else None,
        )
        for n in range(layer.num_layers)
    ]
