"""pytorch_convgru of jacobkimmel: three convolutions of ``[x, h]`` a layer, the reset before the third.

Its update gate u counts the other way, ``h' = (1 - u) h + u n``: our z is ``1 - σ(a) = σ(-a)``, the same
convolution with its sign turned. https://github.com/jacobkimmel/pytorch_convgru
"""

import torch
from torch import Tensor, nn

from ..layers import Conv2dGRU
from ._checkpoint import Checkpoint
from ._entries import Entries, even_kernels, expect, fill, odd_kernels, one_bias, refuse, same_or_list, unlike
from ._source import Source

GATES = {"reset_gate": 1, "update_gate": -1, "out_gate": 1}
"""Its convolutions in our order r, z, n, with the sign that each takes."""


def load(checkpoint: Checkpoint, *, batch_first: bool = False) -> Conv2dGRU:
    """Its ConvGRU as a :class:`~convrnn_zoo.layers.Conv2dGRU` with ``reset_after=False``.

    It is called once a step with the list of states; ours takes the sequence.
    """
    entries = Entries(checkpoint, "kimmel")
    layers = entries.count(
        rf"ConvGRUCell_(\d+)\.(?:{'|'.join(GATES)})\.(?:weight|bias)", "ConvGRUCell_00.reset_gate.weight, …"
    )
    widths: list[int] = []
    kernels: list[tuple[int, ...]] = []
    state: dict[str, Tensor] = {}
    for layer in range(layers):
        cell = f"ConvGRUCell_{layer:02d}"
        shape = entries.shape([f"{cell}.{gate}.weight" for gate in GATES], 4)
        if widths:
            shape = (shape[0], shape[0] and widths[-1] + shape[0], *shape[2:])
        weights = [sign * entries.take(f"{cell}.{gate}.weight", shape) for gate, sign in GATES.items()]
        biases = [sign * entries.take(f"{cell}.{gate}.bias", shape[:1]) for gate, sign in GATES.items()]
        width, joined, *kernel = weights[0].shape
        if joined <= width and not entries.faults:
            entries.fault("of another shape", f"{cell}.*.weight {tuple(shape)}: {width} channels of h and none of x")
        state[f"weight_ih_l{layer}"] = torch.cat([w[:, :-width] for w in weights])
        state[f"weight_hh_l{layer}"] = torch.cat([w[:, -width:] for w in weights])
        state[f"bias_ih_l{layer}"] = torch.cat(biases)
        state[f"bias_hh_l{layer}"] = torch.zeros_like(state[f"bias_ih_l{layer}"])
        widths.append(width)
        kernels.append(tuple(kernel))
    entries.done()
    odd_kernels(checkpoint.origin, kernels)
    return fill(
        Conv2dGRU(
            state["weight_ih_l0"].shape[1], same_or_list(widths), kernels, layers, batch_first=batch_first,
            reset_after=False, dtype=checkpoint.dtype(),
        ),
        state,
    )  # fmt: skip


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of its ConvGRU; where ours has no biases, its biases are zero."""
    gru: Conv2dGRU = expect("kimmel", module, Conv2dGRU)
    reasons = unlike(
        gru, reset_after=False, bidirectional=False, stride=(1, 1), dilation=(1, 1), groups=1,
        padding_mode="zeros", hidden_kernels=gru.kernels,
    )  # fmt: skip
    refuse("kimmel", module, reasons + even_kernels(gru.kernels))
    own, out = gru.state_dict(), {}
    for layer, width in enumerate(gru.widths):
        weight = torch.cat([own[f"weight_ih_l{layer}"], own[f"weight_hh_l{layer}"]], dim=1)
        bias = weight.new_zeros(3 * width)
        if gru.bias:
            bias = one_bias(own[f"bias_ih_l{layer}"], own[f"bias_hh_l{layer}"])
        parts = zip(GATES.items(), weight.chunk(3), bias.chunk(3), strict=True)
        for (gate, sign), w, b in parts:
            out[f"ConvGRUCell_{layer:02d}.{gate}.weight"] = sign * w
            out[f"ConvGRUCell_{layer:02d}.{gate}.bias"] = sign * b
    return out


SOURCE = Source(
    name="kimmel",
    title="pytorch_convgru, https://github.com/jacobkimmel/pytorch_convgru",
    key=r"ConvGRUCell_\d\d\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    knows="one of the three convolutions of its cells",
    load=load,
    options={"batch_first": "whether ours takes (N, T, …) (false)"},
    export=export,
)
