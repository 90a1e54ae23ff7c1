"""Converts E2VID, E2VID+ and SSL-E2VID, which reconstruct images from events."""

from typing import Any

from torch import nn

from ..models.e2vid import ACTIVATIONS
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, check_string, gather, load_model, parameter_shapes

NORM_ENDS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
GATES = {"Gates": (0, 1, 3, 2)}
"""The joint convolution of a ConvLSTM: our gates i, f, g, o in its i, f, o, g."""


def load(checkpoint: ForeignCheckpoint, *, final_activation: str | None = None) -> nn.Module:
    """Loads the weights into ``e2vid``. Upsampling and norms are read from the keys."""
    entries = Entries(checkpoint, "e2vid")
    if final_activation not in ACTIVATIONS:
        raise WeightsError(
            f"e2vid requires final_activation, which the weights in {checkpoint.name} do not contain: pass "
            f"'sigmoid' for E2VID, or 'none' for E2VID+ and SSL-E2VID; got {final_activation!r}"
        )
    has_norm, is_transposed = (
        bool(entries.matches(r".*norm_layer\..*")),
        bool(entries.matches(r".*transposed_conv2d\..*")),
    )
    levels = entries.count(r"unetrecurrent\.encoders\.(\d+)\..*", "unetrecurrent.encoders.0.conv.conv2d.weight, …")
    blocks = entries.count(r"unetrecurrent\.resblocks\.(\d+)\..*", "unetrecurrent.resblocks.0.conv1.weight, …")

    def conv(source: str, target: str, norm: str = "", norm_target: str = "") -> list[KeyMap]:
        ends = ["weight"] if has_norm and norm else ["weight", "bias"]
        norms = [(f"{norm}.{end}", f"{norm_target}.{end}") for end in NORM_ENDS] if has_norm and norm else []
        pairs = [(f"{source}.{end}", f"{target}.{end}") for end in ends] + norms
        return [KeyMap(f"unetrecurrent.{ours}", theirs) for ours, theirs in pairs]

    up = "transposed_conv2d" if is_transposed else "conv2d"
    maps = conv("head.conv2d", "stem") + conv("pred.conv2d", "head.0", "pred.norm_layer", "head.1")
    for i in range(levels):
        maps += conv(f"encoders.{i}.conv.conv2d", f"downs.{i}.0", f"encoders.{i}.conv.norm_layer", f"downs.{i}.1")
        maps += conv(f"decoders.{i}.{up}", f"ups.{i}.0", f"decoders.{i}.norm_layer", f"ups.{i}.1")
        maps += KeyMap.joint(f"unetrecurrent.encoders.{i}.recurrent_block", f"rnns.{i}.", GATES)
    for i in range(blocks):
        for n in "12":
            maps += conv(f"resblocks.{i}.conv{n}", f"blocks.{i}.conv{n}", f"resblocks.{i}.bn{n}", f"blocks.{i}.norm{n}")
    stem = "unetrecurrent.head.conv2d.weight"
    kernel = entries.axis_size([m.source for m in maps if m.target.startswith(("stem", "downs", "ups"))], 2) or 1
    multiples = {stem: 1}  # of the width, in each level twice those of the level before
    for i in range(levels):
        encoder = f"unetrecurrent.encoders.{i}"
        multiples |= {
            f"{encoder}.conv.conv2d.weight": 2 ** (i + 1),
            f"{encoder}.recurrent_block.Gates.bias": 2 ** (i + 3),
        }
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
    return load_model(
        entries, "e2vid", sizes, gather(entries, maps, parameter_shapes(entries, "e2vid", sizes, [kernel]))
    )


E2VID = Source(
    name="e2vid",
    title="E2VID, E2VID+ and SSL-E2VID, https://github.com/uzh-rpg/rpg_e2vid",
    key=r"unetrecurrent\.encoders\.\d+\.recurrent_block\.Gates\.weight",
    ranks=(4,),
    key_description="the gates of one of its ConvLSTMs",
    load=load,
    options={"final_activation": "'sigmoid' for E2VID, 'none' for E2VID+ and SSL-E2VID; must be given"},
    checks={"final_activation": check_string},
)
