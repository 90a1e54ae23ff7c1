"""pytorch_convolutional_rnn, from which the zoo took its classes and the names of their parameters.

https://github.com/kamo-naoyuki/pytorch_convolutional_rnn
"""

import re
from typing import Any

from torch import Tensor, nn

from ..layers import ConvRNNBase, ConvRNNCellBase
from ._checkpoint import ForeignCheckpoint
from ._entries import expect, refuse, unlike
from ._source import Source
from ._torch_names import KEY, build, copied_state


def load(checkpoint: ForeignCheckpoint, **options: Any) -> nn.Module:
    """Any of its 24 classes as ours of the same name.

    What its weights do not tell is taken by name, as its own constructor has it; see :data:`ANCESTOR`.
    """
    ranks = [value.dim() for key, value in checkpoint.state.items() if re.fullmatch(KEY, key)]
    axes = max(ranks[0] - 2, 0) if ranks else 0
    return build(checkpoint, "ancestor", axes or 2, axes or 2, options)


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of its class of the same name, which is ours."""
    layer = expect("ancestor", module, ConvRNNBase, ConvRNNCellBase)
    kernels = "kernels" if isinstance(layer, ConvRNNBase) else "kernel_size"
    refuse("ancestor", module, [
        *unlike(layer, padding_mode="zeros", **{f"hidden_{kernels}": getattr(module, kernels)}),
        *unlike(layer, **{name: allowed[0] for name, allowed in layer.options.items() if name != "nonlinearity"}),
        *(unlike(layer, widths=[layer.widths[0]] * layer.num_layers, kernels=[layer.kernels[0]] * layer.num_layers)
          if isinstance(layer, ConvRNNBase) else ()),
    ])  # fmt: skip
    return copied_state(module)


ANCESTOR = Source(
    name="ancestor",
    title="pytorch_convolutional_rnn, https://github.com/kamo-naoyuki/pytorch_convolutional_rnn",
    key=KEY,
    ranks=(3, 4, 5),
    knows="a convolution under a name of torch.nn.RNN's",
    load=load,
    options={
        "stride": "1",
        "dilation": "1",
        "groups": "1",
        "batch_first": "false",
        "dropout": "0",
        "nonlinearity": "'tanh' or 'relu'; must be given for an RNN",
    },
    export=export,
)
