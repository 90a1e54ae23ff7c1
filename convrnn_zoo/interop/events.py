"""Converts networks that reconstruct images from events: FireNet, FireNet+, E2VID, E2VID+ and SSL-E2VID."""

from functools import partial
from typing import Any

from torch import nn

from ..models.e2vid import ACTIVATIONS
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import (
    NORM_ENDS,
    Entries,
    KeyMap,
    Source,
    check_string,
    layer_width,
    load_model,
    negate_update_gate,
)

# ---- FireNet ---------------------------------------------------------------------------------------------------
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
GRU_GATES = {"reset_gate": (0,), "update_gate": (0,), "out_gate": (0,)}
"""The convolutions of a ConvGRU, in the order of our gates r, z and n."""


def load_firenet(checkpoint: ForeignCheckpoint) -> nn.Module:
    """Loads the weights into ``firenet``."""
    entries = Entries(checkpoint, "firenet")
    modules = FIRENET_PLUS_MODULES if entries.matches(r"[GR][12]\..*") else FIRENET_MODULES
    convs = [("stem", ""), ("head", ""), *((f"blocks.{i}", f".conv{n}") for i in "01" for n in "12")]
    maps = [m for name, conv in convs for m in KeyMap.module(f"{modules[name]}{conv}", f"{name}{conv}")]
    gates = [m for name in ("rnns.0", "rnns.1") for m in KeyMap.joint(modules[name], f"{name}.", GRU_GATES)]
    kernel = entries.axis_size([m.entry for m in (*maps, *gates) if not m.target.startswith("head")], 2) or 1
    sizes: dict[str, Any] = {
        "in_chans": entries.axis_size([f"{modules['stem']}.weight"], 1) or 1,
        "num_classes": entries.width({f"{modules['head']}.{end}": 1 for end in ("weight", "bias")}),
        "hidden_channels": layer_width(entries, gates, "rnns"),
        "kernel_size": kernel,
    }
    adapt = partial(negate_update_gate, prefix="rnns.")
    return load_model(entries, "firenet", sizes, [*maps, *gates], [kernel], adapt=adapt)


FIRENET = Source(
    name="firenet",
    title="FireNet and FireNet+, https://github.com/cedric-scheerlinck/rpg_e2vid",
    key=r"(?:net\.resblocks\.0\.recurrent_block|G2)\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    key_description="a convolution of its second ConvGRU",
    load=load_firenet,
    options={},
)


# ---- E2VID -----------------------------------------------------------------------------------------------------
LSTM_GATES = {"Gates": (0, 1, 3, 2)}
"""The joint convolution of a ConvLSTM: our gates i, f, g, o in its i, f, o, g."""


def load_e2vid(checkpoint: ForeignCheckpoint, *, final_activation: str | None = None) -> nn.Module:
    """Loads the weights into ``e2vid``. Upsampling and norms are read from the keys."""
    entries = Entries(checkpoint, "e2vid")
    if final_activation not in ACTIVATIONS:
        raise WeightsError(
            f"e2vid requires final_activation, which the weights in {checkpoint.name} do not contain: pass "
            f"'sigmoid' for E2VID, or 'none' for E2VID+ and SSL-E2VID; got {final_activation!r}"
        )
    has_norm, is_transposed = (bool(entries.matches(rf".*{name}\..*")) for name in ("norm_layer", "transposed_conv2d"))
    levels = entries.count(r"unetrecurrent\.encoders\.(\d+)\..*", "unetrecurrent.encoders.0.conv.conv2d.weight, …")
    blocks = entries.count(r"unetrecurrent\.resblocks\.(\d+)\..*", "unetrecurrent.resblocks.0.conv1.weight, …")

    def conv(source: str, target: str, norm: str = "", norm_target: str = "") -> list[KeyMap]:
        if not (has_norm and norm):
            return KeyMap.module(f"unetrecurrent.{source}", target)
        maps = KeyMap.module(f"unetrecurrent.{source}", target, ["weight"])
        return maps + KeyMap.module(f"unetrecurrent.{norm}", norm_target, NORM_ENDS)

    up = "transposed_conv2d" if is_transposed else "conv2d"
    stem = "unetrecurrent.head.conv2d.weight"
    multiples = {stem: 1}  # of the width, in each level twice those of the level before
    maps = conv("head.conv2d", "stem") + conv("pred.conv2d", "head.0", "pred.norm_layer", "head.1")
    for i in range(levels):
        encoder = f"encoders.{i}"
        maps += conv(f"{encoder}.conv.conv2d", f"downs.{i}.0", f"{encoder}.conv.norm_layer", f"downs.{i}.1")
        maps += conv(f"decoders.{i}.{up}", f"ups.{i}.0", f"decoders.{i}.norm_layer", f"ups.{i}.1")
        maps += KeyMap.joint(f"unetrecurrent.{encoder}.recurrent_block", f"rnns.{i}.", LSTM_GATES)
        multiples[f"unetrecurrent.{encoder}.conv.conv2d.weight"] = 2 ** (i + 1)
        multiples[f"unetrecurrent.{encoder}.recurrent_block.Gates.bias"] = 2 ** (i + 3)
    for i in range(blocks):
        for n in "12":
            maps += conv(f"resblocks.{i}.conv{n}", f"blocks.{i}.conv{n}", f"resblocks.{i}.bn{n}", f"blocks.{i}.norm{n}")
    kernel = entries.axis_size([m.entry for m in maps if m.target.startswith(("stem", "downs", "ups"))], 2) or 1
    sizes: dict[str, Any] = {
        "in_chans": entries.axis_size([stem], 1) or 1,
        "num_classes": entries.width({"unetrecurrent.pred.conv2d.weight": 1}),
        "hidden_channels": entries.width(multiples),
        "num_levels": levels,
        "num_blocks": blocks,
        "kernel_size": kernel,
        "upsampling": "transposed" if is_transposed else "bilinear",
        "norm": "batch" if has_norm else "none",
        "final_activation": final_activation,
    }
    return load_model(entries, "e2vid", sizes, maps, [kernel])


E2VID = Source(
    name="e2vid",
    title="E2VID, E2VID+ and SSL-E2VID, https://github.com/uzh-rpg/rpg_e2vid",
    key=r"unetrecurrent\.encoders\.\d+\.recurrent_block\.Gates\.weight",
    ranks=(4,),
    key_description="the gates of one of its ConvLSTMs",
    load=load_e2vid,
    options={"final_activation": "'sigmoid' for E2VID, 'none' for E2VID+ and SSL-E2VID; must be given"},
    checks={"final_activation": check_string},
)
