"""Sources with convolutions of ``[x, h]`` where ours has one of each, padded by ``k // 2``, and one bias a gate."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNBase
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, even_kernels, expect, fill, odd_kernels, one_bias, refuse, reorder, same_or_list, unlike


@dataclass(frozen=True)
class Joined:
    """How such a source lays out its layers."""

    source: str
    kind: type[ConvRNNBase]
    """Our layer."""
    cell: str
    """What the keys of a layer begin with, to be formatted with its number."""
    convs: Mapping[str, tuple[int, ...]]
    """Its convolutions, and which of our gates their rows are; as many in each."""
    negated: tuple[str, ...] = ()
    """Those whose sign is turned."""
    always_bias: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """What our layer must be built with to compute the same."""

    @property
    def order(self) -> list[int]:
        """Our gates in the order of the source."""
        return [gate for gates in self.convs.values() for gate in gates]

    def keys(self, layer: int) -> dict[str, int]:
        """What the keys of its convolutions begin with, and the sign of each."""
        return {self.cell.format(layer) + conv: -1 if conv in self.negated else 1 for conv in self.convs}

    def load(self, checkpoint: ForeignCheckpoint, *, batch_first: bool = False) -> Any:
        """A layer of ours with its weights; `batch_first` is that layer's."""
        entries = Entries(checkpoint, self.source)
        convs = re.sub(r"\\\{.*\\\}", r"(\\d+)", re.escape(self.cell)) + f"(?:{'|'.join(self.convs)})"
        layers = entries.count(rf"{convs}\.(?:weight|bias)", f"{next(iter(self.keys(0)))}.weight, …")
        bias = self.always_bias or bool(entries.having(rf"{convs}\.bias"))
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        each = len(self.order) // len(self.convs)
        weights: list[list[Tensor]] = []
        biases: list[list[Tensor]] = []
        widths: list[int] = []
        kernels: list[tuple[int, ...]] = []
        for layer in range(layers):
            keys = list(self.keys(layer))
            rows = entries.rows([f"{key}.{end}" for key in keys for end in ("weight", "bias")], each) or each
            width = rows // each
            _, both, *kernel = entries.shape([f"{key}.weight" for key in keys], 4)
            shape = (rows, widths[-1] + width if layer else both, *kernel)
            weights.append([entries.take(f"{key}.weight", shape) for key in keys])
            biases.append([entries.take(f"{key}.bias", (rows,)) for key in keys] if bias else [])
            widths.append(width)
            kernels.append(tuple(weights[-1][0].shape[2:]))
        in_channels = weights[0][0].shape[1] - widths[0]
        if in_channels < 1 and not entries.faults:
            entries.fault("of another shape", f"layer 0: {widths[0]} channels of h and none of x")
        entries.done()
        state: dict[str, Tensor] = {}
        for layer, width in enumerate(widths):
            signs = list(self.keys(layer).values())
            weight, *rest = (
                reorder(torch.cat([sign * part for sign, part in zip(signs, parts, strict=True)]), inverse)
                for parts in (weights[layer], biases[layer])
                if parts
            )
            state |= {f"weight_ih_l{layer}": weight[:, :-width], f"weight_hh_l{layer}": weight[:, -width:]}
            for value in rest:
                state |= {f"bias_ih_l{layer}": value, f"bias_hh_l{layer}": torch.zeros_like(value)}
        odd_kernels(checkpoint.origin, kernels)
        made = self.kind(in_channels, same_or_list(widths), kernels, layers, bias, batch_first=batch_first,
                         dtype=checkpoint.dtype(), **self.options)  # fmt: skip
        return fill(made, state)

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """The source's state dict; the two biases of our gates are one there."""
        layer: ConvRNNBase = expect(self.source, module, self.kind)
        reasons = unlike(layer, **self.options, bidirectional=False, stride=(1, 1), dilation=(1, 1), groups=1,
                         padding_mode="zeros", hidden_kernels=layer.kernels)  # fmt: skip
        refuse(self.source, module, reasons + even_kernels(layer.kernels))
        ours, out = layer.state_dict(), {}
        for n in range(layer.num_layers):
            theirs = {"weight": torch.cat([ours[f"weight_ih_l{n}"], ours[f"weight_hh_l{n}"]], dim=1)}
            if layer.bias:
                theirs["bias"] = one_bias(ours[f"bias_ih_l{n}"], ours[f"bias_hh_l{n}"])
            elif self.always_bias:
                theirs["bias"] = theirs["weight"].new_zeros(len(theirs["weight"]))
            for end, value in theirs.items():
                parts = reorder(value, self.order).chunk(len(self.convs))
                for (key, sign), part in zip(self.keys(n).items(), parts, strict=True):
                    out[f"{key}.{end}"] = sign * part
        return out
