"""Converts torch.nn.RNN, LSTM, GRU and their cells to layers with kernels of size 1, and back."""

from typing import Any

from torch import Tensor, nn

from .. import _checks as check
from ..layers import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNBase, ConvRNNCell
from ._checkpoint import ForeignCheckpoint
from ._key_map import Source, check_exportable, expect_layer
from .pytorch_convolutional_rnn import KEY, TWO_BIASES, build_layer, copy_state, default_options


def load(checkpoint: ForeignCheckpoint, *, ndim: int = 1, **options: Any) -> nn.Module:
    """Loads torch's module as a layer with kernels of size 1 and `ndim` spatial axes.

    With one spatial axis, the layer takes ``(T, N, C, 1)``. On a larger map, it applies the same network at each pixel.
    """
    if ndim not in (1, 2, 3):
        raise ValueError(f"ndim must be 1, 2 or 3 spatial axes, got {ndim!r}")
    return build_layer(checkpoint, "torch", 0, ndim, options)


def export(module: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict for torch's module of the same type."""
    layer = expect_layer("torch", module, ConvRNN, ConvRNNCell, ConvLSTM, ConvLSTMCell, ConvGRU, ConvGRUCell)
    # Stride and dilation have no effect where a kernel and the map have one pixel.
    one = (1,) * layer.ndim
    expected = {
        "groups": 1,
        "kernel_size": one,
        "hidden_kernel_size": one,
        "biases": TWO_BIASES,
        **default_options(layer),
    }
    if isinstance(layer, ConvRNNBase):
        expected["widths"] = [layer.widths[0]] * layer.num_layers
    check_exportable("torch", module, **expected)
    return {k: v.flatten(1) if v.dim() > 1 else v for k, v in copy_state(module).items()}


TORCH = Source(
    name="torch",
    title="torch.nn.RNN, LSTM and GRU, https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers",
    key=KEY,
    ranks=(2,),
    key_description="a matrix under a name of torch.nn.RNN's",
    load=load,
    options={
        "ndim": "spatial axes of the layer (1)",
        "batch_first": "false",
        "dropout": "0",
        "nonlinearity": "'tanh' or 'relu'; must be given for an RNN",
    },
    checks={"ndim": check.positive_int, "batch_first": check.boolean, "dropout": check.probability},
    export=export,
)
