"""OpenSTL's ConvLSTM, PredRNN, PredRNN v2, PredRNN++, MIM and E3D-LSTM: stacks of cells on frames in patches."""

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ._entries import Entries
from ._openstl_read import (
    IFGO,
    NORM,
    ONE,
    Convs,
    Found,
    Link,
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
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.weight, …")
    links = [HEAD, *links_of("gradient_highway", "highway", HIGHWAY, PLAIN)]
    for i in range(n):
        links += links_of(f"cell_list.{i}", f"layers.{i}", CAUSAL, PLAIN)
        links += [Link(f"cell_list.{i}.conv_last.weight", f"layers.{i}.weight_cm")]
        links += [Link(f"cell_list.{i}.conv_o.0.weight", f"unread.{i}")]
    return _stack(entries, "predrnn_pp", links, patch_size, [width_of(entries, links, "layers.")] * n, {})


def mim(entries: Entries, patch_size: int) -> Found:
    """MIM, the dead ``conv_last`` of its MIM-N with it."""
    n = entries.count(r"stlstm_layer\.(\d+)\..*", "stlstm_layer.0.conv_x.0.weight, …")
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


def _stack(
    entries: Entries, name: str, links: Sequence[Link], patch_size: int, widths: list[int], more: dict[str, Any]
) -> Found:
    """The network of that name, its kernel and channels read from its entries."""
    first = next(link.theirs for link in links if link.ours == "layers.0.weight_ih")
    sizes = {
        "in_chans": channels_of(entries, {first: 1, HEAD.theirs: 0}, patch_size), "hidden_channels": widths,
        "kernel_size": common(entries, [link.theirs for link in links], -1) or 1, "patch_size": patch_size, **more,
    }  # fmt: skip
    like = parameters(entries, name, sizes)
    if name == "e3d_lstm":  # whose head takes the two frames of a map apart
        like["head.weight"] = like["head.weight"].unflatten(1, (-1, 2))
    state: dict[str, Tensor] = gather(entries, links, like)
    state["head.weight"] = state["head.weight"].flatten(1, -3)
    return Found(name, sizes, unfold(state, patch_size, {"layers.0.weight_ih": 1, "head.weight": 0}))


def _image(entries: Entries, links: Sequence[Link], patch_size: int, rank: int = 3) -> list[int]:
    return [s * patch_size for s in map_size(entries, links, rank)]


def _drop_dead(entries: Entries) -> None:
    dead = [m[0] for m in entries.having(DEAD)]
    count = sum(entries.left.pop(key).numel() for key in dead)
    if dead:
        logger.warning("%s: dropped, since nothing reads them, %d numbers: %s", entries.origin, count, ", ".join(dead))
