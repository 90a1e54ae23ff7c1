"""pytorch_convgru of jacobkimmel: three convolutions of ``[x, h]`` a layer, the reset before the third.

Its update gate u counts the other way, ``h' = (1 - u) h + u n``: our z is ``1 - σ(a) = σ(-a)``, the same
convolution with its sign turned. https://github.com/jacobkimmel/pytorch_convgru
"""

import torch
from torch import Tensor, nn

from ..layers import Conv2dGRU
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries
from ._joined import from_joined, to_joined
from ._source import Source

GATES = {"reset_gate": 1, "update_gate": -1, "out_gate": 1}
"""Its convolutions in our order r, z, n, with the sign that each takes."""


def load(checkpoint: ForeignCheckpoint, *, batch_first: bool = False) -> Conv2dGRU:
    """Its ConvGRU as a :class:`~convrnn_zoo.layers.Conv2dGRU` with ``reset_after=False``.

    It is called once a step with the list of states; ours takes the sequence.
    """
    entries = Entries(checkpoint, "kimmel")
    layers = entries.count(
        rf"ConvGRUCell_(\d+)\.(?:{'|'.join(GATES)})\.(?:weight|bias)", "ConvGRUCell_00.reset_gate.weight, …"
    )
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for layer in range(layers):
        cell = f"ConvGRUCell_{layer:02d}"
        shape = entries.shape([f"{cell}.{gate}.weight" for gate in GATES], 4)
        if weights:
            shape = (shape[0], shape[0] and len(weights[-1]) // 3 + shape[0], *shape[2:])
        for out, end, wanted in ((weights, "weight", shape), (biases, "bias", shape[:1])):
            out.append(torch.cat([sign * entries.take(f"{cell}.{gate}.{end}", wanted) for gate, sign in GATES.items()]))
    return from_joined(entries, Conv2dGRU, weights, biases, (0, 1, 2), batch_first=batch_first, reset_after=False)


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of its ConvGRU; where ours has no biases, its biases are zero."""
    out = {}
    for layer, (weight, bias) in enumerate(to_joined("kimmel", module, Conv2dGRU, reset_after=False)):
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        for (gate, sign), w, b in zip(GATES.items(), weight.chunk(3), bias.chunk(3), strict=True):
            out[f"ConvGRUCell_{layer:02d}.{gate}.weight"] = sign * w
            out[f"ConvGRUCell_{layer:02d}.{gate}.bias"] = sign * b
    return out


KIMMEL = Source(
    name="kimmel",
    title="pytorch_convgru, https://github.com/jacobkimmel/pytorch_convgru",
    key=r"ConvGRUCell_\d\d\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    knows="one of the three convolutions of its cells",
    load=load,
    options={"batch_first": "whether ours takes (N, T, …) (false)"},
    export=export,
)
