"""OpenSTL's networks, by the entries of their cells: what reads each, and gives its sizes and weights."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..models import WeightsError
from ._entries import Entries
from ._links import (
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

logger = logging.getLogger("convrnn_zoo")

IFGO = (0, 2, 1, 3)
"""From i, g, f, o to i, f, g, o."""
NORM = (
    r"(?:(?:cell_list|stlstm_layer|stlstm_layer_diff)\.\d+\.conv_[a-z0-9_]+|gradient_highway\.[xz]_concat)"
    r"\.1\.(?:weight|bias)"
)
"""Entries of the norms behind convolutions, of a network trained with ``layer_norm=1``."""
ST_ORDER = (0, 1, 2, 6, 3, 4, 5)
"""From i, f, g, i', f', g', o to i, f, g, o, i', f', g'."""
LSTM: Convs = {"conv_x": ("ih", range(4)), "conv_h": ("hh", range(4))}
ST: Convs = {"conv_x": ("ih", ST_ORDER), "conv_h": ("hh", range(4)), "conv_m": ("hh", range(3)), "conv_o": ("po", ONE)}
CAUSAL: Convs = {
    "conv_x": ("ih", ST_ORDER), "conv_h": ("hh", range(4)), "conv_m": ("hh", range(3)), "conv_c": ("ch", range(3)),
    "conv_c2m": ("cs", IFGO), "conv_om": ("mo", ONE),
}  # fmt: skip
HIGHWAY: Convs = {"x_concat": ("ih", range(2)), "z_concat": ("hh", range(2))}
BLOCK: Convs = {"conv_x_cc": ("ih", IFGO), "conv_s_cc": ("hh", IFGO), "conv_t_cc": ("th", range(3))}
RECURRENCE: Convs = {"conv_x_concat": ("ih", IFGO), "conv_h_concat": ("hh", IFGO)}
EIDETIC: Convs = {
    "conv_x": ("ih", range(4)), "conv_h": ("hh", range(4)), "conv_new_cell": ("co", ONE), "conv_new_gm": ("mo", ONE),
}  # fmt: skip
DEAD = r"cell_list\.\d+\.(?:conv_o\.0\.weight|conv_o\.1\.(?:weight|bias)|conv_last\.weight)"
"""Entries of its ConvLSTM's cells that its forward never reads."""
PLAIN = {"0.weight": "weight"}
NORMED = {**PLAIN, "1.weight": "weight_norm", "1.bias": "bias_norm"}
HEAD = Link("conv_last.weight", "head.weight")
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


def lstm(entries: Entries, patch_size: int) -> Found:
    """Its ConvLSTM, PredRNN or PredRNN v2."""
    n = entries.count(r"cell_list\.(\d+)\.conv_[xhmo]\.0\.weight", "cell_list.0.conv_x.0.weight, …")
    with_m = bool(entries.having(r"cell_list\.\d+\.conv_m\.0\.weight"))
    if not with_m:
        _drop_dead(entries)
    normed = bool(entries.having(NORM))
    links = [HEAD]
    for i in range(n):
        links += links_of(f"cell_list.{i}", f"layers.{i}", ST if with_m else LSTM, NORMED if normed else PLAIN)
        links += [Link(f"cell_list.{i}.conv_last.weight", f"layers.{i}.weight_cm")] if with_m else []
    adapter = with_m and bool(entries.having(r"adapter\.weight"))
    links += [Link("adapter.weight", "adapter.weight")] if adapter else []
    widths = [width_of(entries, links, f"layers.{i}.") for i in range(n)]
    wide = "convlstm_openstl_l" if set(widths) == {192} else "convlstm_openstl_s"
    name = ("predrnn_v2" if adapter else "predrnn") if with_m else wide
    norms = {"layer_norm": True, "img_size": _image(entries, links, patch_size)} if normed else {}
    return _stack(entries, name, links, patch_size, widths, norms)


def predrnn_pp(entries: Entries, patch_size: int) -> Found:
    """PredRNN++, its dead ``conv_o`` with it."""
    n = max(2, entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.weight, …"))
    links = [HEAD, *links_of("gradient_highway", "highway", HIGHWAY, PLAIN)]
    for i in range(n):
        links += links_of(f"cell_list.{i}", f"layers.{i}", CAUSAL, PLAIN)
        links += [Link(f"cell_list.{i}.conv_last.weight", f"layers.{i}.weight_cm")]
        links += [Link(f"cell_list.{i}.conv_o.0.weight", f"unread.{i}")]
    return _stack(entries, "predrnn_pp", links, patch_size, [width_of(entries, links, "layers.")] * n, {})


def mim(entries: Entries, patch_size: int) -> Found:
    """MIM, the dead ``conv_last`` of its MIM-N with it."""
    n = max(2, entries.count(r"stlstm_layer\.(\d+)\..*", "stlstm_layer.0.conv_x.0.weight, …"))
    normed = bool(entries.having(NORM))
    ends = NORMED if normed else PLAIN
    links = [HEAD, *links_of("stlstm_layer.0", "layers.0", ST, ends)]
    for i in range(1, n):
        links += links_of(f"stlstm_layer.{i}", f"layers.{i}", BLOCK, ends)
    for i in range(n):
        links += [Link(f"stlstm_layer.{i}.conv_last.weight", f"layers.{i}.weight_cm")]
    cells = {f"stlstm_layer.{i}": f"layers.{i}.stationary" for i in range(1, n)}
    for theirs, ours in (cells | {f"stlstm_layer_diff.{i}": f"differences.{i}" for i in range(n - 1)}).items():
        links += links_of(theirs, ours, RECURRENCE, ends)
        links += [Link(f"{theirs}.ct_weight", f"{ours}.weight_p{gate}", (j,)) for j, gate in enumerate("if")]
        links += [Link(f"{theirs}.oc_weight", f"{ours}.weight_po")]
    links += [Link(f"stlstm_layer_diff.{i}.conv_last.weight", f"unread.{i}") for i in range(n - 1)]
    sizes = {"img_size": _image(entries, links, patch_size), **({"layer_norm": True} if normed else {})}
    return _stack(entries, "mim", links, patch_size, [width_of(entries, links, "layers.")] * n, sizes)


def e3d_lstm(entries: Entries, patch_size: int) -> Found:
    """E3D-LSTM, with its dead ``conv_gm`` and the dead part of its ``conv_x``."""
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.conv3d.weight, …")
    links = [HEAD]
    for i in range(n):
        theirs, ours = f"cell_list.{i}", f"layers.{i}"
        links += links_of(theirs, ours, EIDETIC, {"0.conv3d.weight": "weight"})
        links += [Link(f"{theirs}.conv_x.0.conv3d.weight", f"{ours}.weight_mx", (4, 5))]
        links += [Link(f"{theirs}.conv_x.0.conv3d.weight", f"unread.{2 * i}", (6,))]
        links += [Link(f"{theirs}.conv_gm.0.conv3d.weight", f"unread.{2 * i + 1}", range(4))]
        links += [Link(f"{theirs}.conv_last.conv3d.weight", f"{ours}.weight_cm")]
        links += [Link(f"{theirs}._norm_c_t.{kind}", f"{ours}.{kind}_norm") for kind in ("weight", "bias")]
    widths = [width_of(entries, links, f"layers.{i}.") for i in range(n)]
    image = _image(entries, [link for link in links if "_norm" in link.ours], patch_size, rank=4)
    return _stack(entries, "e3d_lstm", links, patch_size, widths, {"img_size": image})


def mau(entries: Entries, patch_size: int, **options: Any) -> Found:
    """MAU, its dead ``merge`` and ``conv_last_sr`` with it; `options` as the zoo names them."""
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_t.0.weight, …")
    cells = [link for i in range(n) for link in links_of(f"cell_list.{i}", f"layers.{i}", AWARE, ENDS)]
    width, kernel = width_of(entries, cells, "layers."), common(entries, [link.theirs for link in cells], -1) or 1
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
        "hidden_channels": [width] * n, "kernel_size": kernel,
        "patch_size": patch_size, "downsampling": 2**halvings,
        "img_size": [s * patch_size * 2**halvings for s in map_size(entries, cells)], **options,
    }  # fmt: skip
    state = gather(entries, links, parameters(entries, "mau", sizes, (kernel, kernel)))
    return Found("mau", sizes, unfold(state, patch_size, {"stem.0.weight": 1, "head.weight": 0, "head.bias": 0}))


def phydnet(entries: Entries, patch_size: int) -> Found:
    """PhyDNet. Its files store the cells twice, or once under either name; one copy is read."""
    if patch_size not in (2, 4):
        raise WeightsError(f"{entries.origin}: PhyDNet has a patch_size of 2 or 4, got {patch_size}")
    for m in entries.having(CONSTANTS):
        entries.left.pop(m[0])
    for m in entries.having(TWICE):
        first, second = entries.left.get(m[1]), entries.left.pop(m[0])
        if first is None:
            entries.left[m[1]] = second
        elif not torch.equal(first, second):
            entries.fault("contradicting", f"{m[0]} and {m[1]}, which are one tensor")
    n = entries.count(r"convcell\.cell_list\.(\d+)\..*", "convcell.cell_list.0.conv.weight, …")
    body, stem, last = "phycell.cell_list.0", "encoder.encoder_E.c1.main.0", "encoder.decoder_D.upc3"
    convs = {f"layers.{i}": f"convcell.cell_list.{i}.conv" for i in range(n)} | {"physics": f"{body}.convgate"}
    links = both(last, "image.2")
    for cell, conv in convs.items():
        gates = ONE if cell == "physics" else IFOG
        links += [Link(f"{conv}.weight", f"{cell}.weight_xh", gates), Link(f"{conv}.bias", f"{cell}.bias_ih", gates)]
    for theirs, ours in (("conv1", "f"), ("bn1", "norm"), ("conv2", "p")):
        links += [Link(f"{body}.F.{theirs}.{kind}", f"physics.{kind}_{ours}") for kind in KINDS]
    for theirs, ours in BLOCKS.items():
        links += [link for place in "01" for link in both(f"encoder.{theirs}.{place}", f"{ours}.{place}")]
    sizes: dict[str, Any] = {
        "in_chans": channels_of(entries, {f"{stem}.weight": 1, f"{last}.weight": 1}, 1),
        "hidden_channels": [width_of(entries, links, f"layers.{i}.") for i in range(n)],
        "kernel_size": common(entries, [f"{conv}.weight" for conv in convs.values()], -1) or 1,
        "patch_size": patch_size,
        "stem_channels": width_of(entries, links, "stem.0.", "stem.1."),
        "filters": width_of(entries, links, "physics.weight_f", "physics.bias_f", "physics.weight_n", "physics.bias_n"),
        "filter_size": common(entries, [f"{body}.F.conv1.weight"], -1) or 1,
    }
    kernels = [(sizes[key],) * 2 for key in ("kernel_size", "filter_size")]
    return Found("phydnet", sizes, gather(entries, links, parameters(entries, "phydnet", sizes, *kernels)))


def _stack(
    entries: Entries, name: str, links: Sequence[Link], patch_size: int, widths: list[int], more: dict[str, Any]
) -> Found:
    """The network of that name, its kernel and channels read from its entries."""
    square = [link.theirs for link in links if link.ours.startswith("layers.") and not link.ours.endswith("_cm")]
    rank = 5 if name == "e3d_lstm" else 4
    kernel = common(entries, square, -1, rank) or 1
    first = next(link.theirs for link in links if link.ours == "layers.0.weight_ih")
    sizes = {
        "in_chans": channels_of(entries, {first: 1, HEAD.theirs: 0}, patch_size, rank), "hidden_channels": widths,
        "kernel_size": kernel, "patch_size": patch_size, **more,
    }  # fmt: skip
    like = parameters(entries, name, sizes, (kernel, kernel))
    if rank == 5:  # a network whose head takes the two frames of a map apart
        like["head.weight"] = like["head.weight"].unflatten(1, (-1, 2))
    state = gather(entries, links, like)
    state["head.weight"] = state["head.weight"].flatten(1, -3)
    return Found(name, sizes, unfold(state, patch_size, {"layers.0.weight_ih": 1, "head.weight": 0}))


def _image(entries: Entries, links: Sequence[Link], patch_size: int, rank: int = 3) -> list[int]:
    return [s * patch_size for s in map_size(entries, links, rank)]


def _drop_dead(entries: Entries) -> None:
    dead = [m[0] for m in entries.having(DEAD)]
    count = sum(entries.left.pop(key).numel() for key in dead)
    if dead:
        logger.warning("%s: dropped, since nothing reads them, %d numbers: %s", entries.origin, count, ", ".join(dead))
