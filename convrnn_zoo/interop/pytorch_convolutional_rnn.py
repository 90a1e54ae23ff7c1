"""Converts layers and cells of pytorch_convolutional_rnn, whose parameters have torch.nn.RNN's names, as here."""

import inspect
import re
from typing import Any

from torch import nn

from .. import _checks as check
from .. import layers
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, OptionError, Source, load_layer, same_or_list

NAMES_BY_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
"""Types of cells by their number of gates."""
PARAMETER = "(?:weight|bias)_(?:ih|hh)"
KEY = r"weight_(?:ih|hh)(?:_l\d+(?:_reverse)?)?"


def load(checkpoint: ForeignCheckpoint, **options: Any) -> nn.Module:
    """Loads a layer or cell of any of the 24 classes as our class of the same name.

    `options` are arguments of the layer that the weights do not contain, such as `groups`.
    """
    entries = Entries(checkpoint, PYTORCH_CONVOLUTIONAL_RNN.name)
    ndim = next((value.dim() - 2 for key, value in checkpoint.state.items() if re.fullmatch(KEY, key)), 0) or 2
    is_cell = not entries.matches(rf"{PARAMETER}_l\d+(_reverse)?")
    num_layers = 1 if is_cell else entries.count(rf"{PARAMETER}_l(\d+)(?:_reverse)?", "weight_ih_l0, …")
    ends = ("", "_reverse") if entries.matches(rf"{PARAMETER}_l\d+_reverse") else ("",)
    suffixes = [[""]] if is_cell else [[f"_l{layer}{end}" for end in ends] for layer in range(num_layers)]
    args = {"bias": bool(entries.matches(r"bias_.*")), **options}
    if not is_cell:
        args |= {"num_layers": num_layers, "bidirectional": len(ends) == 2}

    groups = check.positive_int("groups", options.get("groups", 1))
    gates = _count_gates(entries, [f"weight_hh{suffix}" for layer in suffixes for suffix in layer], 2 + ndim, groups)
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
        kernel = [size or 1 for size in entries.shape(weights, 2 + ndim)[2:]]
        kernels.append(tuple(kernel))
    in_channels = (entries.axis_size([f"weight_ih{s}" for s in suffixes[0]], 1, 2 + ndim) or 1) * groups

    def build(**factory_kwargs: Any) -> nn.Module:
        return cls(in_channels, same_or_list(widths), kernels[0] if is_cell else kernels, **args, **factory_kwargs)

    shapes = {key: value.shape for key, value in build(device="meta").state_dict().items()}
    state = {key: entries.take(key, shape) for key, shape in shapes.items()}
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
)
