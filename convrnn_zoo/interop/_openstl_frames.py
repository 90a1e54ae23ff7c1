"""OpenSTL's MAU and PhyDNet, cells between an encoder and a decoder of frames."""

from typing import Any

import torch

from ..models import WeightsError
from ._entries import Entries
from ._openstl_read import (
    KINDS,
    ONE,
    Convs,
    Found,
    Link,
    both,
    channels_of,
    common,
    gather,
    links_of,
    map_size,
    parameters,
    unfold,
    width_of,
)

AWARE: Convs = {
    "conv_s_next": ("ih", range(1)), "conv_s": ("ih", range(3)),
    "conv_t_next": ("hh", range(1)), "conv_t": ("hh", range(3)),
}  # fmt: skip
ENDS = {"0.weight": "weight", "0.bias": "bias", "1.weight": "weight_norm", "1.bias": "bias_norm"}
IFOG = (0, 1, 3, 2)
"""From i, f, o, g to i, f, g, o."""
TWICE = r"encoder\.((?:phycell|convcell)\..*)"
"""Keys under which PhyDNet's cells stand a second time."""
CONSTANTS = r"k2m\._(?:inv)?M\d"
"""Buffers that turn filters into moments."""
BLOCKS = {
    "encoder_E.c1.main": "stem.0", "encoder_E.c2.main": "stem.1", "encoder_E.c3.main": "stem.2",
    "encoder_Ep.c1.main": "encoders.physics.0", "encoder_Ep.c2.main": "encoders.physics.1",
    "encoder_Er.c1.main": "encoders.rest.0", "encoder_Er.c2.main": "encoders.rest.1",
    "decoder_Dp.upc1.main": "decoders.physics.0", "decoder_Dp.upc2.main": "decoders.physics.1",
    "decoder_Dr.upc1.main": "decoders.rest.0", "decoder_Dr.upc2.main": "decoders.rest.1",
    "decoder_D.upc1.main": "image.0", "decoder_D.upc2.main": "image.1",
}  # fmt: skip


def mau(entries: Entries, patch_size: int, **options: Any) -> Found:
    """MAU, its dead ``merge`` and ``conv_last_sr`` with it; `options` as the zoo names them."""
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_t.0.weight, …")
    cells = [link for i in range(n) for link in links_of(f"cell_list.{i}", f"layers.{i}", AWARE, ENDS)]
    width = width_of(entries, cells, "layers.")
    found = entries.having(r"encoders\.\d+\.encoder_t(\d+)\..*") + entries.having(r"decoders\.(\d+)\..*")
    halvings = min(max((int(m[1]) for m in found), default=0), len(entries.left)) + 1
    links = cells + both("encoders.0.encoder_t_conv-1", "stem.0") + both("srcnn.0", "head")
    for i in range(halvings):
        links += both(f"encoders.{i + 1}.encoder_t{i}", f"downs.{i}.0")
        end = "" if i == halvings - 1 else ".0"  # behind the others stands an activation
        links += both(f"decoders.{i}.c_decoder{i}", f"ups.{i}{end}")
    dead = ("merge.weight", "merge.bias", "conv_last_sr.weight", "conv_last_sr.bias")
    links += [Link(key, f"unread.{i}") for i, key in enumerate(dead)]
    sizes = {
        "in_chans": channels_of(entries, {"encoders.0.encoder_t_conv-1.weight": 1, "srcnn.0.weight": 0}, patch_size),
        "hidden_channels": [width] * n, "kernel_size": common(entries, [link.theirs for link in cells], -1) or 1,
        "patch_size": patch_size, "downsampling": 2**halvings,
        "img_size": [s * patch_size * 2**halvings for s in map_size(entries, cells)], **options,
    }  # fmt: skip
    state = gather(entries, links, parameters(entries, "mau", sizes))
    return Found("mau", sizes, unfold(state, patch_size, {"stem.0.weight": 1, "head.weight": 0, "head.bias": 0}))


def phydnet(entries: Entries, patch_size: int) -> Found:
    """PhyDNet, of whose cells, which stand in the file twice, one copy is read."""
    if patch_size not in (2, 4):
        raise WeightsError(f"{entries.origin}: PhyDNet has a patch_size of 2 or 4, got {patch_size}")
    for m in entries.having(CONSTANTS):
        entries.left.pop(m[0])
    for m in entries.having(TWICE):
        first, second = entries.left.get(m[1]), entries.left.pop(m[0])
        if first is not None and not torch.equal(first, second):
            entries.fault("contradicting", f"{m[0]} and {m[1]}, which are one tensor")
    n = entries.count(r"convcell\.cell_list\.(\d+)\..*", "convcell.cell_list.0.conv.weight, …")
    body, stem, last = "phycell.cell_list.0", "encoder.encoder_E.c1.main.0", "encoder.decoder_D.upc3"
    convs = {f"layers.{i}": f"convcell.cell_list.{i}.conv" for i in range(n)} | {"physics": f"{body}.convgate"}
    links = both(last, "image.2")
    for cell, conv in convs.items():  # of [x, h], which are apart here
        gates = ONE if cell == "physics" else IFOG
        links += [Link(f"{conv}.weight", f"{cell}.weight_xh", gates), Link(f"{conv}.bias", f"{cell}.bias_ih", gates)]
    for theirs, ours in (("conv1", "f"), ("bn1", "norm"), ("conv2", "p")):
        links += [Link(f"{body}.F.{theirs}.{kind}", f"physics.{kind}_{ours}") for kind in KINDS]
    for theirs, ours in BLOCKS.items():
        links += [link for place in "01" for link in both(f"encoder.{theirs}.{place}", f"{ours}.{place}")]
    sizes = {
        "in_chans": channels_of(entries, {f"{stem}.weight": 1, f"{last}.weight": 1}, 1),
        "hidden_channels": [width_of(entries, links, f"layers.{i}.") for i in range(n)],
        "kernel_size": common(entries, [f"{conv}.weight" for conv in convs.values()], -1) or 1,
        "patch_size": patch_size,
        "stem_channels": width_of(entries, links, "stem.0.", "stem.1."),
        "filters": width_of(entries, links, "physics.weight_f", "physics.bias_f", "physics.weight_n", "physics.bias_n"),
        "filter_size": common(entries, [f"{body}.F.conv1.weight"], -1) or 1,
    }
    like = parameters(entries, "phydnet", sizes)
    for cell in convs:
        like[f"{cell}.weight_xh"] = torch.cat([like[f"{cell}.weight_{part}"] for part in ("ih", "hh")], dim=1)
    state = gather(entries, links, like)
    for cell in convs:
        rows = state.pop(f"{cell}.weight_xh")
        width = like[f"{cell}.weight_hh"].shape[1]
        state |= {f"{cell}.weight_ih": rows[:, :-width], f"{cell}.weight_hh": rows[:, -width:]}
    return Found("phydnet", sizes, state)
