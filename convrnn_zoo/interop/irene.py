"""Converts IRENE's ConvGRU ensemble: a cell has one convolution of ``[x, h]`` for its gates, another for the candidate.

Checkpoints of mlcast's ConvGruModel have the same keys.
"""

from typing import Any

from torch import nn

from .. import _checks as check
from ..values.preprocessing import Preprocessing
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, load_model, negate_update_gate, same_or_list

GATES = {"combined_gates": (1, 0), "out_gate": (0,)}
"""The convolutions of a cell, with the positions of our gates r and z in the first one, and of n in the second."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 12) -> nn.Module:
    """Loads the weights into ``convgru_irene``. Its ``forecast`` takes and returns mm/h, as IRENE's wrapper does."""
    entries = Entries(checkpoint, "irene")
    pattern = r"(?:encoder|decoder)\.blocks\.(\d+)\.convgru\.cell\.(?:combined_gates|out_gate)\.(?:weight|bias)"
    blocks = entries.count(pattern, "encoder.blocks.0.convgru.cell.combined_gates.weight, …")
    blocks = min(blocks, len(entries.matches(pattern)) // 8 + 1)  # each block has 8 entries
    scales = {f"encoder.{block}": 4**block for block in range(blocks)}
    scales |= {f"decoder.{block}": 4 ** (blocks - block) for block in range(blocks)}
    maps: list[KeyMap] = []
    rows: dict[str, int] = {}
    for cell, scale in scales.items():
        cell_maps = KeyMap.joint(f"{cell.replace('.', '.blocks.')}.convgru.cell", f"{cell}.", GATES)
        maps += cell_maps
        rows |= {m.entry: len(m.gates) * scale for m in cell_maps}
    kernel = [entries.axis_size([m.entry for m in maps], axis) or 1 for axis in (-2, -1)]
    sizes = {
        "in_chans": entries.width(rows),
        "num_blocks": blocks,
        "kernel_size": same_or_list(kernel),
        "horizon": horizon,
    }
    model: Any = load_model(entries, "convgru_irene", sizes, maps, kernel, adapt=negate_update_gate)
    model.preprocessing = Preprocessing(encoding="dbz", unit="mm/h", step=5.0, inputs=6, horizon=horizon, lowest=0.0)
    return model


IRENE = Source(
    name="irene",
    title="IRENE's ConvGRU ensemble, https://github.com/DSIP-FBK/ConvGRU-Ensemble",
    key=r"(?:en|de)coder\.blocks\.\d+\.convgru\.cell\.(?:combined_gates|out_gate)\.weight",
    ranks=(4,),
    key_description="a convolution of one of its cells",
    load=load,
    options={"horizon": "frames to forecast (12)"},
    checks={"horizon": check.positive_int},
)
