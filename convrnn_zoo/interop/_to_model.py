"""Builds models of the zoo from layers and cells."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..layers import KINDS, ConvRNNBase, ConvRNNCellBase
from ..layers.keras import ResizingConvLSTM
from ..models import create_model, list_models
from ..pretrained.registry import entry_points

SAVE_LAYER = "Take the layer from convrnn_zoo.interop.load and save its state_dict in a .safetensors file"


def to_model(module: nn.Module, head: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Returns a registered model with the weights of a layer or cell. A registered model is returned unchanged.

    A layer with more than three layers becomes a ``recurrent_stack``. `head` is the state dict of a linear classifier
    of every pixel, if the model gets one.

    Raises:
        ValueError: no registered architecture has such a layer. The message gives the reason.

    Example:
        >>> from convrnn_zoo.layers import Conv1dGRU
        >>> to_model(Conv1dGRU(2, 4, kernel_size=3, num_layers=2)).pretrained_cfg["architecture"]
        'convgru1d_2layer'
    """
    if getattr(module, "pretrained_cfg", {}).get("architecture") in entry_points():
        return module
    names = {cls.__name__: name for name, by_ndim in KINDS.items() for cls in by_ndim.values()}
    name = names.get(type(module).__name__.removesuffix("Cell"))
    if not isinstance(module, ConvRNNBase | ConvRNNCellBase | ResizingConvLSTM):
        raise ValueError(f"expected a layer, a cell or a registered model of this package, got {type(module).__name__}")
    if name is None or not isinstance(module, ConvRNNBase | ConvRNNCellBase):
        raise ValueError(
            f"no architecture has a {type(module).__name__}: the core family has one geometry for input and state, and "
            f"the activations of its papers. {SAVE_LAYER}"
        )
    is_cell = isinstance(module, ConvRNNCellBase)
    depth = 1 if is_cell else module.num_layers
    args = {"in_chans": module.in_channels, "hidden_channels": module.out_channels, "kernel_size": module.kernel_size}
    set_by_model = ("num_layers", "bidirectional", "batch_first")
    args |= {option: value for option, value in module.changed_options().items() if option not in set_by_model}
    args = json.loads(json.dumps(args))  # as a config stores them
    args |= {"num_classes": len(head["bias"]), "global_pool": ""} if head else {}
    is_bidirectional = getattr(module, "bidirectional", False)
    architecture = f"{name}{module.ndim}d{'_bi' * is_bidirectional}_{depth}layer"
    if architecture not in list_models():  # a deeper stack
        architecture = "recurrent_stack"
        args |= {"layer": type(module).__name__, "num_layers": depth, "bidirectional": is_bidirectional}
    model: Any = create_model(architecture, dtype=next(module.parameters()).dtype, **args)
    model.head.load_state_dict(head or {}, strict=True)
    state = {f"{key}_l0" if is_cell else key: value for key, value in module.state_dict().items()}
    model.rnn.load_state_dict(state, strict=True)
    return model
