"""OpenSTL's PredRNN++, MIM and E3D-LSTM, stacks of cells on frames folded into patches."""

from typing import Any

import torch

from ._entries import Entries, Shape, reorder
from ._openstl_read import (
    IFGO,
    NORM,
    ST_NORMS,
    ST_ORDER,
    Found,
    Norms,
    channel_before_pixel,
    channels_of,
    common,
    norm_shapes,
    norm_sizes,
    norm_state,
    spatiotemporal,
    take_all,
    width_of,
)

CAUSAL = {"conv_x.0": 7, "conv_h.0": 4, "conv_c.0": 3, "conv_m.0": 3, "conv_c2m.0": 4, "conv_om.0": 1, "conv_o.0": 1}
HIGHWAY = {"x": "gradient_highway.x_concat.0.weight", "z": "gradient_highway.z_concat.0.weight"}
RECURRENCE = {"conv_h_concat.0": 4, "conv_x_concat.0": 4}
BLOCK = {"conv_t_cc.0": 3, "conv_s_cc.0": 4, "conv_x_cc.0": 4, **RECURRENCE}
RECURRENCE_NORMS: Norms = {"conv_x_concat": ("ih", IFGO), "conv_h_concat": ("hh", IFGO)}
BLOCK_NORMS: Norms = {"conv_x_cc": ("ih", IFGO), "conv_s_cc": ("hh", IFGO), "conv_t_cc": ("th", range(3))}
EIDETIC = {"conv_x.0": 7, "conv_h.0": 4, "conv_gm.0": 4, "conv_new_cell.0": 1, "conv_new_gm.0": 1}


def predrnn_pp(entries: Entries, patch_size: int) -> Found:
    """PredRNN++, its dead ``conv_o`` with it."""
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.weight, …")
    cells = [f"cell_list.{i}" for i in range(n)]
    width = width_of(entries, {f"{cell}.{part}.weight": gates for cell in cells for part, gates in CAUSAL.items()})
    kernel = common(entries, [f"{cell}.{part}.weight" for cell in cells for part in CAUSAL], -1)
    folded = common(entries, ["cell_list.0.conv_x.0.weight"], 1) or common(entries, ["conv_last.weight"], 0)
    square = (kernel, kernel)
    shapes: dict[str, Shape] = {}
    for i, cell in enumerate(cells):
        seen = {"conv_x.0": width if i else folded, "conv_o.0": 2 * width}
        shapes |= {f"{cell}.{p}.weight": (g * width, seen.get(p, width), *square) for p, g in CAUSAL.items()}
        shapes[f"{cell}.conv_last.weight"] = (width, 2 * width, 1, 1)
    shapes |= dict.fromkeys(HIGHWAY.values(), (2 * width, width, *square))
    w = take_all(entries, {**shapes, "conv_last.weight": (folded, width, 1, 1)}, kernel)
    channels = channels_of(entries, folded, patch_size)
    state = {f"highway.weight_{ours}": w[HIGHWAY[theirs]] for ours, theirs in (("ih", "x"), ("hh", "z"))}
    for i, cell in enumerate(cells):
        part = {p.partition(".")[0]: w[f"{cell}.{p}.weight"] for p in CAUSAL}
        state |= {
            f"layers.{i}.weight_ih": reorder(part["conv_x"], ST_ORDER),
            f"layers.{i}.weight_hh": torch.cat([part["conv_h"], part["conv_m"]]),
            f"layers.{i}.weight_ch": part["conv_c"],
            f"layers.{i}.weight_cs": reorder(part["conv_c2m"], IFGO),
            f"layers.{i}.weight_mo": part["conv_om"],
            f"layers.{i}.weight_cm": w[f"{cell}.conv_last.weight"],
            f"unread.{i}": part["conv_o"],
        }
    state["layers.0.weight_ih"] = channel_before_pixel(state["layers.0.weight_ih"], 1, patch_size)
    state["head.weight"] = channel_before_pixel(w["conv_last.weight"], 0, patch_size)
    sizes = {"in_chans": channels, "hidden_channels": [width] * n}
    return Found("predrnn_pp", {**sizes, "kernel_size": kernel, "patch_size": patch_size}, state)


def mim(entries: Entries, patch_size: int) -> Found:
    """MIM, the dead ``conv_last`` of its MIM-N with it."""
    n = entries.count(r"stlstm_layer\.(\d+)\..*", "stlstm_layer.0.conv_x.0.weight, …")
    first, blocks = "stlstm_layer.0", [f"stlstm_layer.{i}" for i in range(1, n)]
    differ = [f"stlstm_layer_diff.{i}" for i in range(n - 1)]
    gates = {f"{first}.conv_x.0.weight": 7, f"{first}.conv_h.0.weight": 4, f"{first}.conv_m.0.weight": 3}
    gates |= {f"{block}.{part}.weight": g for block in blocks for part, g in BLOCK.items()}
    gates |= {f"{cell}.{part}.weight": g for cell in differ for part, g in RECURRENCE.items()}
    width, kernel = width_of(entries, gates), common(entries, gates, -1)
    folded = common(entries, [f"{first}.conv_x.0.weight"], 1) or common(entries, ["conv_last.weight"], 0)
    peepholes = [f"{cell}.{part}_weight" for cell in [*blocks, *differ] for part in ("ct", "oc")]
    _, *size = entries.shape(peepholes, 3)
    square = (kernel, kernel)
    shapes: dict[str, Shape] = {key: (g * width, width, *square) for key, g in gates.items()}
    shapes[f"{first}.conv_x.0.weight"] = (7 * width, folded, *square)
    shapes[f"{first}.conv_o.0.weight"] = (width, 2 * width, *square)
    shapes |= {key: ((2 if "ct" in key else 1) * width, *size) for key in peepholes}
    shapes |= {f"{cell}.conv_last.weight": (width, 2 * width, 1, 1) for cell in [first, *blocks, *differ]}
    normed = size if entries.having(NORM) else None
    shapes |= norm_shapes(ST_NORMS, first, width, normed)
    for cell in [*blocks, *differ]:
        norms = RECURRENCE_NORMS if cell in differ else {**BLOCK_NORMS, **RECURRENCE_NORMS}
        shapes |= norm_shapes(norms, cell, width, normed)
    w = take_all(entries, {**shapes, "conv_last.weight": (folded, width, 1, 1)}, kernel)
    channels = channels_of(entries, folded, patch_size)

    def recurrence(theirs: str, ours: str) -> dict[str, Any]:
        pi, pf = w[f"{theirs}.ct_weight"].chunk(2)
        return {
            f"{ours}.weight_ih": reorder(w[f"{theirs}.conv_x_concat.0.weight"], IFGO),
            f"{ours}.weight_hh": reorder(w[f"{theirs}.conv_h_concat.0.weight"], IFGO),
            f"{ours}.weight_pi": pi,
            f"{ours}.weight_pf": pf,
            f"{ours}.weight_po": w[f"{theirs}.oc_weight"],
            **norm_state(RECURRENCE_NORMS, w, theirs, ours),
        }

    state = spatiotemporal(w, first, "layers.0")
    for i, block in enumerate(blocks, start=1):
        state |= {
            f"layers.{i}.weight_ih": reorder(w[f"{block}.conv_x_cc.0.weight"], IFGO),
            f"layers.{i}.weight_hh": reorder(w[f"{block}.conv_s_cc.0.weight"], IFGO),
            f"layers.{i}.weight_th": w[f"{block}.conv_t_cc.0.weight"],
            f"layers.{i}.weight_cm": w[f"{block}.conv_last.weight"],
            **norm_state(BLOCK_NORMS, w, block, f"layers.{i}"),
            **recurrence(block, f"layers.{i}.stationary"),
        }
    for i, cell in enumerate(differ):
        state |= recurrence(cell, f"differences.{i}") | {f"unread.{i}": w[f"{cell}.conv_last.weight"]}
    state["layers.0.weight_ih"] = channel_before_pixel(state["layers.0.weight_ih"], 1, patch_size)
    state["head.weight"] = channel_before_pixel(w["conv_last.weight"], 0, patch_size)
    sizes = {"in_chans": channels, "hidden_channels": [width] * n, "kernel_size": kernel, "patch_size": patch_size}
    image = [s * patch_size for s in size if s]
    return Found("mim", {**sizes, "img_size": image, **norm_sizes(normed, patch_size)}, state)


def e3d_lstm(entries: Entries, patch_size: int) -> Found:
    """E3D-LSTM, with its dead ``conv_gm`` and the dead part of its ``conv_x``."""
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.conv3d.weight, …")
    cells = [f"cell_list.{i}" for i in range(n)]
    widths = [width_of(entries, {f"{c}.{p}.conv3d.weight": g for p, g in EIDETIC.items()}) for c in cells]
    kernel = common(entries, [f"{cell}.{part}.conv3d.weight" for cell in cells for part in EIDETIC], -1)
    folded = common(entries, ["cell_list.0.conv_x.0.conv3d.weight"], 1) or common(entries, ["conv_last.weight"], 0)
    size = entries.shape([f"{cell}._norm_c_t.{kind}" for cell in cells for kind in ("weight", "bias")], 4)[2:]
    shapes: dict[str, Shape] = {}
    for cell, width, below in zip(cells, widths, [folded, *widths], strict=False):
        shapes |= {f"{cell}.{p}.conv3d.weight": (g * width, width, 2, kernel, kernel) for p, g in EIDETIC.items()}
        shapes[f"{cell}.conv_x.0.conv3d.weight"] = (7 * width, below, 2, kernel, kernel)
        shapes[f"{cell}.conv_last.conv3d.weight"] = (width, 2 * width, 1, 1, 1)
        shapes |= {f"{cell}._norm_c_t.{kind}": (width, 2, *size) for kind in ("weight", "bias")}
    w = take_all(entries, {**shapes, "conv_last.weight": (folded, widths[-1], 2, 1, 1)}, kernel)
    channels = channels_of(entries, folded, patch_size)
    state = {"head.weight": channel_before_pixel(w["conv_last.weight"].flatten(1, 2), 0, patch_size)}
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        part = {p.partition(".")[0]: w[f"{cell}.{p}.conv3d.weight"] for p in EIDETIC}
        x = part["conv_x"] if i else channel_before_pixel(part["conv_x"], 1, patch_size)
        gates, memory, forget = x.split([4 * width, 2 * width, width])
        state |= {
            f"layers.{i}.weight_ih": gates,
            f"layers.{i}.weight_hh": part["conv_h"],
            f"layers.{i}.weight_mx": memory,
            f"layers.{i}.weight_co": part["conv_new_cell"],
            f"layers.{i}.weight_mo": part["conv_new_gm"],
            f"layers.{i}.weight_cm": w[f"{cell}.conv_last.conv3d.weight"],
            f"layers.{i}.weight_norm": w[f"{cell}._norm_c_t.weight"],
            f"layers.{i}.bias_norm": w[f"{cell}._norm_c_t.bias"],
            f"unread.{2 * i}": forget,
            f"unread.{2 * i + 1}": part["conv_gm"],
        }
    sizes = {"in_chans": channels, "hidden_channels": widths}
    image = [s * patch_size for s in size if s]
    return Found("e3d_lstm", {**sizes, "kernel_size": kernel, "patch_size": patch_size, "img_size": image}, state)
