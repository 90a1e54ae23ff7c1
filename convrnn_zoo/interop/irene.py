"""IRENE's ConvGRU ensemble: one convolution of ``[x, h]`` for both gates of a cell, another for its candidate.

Its update gate u counts the other way, ``h' = (1 - u) h + u n``: our z is ``1 - σ(a) = σ(-a)``, the same convolution
with its sign turned. https://github.com/DSIP-FBK/ConvGRU-Ensemble; mlcast's ConvGruModel has the same keys.
"""

import statistics

import torch
from torch import Tensor, nn

from ..models import Preprocessing, create_model
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, fill, odd_kernels, same_or_list
from ._source import Source

GATES = {"combined_gates": 2, "out_gate": 1}
"""The convolutions of a cell, and of how many gates each is."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 12) -> nn.Module:
    """The zoo's ``convgru_irene`` with these weights; ``forecast`` takes and gives mm/h as IRENE's wrapper does.

    Args:
        horizon: frames to forecast when the call does not say.
    """
    entries = Entries(checkpoint, "irene")
    pattern = r"(encoder|decoder)\.blocks\.(\d+)\.convgru\.cell\.(combined_gates|out_gate)\.(weight|bias)"
    found = entries.having(pattern)
    blocks = max((int(m[2]) for m in found), default=-1) + 1
    if not 0 < blocks <= len(entries.left):
        entries.fail("missing", "every encoder.blocks.0.convgru.cell.combined_gates.weight, …")

    def folds(part: str, block: int) -> int:
        return 4 ** (block if part == "encoder" else blocks - block)

    # One entry of a wrong size is not the measure of all.
    votes = [
        len(entries.left[m[0]]) / (folds(m[1], int(m[2])) * GATES[m[3]]) for m in found if entries.left[m[0]].dim()
    ]
    channels = max(1, int(statistics.mode(votes or [1])))
    weights = [entries.left[m[0]] for m in found if m[4] == "weight"]
    kernel = statistics.mode([tuple(w.shape[2:]) for w in weights if w.dim() == 4] or [(1, 1)])
    state: dict[str, Tensor] = {}
    for part in ("encoder", "decoder"):
        for block in range(blocks):
            cell = _cell(entries, f"{part}.blocks.{block}.convgru.cell", channels * folds(part, block), kernel)
            state |= {f"{part}.{block}.{key}": value for key, value in cell.items()}
    entries.done()
    odd_kernels(entries.origin, [kernel])
    model = create_model(
        "convgru_irene", in_chans=channels, num_blocks=blocks, kernel_size=same_or_list(kernel), horizon=horizon,
        dtype=checkpoint.dtype(),
    )  # fmt: skip
    model.preprocessing = Preprocessing(encoding="dbz", unit="mm/h", step=5.0, inputs=6, horizon=12, lowest=0.0)
    return fill(model, state)


def _cell(entries: Entries, key: str, width: int, kernel: tuple[int, ...]) -> dict[str, Tensor]:
    """One cell, its gates in our order r, z, n."""
    out: dict[str, list[Tensor]] = {}
    for end, shape in (("weight", (2 * width, *kernel)), ("bias", ())):
        update, reset = entries.take(f"{key}.combined_gates.{end}", (2 * width, *shape)).chunk(2)
        out[end] = [reset, -update, entries.take(f"{key}.out_gate.{end}", (width, *shape))]
    weight, bias = (torch.cat(parts) for parts in out.values())
    return {"weight_ih_l0": weight[:, :width], "weight_hh_l0": weight[:, width:], "bias_ih_l0": bias}


IRENE = Source(
    name="irene",
    title="IRENE's ConvGRU ensemble, https://github.com/DSIP-FBK/ConvGRU-Ensemble",
    key=r"(?:en|de)coder\.blocks\.\d+\.convgru\.cell\.(?:combined_gates|out_gate)\.weight",
    ranks=(4,),
    knows="a convolution of one of its cells",
    load=load,
    options={"horizon": "frames to forecast (12)"},
)
