"""Converts FireNet and FireNet+, which reconstruct images from events."""

from typing import Any

from torch import nn

from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, gather, layer_width, load_model, negate_update_gate, parameter_shapes

FIRENET_MODULES = {
    "stem": "net.head.conv.conv2d",
    "head": "net.pred.conv2d",
    "rnns.0": "net.head.recurrent_block",
    "rnns.1": "net.resblocks.0.recurrent_block",
    "blocks.0": "net.resblocks.0.conv",
    "blocks.1": "net.resblocks.1",
}
"""Names of the original's modules, by the names of our modules."""
FIRENET_PLUS_MODULES = {
    "stem": "head.conv2d",
    "head": "pred.conv2d",
    "rnns.0": "G1",
    "rnns.1": "G2",
    "blocks.0": "R1",
    "blocks.1": "R2",
}
ENDS = ("weight", "bias")
GATES = {"reset_gate": (0,), "update_gate": (0,), "out_gate": (0,)}
"""The convolutions of a ConvGRU, in the order of our gates r, z and n."""


def load(checkpoint: ForeignCheckpoint) -> nn.Module:
    """Loads the weights into ``firenet``."""
    entries = Entries(checkpoint, "firenet")
    modules = FIRENET_PLUS_MODULES if entries.matches(r"[GR][12]\..*") else FIRENET_MODULES
    convs = [("stem", ""), ("head", ""), *((f"blocks.{i}", f".conv{n}") for i in "01" for n in "12")]
    maps = [KeyMap(f"{modules[name]}{conv}.{end}", f"{name}{conv}.{end}") for name, conv in convs for end in ENDS]
    gates = [m for name in ("rnns.0", "rnns.1") for m in KeyMap.joint(modules[name], f"{name}.", GATES)]
    convolved = [m.source for m in (*maps, *gates) if not m.target.startswith("head")]
    kernel = entries.axis_size(convolved, 2) or 1
    sizes: dict[str, Any] = {
        "in_chans": entries.axis_size([f"{modules['stem']}.weight"], 1) or 1,
        "num_classes": entries.width({f"{modules['head']}.{end}": 1 for end in ENDS}),
        "hidden_channels": layer_width(entries, gates, "rnns"),
        "kernel_size": kernel,
    }
    shapes = parameter_shapes(entries, "firenet", sizes, [kernel])
    state = gather(entries, [*maps, *gates], shapes)
    state |= negate_update_gate({key: value for key, value in state.items() if key.startswith("rnns.")})
    return load_model(entries, "firenet", sizes, state)


FIRENET = Source(
    name="firenet",
    title="FireNet and FireNet+, https://github.com/cedric-scheerlinck/rpg_e2vid",
    key=r"(?:net\.resblocks\.0\.recurrent_block|G2)\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    key_description="a convolution of its second ConvGRU",
    load=load,
    options={},
)
