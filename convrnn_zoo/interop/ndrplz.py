"""Converts layers that convolve ``[x, h]`` jointly: ConvLSTM_pytorch of ndrplz, and pytorch_convgru of jacobkimmel.

The first has one convolution with the gates i, f, o, g. The second has two of ``[x, h]`` and one of ``[x, r h]``, and
is called once per step with a list of states. Our layers take the complete sequence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers import Conv2dGRU, Conv2dLSTM, ConvRNNBase
from ._checkpoint import ForeignCheckpoint
from ._key_map import (
    Entries,
    KeyMap,
    Source,
    check_exportable,
    check_odd,
    even_kernels,
    expect_layer,
    gather,
    layer_width,
    load_layer,
    negate_update_gate,
    same_or_list,
    scatter,
    sum_biases,
)


@dataclass(frozen=True)
class JointConvs:
    """Layout of a source whose layers convolve ``[x, h]`` jointly, with a padding of ``k // 2`` and one bias per gate.

    Our layers have separate convolutions of x and of h.
    """

    source: str
    cls: type[ConvRNNBase]
    """Class of our layer."""
    cell: str
    """Prefix of the keys of a layer, without the last dot, as a format string for the number of the layer."""
    convs: Mapping[str, tuple[int, ...]]
    """Convolutions of a layer, and the positions of our gates in each of them; see :class:`KeyMap`."""
    negates_update: bool = False
    """Whether to apply :func:`negate_update_gate`."""
    always_bias: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments with which our layer computes the same outputs."""

    def maps(self, layer: int, bias: bool) -> list[KeyMap]:
        """Returns the key maps of a layer."""
        return KeyMap.joint(self.cell.format(layer), "", self.convs, f"_l{layer}", bias)

    def load(self, checkpoint: ForeignCheckpoint, *, batch_first: bool = False) -> Any:
        """Builds our layer with the weights of a checkpoint; `batch_first` is passed to the layer."""
        entries = Entries(checkpoint, self.source)
        pattern = re.sub(r"\\\{.*\\\}", r"(\\d+)", re.escape(self.cell)) + rf"\.(?:{'|'.join(self.convs)})"
        n = entries.count(rf"{pattern}\.(?:weight|bias)", f"{self.cell.format(0)}.{next(iter(self.convs))}.weight, …")
        bias = self.always_bias or bool(entries.matches(rf"{pattern}\.bias"))
        by_layer = [self.maps(layer, bias) for layer in range(n)]
        widths = [layer_width(entries, layer_maps, "weight", "bias") for layer_maps in by_layer]
        shapes = [[size or 1 for size in entries.shape([m.entry for m in layer_maps], 4)] for layer_maps in by_layer]
        kernels = [tuple(shape[2:]) for shape in shapes]
        check_odd(entries.name, kernels)
        in_channels = max(1, shapes[0][1] - widths[0])

        def build(**factory_kwargs: Any) -> ConvRNNBase:
            args: dict[str, Any] = {"batch_first": batch_first, **self.options, **factory_kwargs}
            return self.cls(in_channels, same_or_list(widths), kernels, n, bias, **args)

        parameters = {key: tuple(value.shape) for key, value in build(device="meta").state_dict().items()}
        state = gather(entries, [m for layer_maps in by_layer for m in layer_maps], parameters)
        state = negate_update_gate(state) if self.negates_update else state
        state |= {k: torch.zeros(shape, dtype=entries.dtype) for k, shape in parameters.items() if k not in state}
        return load_layer(build(dtype=entries.dtype), state)

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """Returns the source's state dict, with the sum of our two biases as its one bias."""
        layer: ConvRNNBase = expect_layer(self.source, module, self.cls)
        expected: dict[str, Any] = {"bidirectional": False, "stride": (1, 1), "dilation": (1, 1), "groups": 1}
        expected |= {"padding_mode": "zeros", "hidden_kernels": layer.kernels, **self.options}
        check_exportable(self.source, module, even_kernels(layer.kernels), **expected)
        state = {key: value.detach() for key, value in layer.state_dict().items()}
        for n in range(layer.num_layers):
            if f"bias_hh_l{n}" in state:
                state[f"bias_ih_l{n}"] = sum_biases(state[f"bias_ih_l{n}"], state[f"bias_hh_l{n}"])
            elif self.always_bias and not layer.bias:
                state[f"bias_ih_l{n}"] = torch.zeros_like(state[f"weight_ih_l{n}"][:, 0, 0, 0])
        maps = [m for n in range(layer.num_layers) for m in self.maps(n, layer.bias or self.always_bias)]
        return scatter(maps, negate_update_gate(state) if self.negates_update else state)


LAYOUT = JointConvs("ndrplz", Conv2dLSTM, "cell_list.{}", {"conv": (0, 1, 3, 2)})
NDRPLZ = Source(
    name="ndrplz",
    title="ConvLSTM_pytorch, https://github.com/ndrplz/ConvLSTM_pytorch",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of one of its layers",
    load=LAYOUT.load,
    options={"batch_first": "as its argument of that name (false)"},
    checks={"batch_first": check.boolean},
    export=LAYOUT.export,
)
KIMMEL_LAYOUT = JointConvs(
    "kimmel",
    Conv2dGRU,
    "ConvGRUCell_{:02d}",
    {"reset_gate": (0,), "update_gate": (0,), "out_gate": (0,)},
    negates_update=True,
    always_bias=True,
    options={"reset_after": False},
)
KIMMEL = Source(
    name="kimmel",
    title="pytorch_convgru, https://github.com/jacobkimmel/pytorch_convgru",
    key=r"ConvGRUCell_\d\d\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    key_description="one of the three convolutions of its cells",
    load=KIMMEL_LAYOUT.load,
    options={"batch_first": "whether our layer takes (N, T, …) (false)"},
    checks={"batch_first": check.boolean},
    export=KIMMEL_LAYOUT.export,
)
