"""Parameters under torch.nn.RNN's names: what pytorch_convolutional_rnn, torch and the zoo share."""

import inspect
from typing import Any

from torch import Tensor, nn

from .. import layers
from ..layers import _checks as check
from ..models import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, fill, same_or_list
from ._source import OptionError

KIND_BY_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
"""The kind of a cell by the number of its gates."""
PARAMETER = "(?:weight|bias)_(?:ih|hh)"
KEY = r"weight_(?:ih|hh)(?:_l\d+(?:_reverse)?)?"


def build(checkpoint: ForeignCheckpoint, source: str, axes: int, ndim: int, options: dict[str, Any]) -> nn.Module:
    """The layer or cell of the core family whose state dict this is.

    Args:
        checkpoint: entries whose weights have `axes` spatial axes.
        source: who asks, for messages.
        axes, ndim: spatial axes of the weights and of the layer; those that weights lack are of one tap.
        options: arguments of the layer that weights do not tell; `groups` among them.
    """
    entries = Entries(checkpoint, source)
    cell = not entries.having(rf"{PARAMETER}_l\d+(_reverse)?")
    suffixes, depth, directions = [""], 1, 1
    if not cell:
        depth = entries.count(rf"{PARAMETER}_l(\d+)(?:_reverse)?", "weight_ih_l0, …")
        ends = ("", "_reverse") if entries.having(rf"{PARAMETER}_l\d+_reverse") else ("",)
        suffixes, directions = [f"_l{layer}{end}" for layer in range(depth) for end in ends], len(ends)
    bias = bool(entries.having(r"bias_.*"))
    peephole = bool(entries.having(r"weight_p[ifo].*"))

    groups = check.positive_int("groups", options.get("groups", 1))
    gates = _gates(entries, [f"weight_hh{s}" for s in suffixes], 2 + axes, groups)
    kind = ("Peephole" if peephole else "") + KIND_BY_GATES[gates]
    made: type[nn.Module] = getattr(layers, f"Conv{ndim}d{kind}{'Cell' if cell else ''}")
    if foreign := [name for name in options if name not in inspect.signature(made).parameters]:
        raise OptionError(f"{made.__name__} has no {', '.join(foreign)}; leave it out")
    if kind == "RNN" and "nonlinearity" not in options:
        raise WeightsError(
            f"{checkpoint.origin} is an RNN, and its weights do not tell its nonlinearity: pass nonlinearity='tanh' "
            "(what it had unless another was given) or 'relu'"
        )

    widths: list[int] = []
    kernels: list[tuple[int, ...]] = []
    for layer in range(depth):
        here = suffixes[layer * directions : (layer + 1) * directions]
        weights = [f"weight_{part}{suffix}" for suffix in here for part in ("hh", "ih")]
        biases = [key.replace("weight", "bias") for key in weights]
        rows = entries.rows([*weights, *biases], gates) or gates
        widths.append(rows // gates)
        taps = [size or 1 for size in entries.shape(weights, 2 + axes)[2:]]
        kernels.append((*taps, *(1,) * (ndim - axes)))
    inputs = (entries.shape([f"weight_ih{suffix}" for suffix in suffixes[:directions]], 2 + axes)[1] or 1) * groups
    args = {"bias": bias, **({} if cell else {"num_layers": depth, "bidirectional": directions == 2}), **options}

    def make(**where: Any) -> nn.Module:
        return made(inputs, same_or_list(widths), kernels[0] if cell else kernels, **args, **where)

    wanted = {key: value.shape for key, value in make(device="meta").state_dict().items()}
    state = {key: entries.take(key, shape[: 2 + axes]).reshape(shape) for key, shape in wanted.items()}
    entries.done()
    return fill(make(dtype=checkpoint.dtype()), state)


def _gates(entries: Entries, keys: list[str], rank: int, groups: int) -> int:
    """Rows over columns of a state-to-state weight: gates times groups, and weights tell their product alone."""
    rows, columns, *_ = entries.shape(keys, rank)
    if rows is None or columns is None:
        entries.fail("missing", "every weight_hh")
    if rows % columns == 0 and (product := rows // columns) % groups == 0 and product // groups in KIND_BY_GATES:
        return product // groups
    known = " or ".join(f"{g} ({kind})" for g, kind in KIND_BY_GATES.items())
    raise WeightsError(
        f"{entries.origin}: {keys[0]} has {rows} rows for {columns} columns, and with groups={groups} their ratio "
        f"should be {known}, times groups; pass groups= as the layer had it"
    )


def copied_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module, in tensors that share no memory with it."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}
