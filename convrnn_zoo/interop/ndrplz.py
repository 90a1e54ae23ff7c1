"""ConvLSTM_pytorch of ndrplz: one convolution of ``[x, h]`` a layer, rows in the order i, f, o, g.

https://github.com/ndrplz/ConvLSTM_pytorch
"""

from torch import Tensor, nn

from ..layers import Conv2dLSTM
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, reorder
from ._joined import from_joined, to_joined
from ._source import Source

ORDER = (0, 1, 3, 2)  # i, f, o, g there and i, f, g, o here: the swap is its inverse


def load(checkpoint: ForeignCheckpoint, *, batch_first: bool = False) -> Conv2dLSTM:
    """Its ConvLSTM as a :class:`~convrnn_zoo.layers.Conv2dLSTM`; `batch_first` is its argument of that name."""
    entries = Entries(checkpoint, "ndrplz")
    layers = entries.count(r"cell_list\.(\d+)\.conv\.(?:weight|bias)", "cell_list.0.conv.weight, …")
    bias = bool(entries.having(r"cell_list\.\d+\.conv\.bias"))
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for layer in range(layers):
        key = f"cell_list.{layer}.conv"
        rows = entries.rows([f"{key}.weight", f"{key}.bias"], 4)
        joined = (len(weights[-1]) + rows) // 4 if weights and rows else None
        weights.append(entries.take(f"{key}.weight", (rows, joined, None, None)))
        if bias:
            biases.append(entries.take(f"{key}.bias", (rows,)))
    return from_joined(entries, Conv2dLSTM, weights, biases, ORDER, batch_first=batch_first)


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of its ConvLSTM; its two biases a gate are one there."""
    out = {}
    for layer, (weight, bias) in enumerate(to_joined("ndrplz", module, Conv2dLSTM)):
        out[f"cell_list.{layer}.conv.weight"] = reorder(weight, ORDER)
        if bias is not None:
            out[f"cell_list.{layer}.conv.bias"] = reorder(bias, ORDER)
    return out


NDRPLZ = Source(
    name="ndrplz",
    title="ConvLSTM_pytorch, https://github.com/ndrplz/ConvLSTM_pytorch",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    knows="the joined convolution of one of its layers",
    load=load,
    options={"batch_first": "as its argument of that name (false)"},
    export=export,
)
