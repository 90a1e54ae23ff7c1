"""IRENE's ConvGRU ensemble: one convolution of ``[x, h]`` for both gates of a cell, another for its candidate.

Its update gate u counts the other way, ``h' = (1 - u) h + u n``: our z is ``1 - σ(a) = σ(-a)``, the same convolution
with its sign turned. https://github.com/DSIP-FBK/ConvGRU-Ensemble; mlcast's ConvGruModel has the same keys.
"""

import statistics

from torch import nn

from ..models import Preprocessing, create_model
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, fill, same_or_list
from ._links import Link, common, gather, parameters
from ._source import Source

GATES = {"combined_gates": (1, 0), "out_gate": (0,)}
"""The convolutions of a cell, and where in each our gates r, z, n stand."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 12) -> nn.Module:
    """The zoo's ``convgru_irene`` with these weights; ``forecast`` takes and gives mm/h as IRENE's wrapper does.

    Args:
        horizon: frames to forecast when the call does not say.
    """
    entries = Entries(checkpoint, "irene")
    pattern = r"(?:encoder|decoder)\.blocks\.(\d+)\.convgru\.cell\.(?:combined_gates|out_gate)\.(?:weight|bias)"
    blocks = entries.count(pattern, "encoder.blocks.0.convgru.cell.combined_gates.weight, …")
    blocks = min(blocks, len(entries.having(pattern)) // 8 + 1)  # a number far from what is there is no depth
    folds = {f"encoder.{block}.": 4**block for block in range(blocks)}
    folds |= {f"decoder.{block}.": 4 ** (blocks - block) for block in range(blocks)}
    links: list[Link] = []
    votes: list[float] = []  # one entry of a wrong size is not the measure of all
    for ours, n in folds.items():
        theirs = ours.replace(".", ".blocks.", 1) + "convgru.cell"
        for kind, name in (("weight", "weight_xh_l0"), ("bias", "bias_ih_l0")):
            for conv, gates in GATES.items():
                link = Link(f"{theirs}.{conv}.{kind}", ours + name, gates)
                value = entries.left.get(link.theirs)
                votes += [len(value) / (len(gates) * n)] if value is not None and value.dim() else []
                links.append(link)
    channels = max(1, int(statistics.mode(votes or [1])))
    kernel = [common(entries, [link.theirs for link in links], axis) or 1 for axis in (-2, -1)]
    sizes = {"in_chans": channels, "num_blocks": blocks, "kernel_size": same_or_list(kernel), "horizon": horizon}
    state = gather(entries, links, parameters(entries, "convgru_irene", sizes, kernel))
    for value in state.values():
        _, update, _ = value.chunk(3)
        update.neg_()
    model = create_model("convgru_irene", **sizes, dtype=checkpoint.dtype())
    model.preprocessing = Preprocessing(encoding="dbz", unit="mm/h", step=5.0, inputs=6, horizon=12, lowest=0.0)
    return fill(model, state)


IRENE = Source(
    name="irene",
    title="IRENE's ConvGRU ensemble, https://github.com/DSIP-FBK/ConvGRU-Ensemble",
    key=r"(?:en|de)coder\.blocks\.\d+\.convgru\.cell\.(?:combined_gates|out_gate)\.weight",
    ranks=(4,),
    knows="a convolution of one of its cells",
    load=load,
    options={"horizon": "frames to forecast (12)"},
)
