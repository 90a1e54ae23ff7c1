"""ConvLSTM_pytorch of ndrplz: one convolution of ``[x, h]`` a layer, rows in the order i, f, o, g.

https://github.com/ndrplz/ConvLSTM_pytorch
"""

import torch
from torch import Tensor, nn

from ..layers import Conv2dLSTM
from ._checkpoint import Checkpoint
from ._entries import Entries, even_kernels, expect, fill, odd_kernels, one_bias, refuse, reorder, same_or_list, unlike
from ._source import Source

ORDER = (0, 1, 3, 2)  # i, f, o, g there and i, f, g, o here: the swap is its own inverse


def load(checkpoint: Checkpoint, *, batch_first: bool = False) -> Conv2dLSTM:
    """Its ConvLSTM as a :class:`~convrnn_zoo.layers.Conv2dLSTM`; `batch_first` is its argument of that name."""
    entries = Entries(checkpoint, "ndrplz")
    layers = entries.count(r"cell_list\.(\d+)\.conv\.(?:weight|bias)", "cell_list.0.conv.weight, …")
    bias = bool(entries.having(r"cell_list\.\d+\.conv\.bias"))
    widths: list[int] = []
    kernels: list[tuple[int, ...]] = []
    state: dict[str, Tensor] = {}
    for layer in range(layers):
        key = f"cell_list.{layer}.conv"
        rows = entries.rows([f"{key}.weight", f"{key}.bias"], 4)
        width = rows // 4 if rows else 1
        joined = widths[-1] + width if widths and rows else None
        weight = entries.take(f"{key}.weight", (rows, joined, None, None))
        if weight.shape[1] <= width and not entries.faults:
            entries.fault("of another shape", f"{key}.weight {tuple(weight.shape)}: {width} channels of h, none of x")
        state[f"weight_ih_l{layer}"] = weight[:, :-width]
        state[f"weight_hh_l{layer}"] = weight[:, -width:]
        if bias:
            state[f"bias_ih_l{layer}"] = entries.take(f"{key}.bias", (rows,))
            state[f"bias_hh_l{layer}"] = torch.zeros_like(state[f"bias_ih_l{layer}"])
        widths.append(width)
        kernels.append(tuple(weight.shape[2:]))
    entries.done()
    odd_kernels(checkpoint.origin, kernels)
    state = {k: reorder(v, ORDER) for k, v in state.items()}
    return fill(
        Conv2dLSTM(
            state["weight_ih_l0"].shape[1], same_or_list(widths), kernels, layers, bias, batch_first,
            dtype=checkpoint.dtype(),
        ),
        state,
    )  # fmt: skip


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of its ConvLSTM; its two biases a gate are one there."""
    layer: Conv2dLSTM = expect("ndrplz", module, Conv2dLSTM)
    reasons = unlike(
        layer, bidirectional=False, stride=(1, 1), dilation=(1, 1), groups=1, padding_mode="zeros",
        hidden_kernels=layer.kernels,
    )  # fmt: skip
    refuse("ndrplz", module, reasons + even_kernels(layer.kernels))
    own, out = layer.state_dict(), {}
    for n in range(layer.num_layers):
        joined = torch.cat([own[f"weight_ih_l{n}"], own[f"weight_hh_l{n}"]], dim=1)
        out[f"cell_list.{n}.conv.weight"] = reorder(joined, ORDER)
        if layer.bias:
            bias = one_bias(own[f"bias_ih_l{n}"], own[f"bias_hh_l{n}"])
            out[f"cell_list.{n}.conv.bias"] = reorder(bias, ORDER)
    return out


SOURCE = Source(
    name="ndrplz",
    title="ConvLSTM_pytorch, https://github.com/ndrplz/ConvLSTM_pytorch",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    knows="the joined convolution of one of its layers",
    load=load,
    options={"batch_first": "as its argument of that name (false)"},
    export=export,
)
