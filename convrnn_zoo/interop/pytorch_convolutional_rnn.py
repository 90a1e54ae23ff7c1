"""Converts layers and cells with torch.nn.RNN's names of parameters, which this package uses as well.

These are torch.nn.RNN, LSTM and GRU, as layers with kernels of size 1, and pytorch_convolutional_rnn.
"""

import inspect
import re
from typing import Any

from torch import Tensor, nn

from .. import _checks as check
from .. import layers
from ..layers import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNBase, ConvRNNCell, ConvRNNCellBase
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, OptionError, Source, check_exportable, expect_layer, load_layer, same_or_list

NAMES_BY_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
"""Types of cells by their number of gates."""
PARAMETER = "(?:weight|bias)_(?:ih|hh)"
KEY = r"weight_(?:ih|hh)(?:_l\d+(?:_reverse)?)?"


def load(checkpoint: ForeignCheckpoint, **options: Any) -> nn.Module:
    """Loads a layer or cell of any of the 24 classes as our class of the same name."""
    ranks = [value.dim() for key, value in checkpoint.state.items() if re.fullmatch(KEY, key)]
    ndim = max(ranks[0] - 2, 0) if ranks else 0
    return build_layer(checkpoint, PYTORCH_CONVOLUTIONAL_RNN.name, ndim or 2, ndim or 2, options)


def build_layer(checkpoint: ForeignCheckpoint, source: str, axes: int, ndim: int, options: dict[str, Any]) -> nn.Module:
    """Builds a layer or cell of the core family from a state dict with the parameter names of torch.nn.RNN.

    The weights have `axes` spatial axes and the layer has `ndim`; its kernels have size 1 along axes that the weights
    lack. `options` are arguments of the layer that the weights do not contain, such as `groups`.
    """
    entries = Entries(checkpoint, source)
    is_cell = not entries.matches(rf"{PARAMETER}_l\d+(_reverse)?")
    num_layers = 1 if is_cell else entries.count(rf"{PARAMETER}_l(\d+)(?:_reverse)?", "weight_ih_l0, …")
    ends = ("", "_reverse") if entries.matches(rf"{PARAMETER}_l\d+_reverse") else ("",)
    suffixes = [[""]] if is_cell else [[f"_l{layer}{end}" for end in ends] for layer in range(num_layers)]
    args = {"bias": bool(entries.matches(r"bias_.*")), **options}
    if not is_cell:
        args |= {"num_layers": num_layers, "bidirectional": len(ends) == 2}

    groups = check.positive_int("groups", options.get("groups", 1))
    gates = _count_gates(entries, [f"weight_hh{suffix}" for layer in suffixes for suffix in layer], 2 + axes, groups)
    name = ("Peephole" if entries.matches(r"weight_p[ifo].*") else "") + NAMES_BY_GATES[gates]
    cls: type[nn.Module] = getattr(layers, f"Conv{ndim}d{name}{'Cell' if is_cell else ''}")
    if unknown := [option for option in options if option not in inspect.signature(cls).parameters]:
        raise OptionError(f"{cls.__name__} has no {', '.join(unknown)}; leave it out")
    if name == "RNN" and "nonlinearity" not in options:
        raise WeightsError(
            f"{checkpoint.name} is an RNN, whose weights do not contain its nonlinearity: pass nonlinearity='tanh' "
            "(the default of its constructor) or 'relu'"
        )

    widths: list[int] = []
    kernels: list[tuple[int, ...]] = []
    for layer in suffixes:
        weights = [f"weight_{part}{suffix}" for suffix in layer for part in ("hh", "ih")]
        widths.append(entries.width({key: gates for w in weights for key in (w, w.replace("weight", "bias"))}))
        kernel = [size or 1 for size in entries.shape(weights, 2 + axes)[2:]]
        kernels.append((*kernel, *(1,) * (ndim - axes)))
    in_channels = (entries.axis_size([f"weight_ih{s}" for s in suffixes[0]], 1, 2 + axes) or 1) * groups

    def build(**factory_kwargs: Any) -> nn.Module:
        return cls(in_channels, same_or_list(widths), kernels[0] if is_cell else kernels, **args, **factory_kwargs)

    shapes = {key: value.shape for key, value in build(device="meta").state_dict().items()}
    state = {key: entries.take(key, shape[: 2 + axes]).reshape(shape) for key, shape in shapes.items()}
    entries.finish()
    return load_layer(build(dtype=entries.dtype), state)


def _count_gates(entries: Entries, keys: list[str], rank: int, groups: int) -> int:
    """Returns the number of gates. The shapes of the weights only determine the number of gates times `groups`."""
    rows, columns, *_ = entries.shape(keys, rank)
    if rows is None or columns is None:
        entries.fail("every weight_hh")
    if columns and rows % (columns * groups) == 0 and rows // (columns * groups) in NAMES_BY_GATES:
        return rows // (columns * groups)
    if entries.matches(r"weight_hr_.*"):
        raise WeightsError(f"{entries.name}: its layer has proj_size, which this zoo does not have")
    known = " or ".join(f"{gates} ({name})" for gates, name in NAMES_BY_GATES.items())
    raise WeightsError(
        f"{entries.name}: {keys[0]} has {rows} rows for {columns} columns, and with groups={groups} their ratio "
        f"should be {known}, times groups; pass groups= as the layer had it"
    )


TWO_BIASES = ("bias_ih", "bias_hh")
"""Attribute `biases` of layers that have the biases of torch.nn.RNN."""


def default_options(layer: ConvRNNBase | ConvRNNCellBase) -> dict[str, Any]:
    """Maps each option of a layer, such as `reset_after`, to the only value that torch.nn supports."""
    return {name: allowed[0] for name, allowed in layer.options.items() if name != "nonlinearity"}


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict of a module in tensors that share no memory with it."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def export(module: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict for the original's class of the same name, which has the same keys as ours."""
    target = PYTORCH_CONVOLUTIONAL_RNN.name
    names = [f"Conv{kind}{end}" for end in ("", "Cell") for kind in ("RNN", "LSTM", "PeepholeLSTM", "GRU")]
    layer = expect_layer(target, module, *(getattr(layers, name) for name in names))
    expected: dict[str, Any] = {"padding_mode": "zeros", "biases": TWO_BIASES, **default_options(layer)}
    if isinstance(layer, ConvRNNBase):
        expected |= {name: [getattr(layer, name)[0]] * layer.num_layers for name in ("widths", "kernels")}
        expected["hidden_kernels"] = layer.kernels
    else:
        expected["hidden_kernel_size"] = layer.kernel_size
    check_exportable(target, module, **expected)
    return copy_state(module)


PYTORCH_CONVOLUTIONAL_RNN = Source(
    name="pytorch_convolutional_rnn",
    title="pytorch_convolutional_rnn, https://github.com/kamo-naoyuki/pytorch_convolutional_rnn",
    key=KEY,
    ranks=(3, 4, 5),
    key_description="a convolution under a name of torch.nn.RNN's",
    load=load,
    options={
        "stride": "1",
        "dilation": "1",
        "groups": "1",
        "batch_first": "false",
        "dropout": "0",
        "nonlinearity": "'tanh' or 'relu'; must be given for an RNN",
    },
    checks={
        "stride": check.sizes,
        "dilation": check.sizes,
        "groups": check.positive_int,
        "batch_first": check.boolean,
        "dropout": check.probability,
    },
    export=export,
)


# ---- torch.nn ---------------------------------------------------------------------------------------------------
def load_torch(checkpoint: ForeignCheckpoint, *, ndim: int = 1, **options: Any) -> nn.Module:
    """Loads torch's module as a layer with kernels of size 1 and `ndim` spatial axes.

    With one spatial axis, the layer takes ``(T, N, C, 1)``. On a larger map, it applies the same network at each pixel.
    """
    if ndim not in (1, 2, 3):
        raise ValueError(f"ndim must be 1, 2 or 3 spatial axes, got {ndim!r}")
    return build_layer(checkpoint, "torch", 0, ndim, options)


def export_torch(module: nn.Module) -> dict[str, Tensor]:
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
    load=load_torch,
    options={
        "ndim": "spatial axes of the layer (1)",
        "batch_first": "false",
        "dropout": "0",
        "nonlinearity": "'tanh' or 'relu'; must be given for an RNN",
    },
    checks={"ndim": check.positive_int, "batch_first": check.boolean, "dropout": check.probability},
    export=export_torch,
)
