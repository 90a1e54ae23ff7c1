"""ConvLSTM_pytorch of ndrplz: one convolution of ``[x, h]`` a layer, rows in the order i, f, o, g.

https://github.com/ndrplz/ConvLSTM_pytorch
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import Conv2dLSTM, ConvRNNBase
from ._checkpoint import ForeignCheckpoint
from ._key_map import (
    Entries,
    Source,
    check_exportable,
    check_odd,
    differences,
    even_kernels,
    expect_layer,
    load_weights,
    reorder,
    same_or_list,
    sum_biases,
)


@dataclass(frozen=True)
class JointConvs:
    """Layout of a source with convolutions of ``[x, h]``, padded by ``k // 2``, and one bias per gate.

    Our layers have one convolution of x and one of h.
    """

    source: str
    cls: type[ConvRNNBase]
    """Our layer."""
    cell: str
    """Prefix of a layer's keys, to be formatted with its number."""
    convs: Mapping[str, tuple[int, ...]]
    """Its convolutions, all of the same size, and which of our gates their rows are."""
    negated: tuple[str, ...] = ()
    """Convolutions whose sign is changed."""
    always_bias: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of our layer with which it computes the same."""

    @property
    def order(self) -> list[int]:
        """Our gates in the order of the source."""
        return [gate for gates in self.convs.values() for gate in gates]

    def prefixes(self, layer: int) -> dict[str, int]:
        """Returns the prefixes of a layer's convolutions, and the sign of each."""
        return {self.cell.format(layer) + conv: -1 if conv in self.negated else 1 for conv in self.convs}

    def load(self, checkpoint: ForeignCheckpoint, *, batch_first: bool = False) -> Any:
        """Builds our layer with the weights of the source; `batch_first` is our layer's."""
        entries = Entries(checkpoint, self.source)
        pattern = re.sub(r"\\\{.*\\\}", r"(\\d+)", re.escape(self.cell)) + f"(?:{'|'.join(self.convs)})"
        num_layers = entries.count(rf"{pattern}\.(?:weight|bias)", f"{next(iter(self.prefixes(0)))}.weight, …")
        bias = self.always_bias or bool(entries.matches(rf"{pattern}\.bias"))
        gates = len(self.order) // len(self.convs)
        weights: list[list[Tensor]] = []
        biases: list[list[Tensor]] = []
        widths: list[int] = []
        for layer in range(num_layers):
            keys = list(self.prefixes(layer))
            rows = entries.rows([f"{key}.{end}" for key in keys for end in ("weight", "bias")], gates) or gates
            width = rows // gates
            _, columns, *kernel = entries.shape([f"{key}.weight" for key in keys], 4)
            shape = (rows, widths[-1] + width if layer else columns, *kernel)
            weights.append([entries.take(f"{key}.weight", shape) for key in keys])
            biases.append([entries.take(f"{key}.bias", (rows,)) for key in keys] if bias else [])
            widths.append(width)
        in_channels = weights[0][0].shape[1] - widths[0]
        if in_channels < 1 and not entries.errors:
            entries.add_error("of another shape", f"layer 0: {widths[0]} channels of h and none of x")
        entries.finish()
        kernels = [tuple(convs[0].shape[2:]) for convs in weights]
        check_odd(checkpoint.origin, kernels)
        state: dict[str, Tensor] = {}
        for layer, width in enumerate(widths):
            weight = self._join(layer, weights[layer])
            state |= {f"weight_ih_l{layer}": weight[:, :-width], f"weight_hh_l{layer}": weight[:, -width:]}
            if bias:
                value = self._join(layer, biases[layer])
                state |= {f"bias_ih_l{layer}": value, f"bias_hh_l{layer}": torch.zeros_like(value)}
        args: dict[str, Any] = {"batch_first": batch_first, "dtype": checkpoint.dtype(), **self.options}
        return load_weights(self.cls(in_channels, same_or_list(widths), kernels, num_layers, bias, **args), state)

    def _join(self, layer: int, values: list[Tensor]) -> Tensor:
        """Concatenates the convolutions of a layer in our order of gates."""
        order = sorted(range(len(self.order)), key=self.order.__getitem__)
        signs = self.prefixes(layer).values()
        return reorder(torch.cat([sign * value for sign, value in zip(signs, values, strict=True)]), order)

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """Returns the source's state dict, in which the two biases of our gates are one."""
        layer: ConvRNNBase = expect_layer(self.source, module, self.cls)
        reasons = differences(layer, **self.options, bidirectional=False, stride=(1, 1), dilation=(1, 1), groups=1,
                              padding_mode="zeros", hidden_kernels=layer.kernels)  # fmt: skip
        check_exportable(self.source, module, reasons + even_kernels(layer.kernels))
        ours, out = layer.state_dict(), {}
        for n in range(layer.num_layers):
            values = {"weight": torch.cat([ours[f"weight_ih_l{n}"], ours[f"weight_hh_l{n}"]], dim=1)}
            if layer.bias:
                values["bias"] = sum_biases(ours[f"bias_ih_l{n}"], ours[f"bias_hh_l{n}"])
            elif self.always_bias:
                values["bias"] = values["weight"].new_zeros(len(values["weight"]))
            for end, value in values.items():
                convs = reorder(value, self.order).chunk(len(self.convs))
                for (key, sign), conv in zip(self.prefixes(n).items(), convs, strict=True):
                    out[f"{key}.{end}"] = sign * conv
        return out


LAYOUT = JointConvs("ndrplz", Conv2dLSTM, "cell_list.{}.", {"conv": (0, 1, 3, 2)})
NDRPLZ = Source(
    name="ndrplz",
    title="ConvLSTM_pytorch, https://github.com/ndrplz/ConvLSTM_pytorch",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of one of its layers",
    load=LAYOUT.load,
    options={"batch_first": "as its argument of that name (false)"},
    export=LAYOUT.export,
)
