"""torch.nn.RNN, LSTM, GRU and their cells: layers on a map of one pixel, where every convolution is a product.

https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
"""

from typing import Any

from torch import Tensor, nn

from ..layers import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNBase, ConvRNNCell
from ._checkpoint import ForeignCheckpoint
from ._entries import expect, refuse, unlike
from ._source import Source
from ._torch_names import KEY, build, copied_state


def load(checkpoint: ForeignCheckpoint, *, ndim: int = 1, **options: Any) -> nn.Module:
    """As a layer with 1×1 kernels and `ndim` spatial axes, to be given ``(T, N, C, 1)`` for ``(T, N, C)``.

    On a larger map it is the same network at every pixel.
    """
    if ndim not in (1, 2, 3):
        raise ValueError(f"ndim must be 1, 2 or 3 spatial axes, got {ndim!r}")
    return build(checkpoint, "torch", 0, ndim, options)


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of torch's module of that kind."""
    layer = expect("torch", module, ConvRNN, ConvRNNCell, ConvLSTM, ConvLSTMCell, ConvGRU, ConvGRUCell)
    one = (1,) * layer.ndim
    wanted: dict[str, Any] = {"kernel_size": one, "hidden_kernel_size": one}
    if isinstance(layer, ConvRNNBase):
        wanted["widths"] = [layer.widths[0]] * layer.num_layers
    options = {name: allowed[0] for name, allowed in layer.options.items() if name != "nonlinearity"}
    # Stride and dilation have nothing to act on where a kernel has one tap and the map one pixel.
    refuse("torch", module, unlike(layer, groups=1, **wanted, **options))
    return {k: v.flatten(1) if v.dim() > 1 else v for k, v in copied_state(module).items()}


TORCH = Source(
    name="torch",
    title="torch.nn.RNN, LSTM and GRU, https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers",
    key=KEY,
    ranks=(2,),
    knows="a matrix under a name of torch.nn.RNN's",
    load=load,
    options={
        "ndim": "spatial axes of the layer (1)",
        "batch_first": "false",
        "dropout": "0",
        "nonlinearity": "'tanh' or 'relu'; must be given for an RNN",
    },
    export=export,
)
