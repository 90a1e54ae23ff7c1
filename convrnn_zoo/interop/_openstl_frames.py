"""OpenSTL's MAU and PhyDNet, cells between an encoder and a decoder of frames."""

import re
from typing import Any

import torch
from torch import Tensor

from ..models import WeightsError
from ._entries import Entries, Shape, reorder
from ._openstl_read import Found, channel_before_pixel, channels_of, common, take_all, width_of

AWARE = {"conv_t": 3, "conv_t_next": 1, "conv_s": 3, "conv_s_next": 1}
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
    gates = {f"cell_list.{i}.{part}.0.weight": g for i in range(n) for part, g in AWARE.items()}
    width, kernel = width_of(entries, gates), common(entries, gates, -1)
    _, *size = entries.shape([key.replace(".0.weight", ".1.weight") for key in gates], 3)
    folded = common(entries, ["encoders.0.encoder_t_conv-1.weight"], 1) or common(entries, ["srcnn.0.weight"], 0)
    found = entries.having(r"encoders\.\d+\.encoder_t(\d+)\..*") + entries.having(r"decoders\.(\d+)\..*")
    halvings = min(max((int(m[1]) for m in found), default=0), len(entries.left)) + 1
    convs: dict[str, tuple[Shape, int | None]] = {
        "encoders.0.encoder_t_conv-1": ((width, folded, 1, 1), width),
        "srcnn.0": ((folded, width, 1, 1), folded),
        "merge": ((width, 2 * width, 1, 1), width),
        "conv_last_sr": ((folded, folded and 2 * folded, 1, 1), folded),
    }
    for i in range(halvings):
        convs[f"encoders.{i + 1}.encoder_t{i}"] = convs[f"decoders.{i}.c_decoder{i}"] = ((width, width, 3, 3), width)
    shapes: dict[str, Shape] = {f"{key}.weight": shape for key, (shape, _) in convs.items()}
    shapes |= {f"{key}.bias": (rows,) for key, (_, rows) in convs.items()}
    for key, g in gates.items():
        rows = g * width
        shapes |= {key: (rows, width, kernel, kernel), key.replace("weight", "bias"): (rows,)}
        norm = key.replace(".0.weight", ".1")
        shapes |= {f"{norm}.{kind}": (rows, *size) for kind in ("weight", "bias")}
    w = take_all(entries, shapes, kernel)
    channels = channels_of(entries, folded, patch_size)
    state: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        state |= {
            f"stem.0.{kind}": w[f"encoders.0.encoder_t_conv-1.{kind}"],
            f"head.{kind}": channel_before_pixel(w[f"srcnn.0.{kind}"], 0, patch_size),
        }
        for i in range(halvings):
            state[f"downs.{i}.0.{kind}"] = w[f"encoders.{i + 1}.encoder_t{i}.{kind}"]
            end = "" if i == halvings - 1 else ".0"  # behind the others stands an activation
            state[f"ups.{i}{end}.{kind}"] = w[f"decoders.{i}.c_decoder{i}.{kind}"]
        for i in range(n):
            for theirs, ours in (("s", "ih"), ("t", "hh")):
                parts = [f"cell_list.{i}.conv_{theirs}{end}" for end in ("_next", "")]
                state[f"layers.{i}.{kind}_{ours}"] = torch.cat([w[f"{part}.0.{kind}"] for part in parts])
                state[f"layers.{i}.{kind}_norm_{ours}"] = torch.cat([w[f"{part}.1.{kind}"] for part in parts])
    state["stem.0.weight"] = channel_before_pixel(state["stem.0.weight"], 1, patch_size)
    dead = ("merge.weight", "merge.bias", "conv_last_sr.weight", "conv_last_sr.bias")
    state |= {f"unread.{i}": w[key] for i, key in enumerate(dead)}
    sizes = {"in_chans": channels, "hidden_channels": [width] * n}
    sizes |= {"kernel_size": kernel, "patch_size": patch_size, "downsampling": 2**halvings}
    return Found("mau", {**sizes, "img_size": [s * patch_size * 2**halvings for s in size if s], **options}, state)


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
    cells = [f"convcell.cell_list.{i}.conv" for i in range(n)]
    widths = [width_of(entries, {f"{cell}.{kind}": 4 for kind in ("weight", "bias")}) for cell in cells]
    body, gate = "phycell.cell_list.0.F", "phycell.cell_list.0.convgate"
    top = width_of(
        entries, {f"{gate}.weight": 1, f"{gate}.bias": 1, f"{body}.conv2.weight": 1, f"{body}.conv2.bias": 1}
    )
    filters = width_of(entries, {f"{body}.{p}.{k}": 1 for p in ("conv1", "bn1") for k in ("weight", "bias")})
    edge = common(entries, [f"{body}.conv1.weight"], -1)
    kernel = common(entries, [*(f"{cell}.weight" for cell in cells), f"{gate}.weight"], -1)
    blocks = {key: [f"encoder.{key}.{place}.{k}" for place in "01" for k in ("weight", "bias")] for key in BLOCKS}
    stem = width_of(entries, {key: 1 for b in ("encoder_E.c1.main", "encoder_E.c2.main") for key in blocks[b]})
    last = "encoder.decoder_D.upc3"
    channels = common(entries, ["encoder.encoder_E.c1.main.0.weight"], 1) or common(entries, [f"{last}.weight"], 1)
    shapes: dict[str, Shape] = {
        f"{body}.conv1.weight": (filters, top, edge, edge), f"{body}.conv1.bias": (filters,),
        f"{body}.bn1.weight": (filters,), f"{body}.bn1.bias": (filters,),
        f"{body}.conv2.weight": (top, filters, 1, 1), f"{body}.conv2.bias": (top,),
        f"{gate}.weight": (top, 2 * top, kernel, kernel), f"{gate}.bias": (top,),
        f"{last}.weight": (stem, channels, 3, 3), f"{last}.bias": (channels,),
    }  # fmt: skip
    for cell, width, below in zip(cells, widths, [top, *widths], strict=False):
        shapes |= {f"{cell}.weight": (4 * width, below + width, kernel, kernel), f"{cell}.bias": (4 * width,)}
    ends = {"E.c1": (channels, stem), "E.c2": (stem, stem), "E.c3": (stem, 2 * stem)}
    ends |= {f"E{b}.c1": (2 * stem, top) for b in "pr"} | {f"E{b}.c2": (top, top) for b in "pr"}
    ends |= {f"D{b}.upc1": (top, top) for b in "pr"} | {f"D{b}.upc2": (top, 2 * stem) for b in "pr"}
    ends |= {"D.upc1": (2 * stem, stem), "D.upc2": (stem, stem)}
    for key, names in blocks.items():
        below, above = ends[re.sub(r"(?:en|de)coder_(.*)\.main", r"\1", key)]
        square = (below, above, 3, 3) if "upc" in key else (above, below, 3, 3)
        shapes |= dict(zip(names, (square, (above,), (above,), (above,)), strict=True))
    w = take_all(entries, shapes, kernel, edge)
    if widths[-1] != top:
        raise WeightsError(f"{entries.origin}: its last ConvLSTM layer has {widths[-1]} channels, its PhyCell {top}")
    state = {f"image.2.{kind}": w[f"{last}.{kind}"] for kind in ("weight", "bias")}
    for key, ours in BLOCKS.items():
        state |= {f"{ours}.{p}.{k}": w[f"encoder.{key}.{p}.{k}"] for p in "01" for k in ("weight", "bias")}
    for kind in ("weight", "bias"):
        for ours, theirs in (("f", "conv1"), ("norm", "bn1"), ("p", "conv2")):
            state[f"physics.{kind}_{ours}"] = w[f"{body}.{theirs}.{kind}"]
    state |= {"physics.weight_ih": w[f"{gate}.weight"][:, :top], "physics.weight_hh": w[f"{gate}.weight"][:, top:]}
    state["physics.bias_ih"] = w[f"{gate}.bias"]
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        weight = reorder(w[f"{cell}.weight"], (0, 1, 3, 2))  # i, f, o, g there
        state |= {f"layers.{i}.weight_ih": weight[:, :-width], f"layers.{i}.weight_hh": weight[:, -width:]}
        state[f"layers.{i}.bias_ih"] = reorder(w[f"{cell}.bias"], (0, 1, 3, 2))
    sizes = {"in_chans": channels, "hidden_channels": widths, "kernel_size": kernel, "patch_size": patch_size}
    return Found("phydnet", {**sizes, "stem_channels": stem, "filters": filters, "filter_size": edge}, state)
