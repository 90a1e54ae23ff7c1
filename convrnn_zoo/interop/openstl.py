"""OpenSTL's recurrent models, and of them here ConvLSTM, PredRNN and PredRNN v2, on frames folded into patches.

Its patches have the pixel before the channel, ours the channel before the pixel; and its cells carry convolutions
that nothing reads. https://github.com/chengtan9907/OpenSTL
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models import WeightsError, create_model
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, Shape, odd_kernels, reorder
from ._openstl_frames import mau, phydnet
from ._openstl_read import (
    LSTM_NORMS,
    NORM,
    ST_NORMS,
    ST_ORDER,
    Found,
    Norms,
    channel_before_pixel,
    channels_of,
    norm_shapes,
    norm_size,
    norm_sizes,
    norm_state,
)
from ._openstl_stacks import e3d_lstm, mim, predrnn_pp
from ._source import OptionError, Source

logger = logging.getLogger("convrnn_zoo")

DEAD = r"cell_list\.\d+\.(?:conv_o\.0\.weight|conv_o\.1\.(?:weight|bias)|conv_last\.weight)"
"""Entries of its ConvLSTM's cells that its forward never reads."""


def load(
    checkpoint: ForeignCheckpoint,
    *,
    patch_size: int,
    horizon: int = 10,
    tau: int | None = None,
    cell_mode: str | None = None,
    model_mode: str | None = None,
) -> nn.Module:
    """The zoo's model of that name, on frames ``(N, T, C, H, W)`` in place of OpenSTL's patches.

    Args:
        patch_size: pixels of a patch's edge, which the weights do not tell apart from the channels of a frame.
        horizon: frames to forecast when the call does not say; OpenSTL's `aft_seq_length`.
        tau, cell_mode, model_mode: of a MAU alone; 5, ``"normal"`` and ``"normal"`` by default.
    """
    if not isinstance(patch_size, int) or isinstance(patch_size, bool) or patch_size < 1:
        raise ValueError(f"patch_size must be a positive whole number, got {patch_size!r}")
    entries = Entries(checkpoint, "openstl")
    kind = next((kind for pattern, kind in KINDS.items() if entries.having(pattern)), _stack)
    aware = {"tau": tau, "cell_mode": cell_mode, "model_mode": model_mode}
    if given := [name for name, value in aware.items() if value is not None and kind is not mau]:
        raise OptionError(f"{', '.join(given)}: options of a MAU, and {checkpoint.origin} is none; leave them out")
    if kind is mau:
        modes = {"residual": cell_mode or "normal", "recall": model_mode or "normal"}
        for mode, value in modes.items():
            if value not in ("normal", mode):
                raise ValueError(f"MAU has the modes 'normal' and {mode!r}, got {value!r}")
        found = mau(entries, patch_size, tau=tau or 5, **{mode: value == mode for mode, value in modes.items()})
    elif kind in UNNORMED and (norms := entries.having(NORM)):
        raise WeightsError(
            f"{checkpoint.origin} has layer norms ({norms[0][0]}, …), which are not read: {UNNORMED[kind]}; train it "
            "with layer_norm=0"
        )
    else:
        found = kind(entries, patch_size)
    dtype = ForeignCheckpoint(found.state, checkpoint.origin).dtype()
    model = create_model(found.name, **found.sizes, horizon=horizon, dtype=dtype)
    model.load_state_dict({k: v.contiguous() for k, v in found.state.items()}, strict=True)
    return model


def _stack(entries: Entries, patch_size: int) -> Found:
    """Its ConvLSTM, PredRNN or PredRNN v2."""
    layers = entries.count(r"cell_list\.(\d+)\.conv_[xhmo]\.0\.weight", "cell_list.0.conv_x.0.weight, …")
    with_m = bool(entries.having(r"cell_list\.\d+\.conv_m\.0\.weight"))
    if not with_m:
        _drop_dead(entries)
    folded = entries.shape(["cell_list.0.conv_x.0.weight"], 4)[1] or entries.shape(["conv_last.weight"], 4)[0]
    kernel = _square(entries, layers)
    size = norm_size(entries)
    widths: list[int] = []
    state: dict[str, Tensor] = {}
    below = folded
    for layer in range(layers):
        width = (_st_cell if with_m else _lstm_cell)(entries, layer, below, kernel, state)
        _take_norms(entries, ST_NORMS if with_m else LSTM_NORMS, layer, width, size, state)
        widths.append(width)
        below = width
    top = entries.take("conv_last.weight", (folded, below, 1, 1))
    if with_m and entries.having(r"adapter\.weight"):
        state["adapter.weight"] = entries.take("adapter.weight", (widths[0], widths[0], 1, 1))
    entries.done()
    first = state["layers.0.weight_ih"]
    odd_kernels(entries.origin, [first.shape[2:]])
    channels = channels_of(entries, first.shape[1], patch_size)
    state["layers.0.weight_ih"] = channel_before_pixel(first, 1, patch_size)
    state["head.weight"] = channel_before_pixel(top, 0, patch_size)
    wide = "convlstm_openstl_l" if set(widths) == {192} else "convlstm_openstl_s"
    name = ("predrnn_v2" if "adapter.weight" in state else "predrnn") if with_m else wide
    sizes = {"in_chans": channels, "hidden_channels": widths, "kernel_size": first.shape[2]}
    return Found(name, {**sizes, "patch_size": patch_size, **norm_sizes(size, patch_size)}, state)


def _drop_dead(entries: Entries) -> None:
    dead = [m[0] for m in entries.having(DEAD)]
    count = sum(entries.left.pop(key).numel() for key in dead)
    if dead:
        logger.warning("%s: dropped, since nothing reads them, %d numbers: %s", entries.origin, count, ", ".join(dead))


def _square(entries: Entries, layers: int) -> int | None:
    """The one kernel of all its convolutions in time."""
    keys = [f"cell_list.{n}.conv_{part}.0.weight" for n in range(layers) for part in "xh"]
    sizes = [entries.left[key].shape[-1] for key in keys if key in entries.left and entries.left[key].dim() == 4]
    return max(sizes, key=sizes.count, default=None)


def _lstm_cell(entries: Entries, layer: int, below: int | None, kernel: int | None, state: dict[str, Tensor]) -> int:
    """Takes one ConvLSTM cell into `state`; its width."""
    x, h = (f"cell_list.{layer}.conv_{part}.0.weight" for part in "xh")
    rows = entries.rows([x, h], 4)
    width = rows // 4 if rows else None
    state[f"layers.{layer}.weight_ih"] = entries.take(x, (rows, below, kernel, kernel))
    state[f"layers.{layer}.weight_hh"] = entries.take(h, (rows, width, kernel, kernel))
    return width or 1


def _st_cell(entries: Entries, layer: int, below: int | None, kernel: int | None, state: dict[str, Tensor]) -> int:
    """Takes one spatiotemporal cell into `state`; its width."""
    theirs, ours = f"cell_list.{layer}", f"layers.{layer}"
    rows = {part: entries.rows([f"{theirs}.conv_{part}.0.weight"], n) for part, n in (("x", 7), ("h", 4), ("m", 3))}
    found = [r // n for r, n in zip(rows.values(), (7, 4, 3), strict=True) if r]
    width = max(found, key=found.count, default=1)
    square = (kernel, kernel)
    x = entries.take(f"{theirs}.conv_x.0.weight", (7 * width, below, *square))
    h = entries.take(f"{theirs}.conv_h.0.weight", (4 * width, width, *square))
    m = entries.take(f"{theirs}.conv_m.0.weight", (3 * width, width, *square))
    state[f"{ours}.weight_ih"] = reorder(x, ST_ORDER)
    state[f"{ours}.weight_hh"] = torch.cat([h, m])
    state[f"{ours}.weight_po"] = entries.take(f"{theirs}.conv_o.0.weight", (width, 2 * width, *square))
    state[f"{ours}.weight_cm"] = entries.take(f"{theirs}.conv_last.weight", (width, 2 * width, 1, 1))
    return width


def _take_norms(
    entries: Entries, norms: Norms, layer: int, width: int, size: Shape | None, state: dict[str, Tensor]
) -> None:
    """Takes the norms of one cell, for maps of that size, into `state`; none where the size is None."""
    theirs = f"cell_list.{layer}"
    taken = {key: entries.take(key, shape) for key, shape in norm_shapes(norms, theirs, width, size).items()}
    state |= norm_state(norms, taken, theirs, f"layers.{layer}")


KINDS: dict[str, Callable[..., Found]] = {
    r"cell_list\.\d+\.conv_(?:c2m|c|om)\.0\.weight|gradient_highway\..*": predrnn_pp,
    r"stlstm_layer(?:_diff)?\.\d+\..*": mim,
    r"cell_list\.\d+\.conv_[st]_next\..*": mau,
    r"cell_list\.\d+\.conv_x\.0\.conv3d\.weight": e3d_lstm,
    r"(?:encoder\.)?(?:phycell|convcell)\..*": phydnet,
}
"""What reads a checkpoint that has such a key; the first counts."""
UNNORMED: dict[Callable[..., Found], str] = {
    predrnn_pp: "OpenSTL's own PredRNN++ fails with them, since its highway norms twice the channels of its norms",
    e3d_lstm: "behind them a memory of zeros, which the zoo leaves out, is not zero",
}
"""Whose norms behind convolutions are refused, and why."""

OPENSTL = Source(
    name="openstl",
    title="OpenSTL, https://github.com/chengtan9907/OpenSTL",
    key=r"(?:cell_list\.\d+\.conv_(?:x|t_next)\.0|cell_list\.\d+\.conv_x\.0\.conv3d|stlstm_layer\.\d+\.conv_x(?:_cc)?\.0|"
    r"phycell\.cell_list\.0\.(?:F\.conv[12]|convgate))\.weight",
    ranks=(4, 5),
    knows="a convolution of one of its cells",
    load=load,
    options={
        "patch_size": "must be given",
        "horizon": "frames to forecast, its aft_seq_length (10)",
        "tau": "of a MAU, steps that it looks back (5)",
        "cell_mode": "of a MAU, normal or residual (normal)",
        "model_mode": "of a MAU, normal or recall (normal)",
    },
)
