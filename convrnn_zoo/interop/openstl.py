"""Converts OpenSTL's recurrent models, which read frames folded into patches.

OpenSTL orders the channels of a patch as ``(pixel, channel)``, this package as ``(channel, pixel)``. Some cells of
OpenSTL contain convolutions that no forward pass uses.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, OptionError, Source, layer_width, load_model, parameter_shapes

logger = logging.getLogger("convrnn_zoo")

Convs = Mapping[str, tuple[str, Sequence[int]]]
"""Maps OpenSTL's names of a cell's convolutions to the suffix of our parameter and the positions of our gates."""
FIRST = (0,)
IFGO = (0, 2, 1, 3)
"""From i, g, f, o to i, f, g, o."""
IFOG = (0, 1, 3, 2)
"""From i, f, o, g to i, f, g, o."""
ST_ORDER = (0, 1, 2, 6, 3, 4, 5)
"""From i, f, g, i', f', g', o to i, f, g, o, i', f', g'."""
CELLS: dict[str, Convs] = {
    "lstm": {"conv_x": ("ih", range(4)), "conv_h": ("hh", range(4))},
    "st_lstm": {
        "conv_x": ("ih", ST_ORDER),
        "conv_h": ("hh", range(4)),
        "conv_m": ("hh", range(3)),
        "conv_o": ("po", FIRST),
    },
    "causal_lstm": {
        "conv_x": ("ih", ST_ORDER),
        "conv_h": ("hh", range(4)),
        "conv_m": ("hh", range(3)),
        "conv_c": ("ch", range(3)),
        "conv_c2m": ("cs", IFGO),
        "conv_om": ("mo", FIRST),
    },
    "highway": {"x_concat": ("ih", range(2)), "z_concat": ("hh", range(2))},
    "mim_block": {"conv_x_cc": ("ih", IFGO), "conv_s_cc": ("hh", IFGO), "conv_t_cc": ("th", range(3))},
    "mim": {"conv_x_concat": ("ih", IFGO), "conv_h_concat": ("hh", IFGO)},
    "eidetic_lstm": {
        "conv_x": ("ih", range(4)),
        "conv_h": ("hh", range(4)),
        "conv_new_cell": ("co", FIRST),
        "conv_new_gm": ("mo", FIRST),
    },
    "mau": {
        "conv_s_next": ("ih", range(1)),
        "conv_s": ("ih", range(3)),
        "conv_t_next": ("hh", range(1)),
        "conv_t": ("hh", range(3)),
    },
}
"""The convolutions of each cell."""
EIDETIC_NORMS: Convs = {**CELLS["eidetic_lstm"], "conv_x": ("ih", range(7))}
WITHOUT_NORM = {"0.weight": "weight"}
WITH_NORM = {**WITHOUT_NORM, "1.weight": "weight_norm", "1.bias": "bias_norm"}
WITH_BIAS = {**WITH_NORM, "0.bias": "bias"}
ENDS = ("weight", "bias")
HEAD = KeyMap("conv_last.weight", "head.weight")
NORM = (
    r"(?:(?:cell_list|stlstm_layer|stlstm_layer_diff)\.\d+\.conv_[a-z0-9_]+|gradient_highway\.[xz]_concat)"
    r"\.1\.(?:weight|bias)"
)
"""Entries of the norms after convolutions, of a network trained with ``layer_norm=1``."""
PHYDNET_BLOCKS = {
    "encoder_E.c1.main": "stem.0",
    "encoder_E.c2.main": "stem.1",
    "encoder_E.c3.main": "stem.2",
    "encoder_Ep.c1.main": "encoders.physics.0",
    "encoder_Ep.c2.main": "encoders.physics.1",
    "encoder_Er.c1.main": "encoders.rest.0",
    "encoder_Er.c2.main": "encoders.rest.1",
    "decoder_Dp.upc1.main": "decoders.physics.0",
    "decoder_Dp.upc2.main": "decoders.physics.1",
    "decoder_Dr.upc1.main": "decoders.rest.0",
    "decoder_Dr.upc2.main": "decoders.rest.1",
    "decoder_D.upc1.main": "image.0",
    "decoder_D.upc2.main": "image.1",
}


# ---- maps ------------------------------------------------------------------------------------------------------
def cell_maps(source: str, target: str, convs: Convs, ends: Mapping[str, str]) -> list[KeyMap]:
    """Returns the key maps of a cell's convolutions; `ends` maps suffixes of OpenSTL's keys to prefixes of ours."""
    maps = []
    for conv, (name, gates) in convs.items():
        for end, kind in ends.items():
            # The weight of the convolution of m is a part of weight_hh; its norm is a separate parameter.
            suffix = "hm" if conv == "conv_m" and "norm" in kind else name
            maps.append(KeyMap(f"{source}.{conv}.{end}", f"{target}.{kind}_{suffix}", gates))
    return maps


def image_size(entries: Entries, maps: Iterable[KeyMap], scale: int, rank: int = 3) -> list[int]:
    """Returns the size of frames: `scale` times the size (H, W) of the entries in `maps` that have `rank` axes."""
    return [scale * (s or 1) for s in entries.shape([m.entry for m in maps], rank)[-2:]]


def frame_channels(entries: Entries, axes: Mapping[str, int], patch_size: int, rank: int = 4) -> int:
    """Returns the number of channels of a frame; `axes` maps entries to their axis of patch channels."""
    sizes = (entries.axis_size([key], axis, rank) for key, axis in axes.items())
    folded = next(filter(None, sizes), patch_size**2)
    if folded % patch_size**2:
        raise WeightsError(
            f"{entries.name}: its frames have {folded} channels when folded, which are not those of patches of "
            f"{patch_size}×{patch_size} pixels; pass patch_size= as it was trained with"
        )
    return folded // patch_size**2


def unpatchify(state: dict[str, Tensor], patch_size: int, axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Permutes the channels of patches along `axes` from ``(pixel, channel)`` to ``(channel, pixel)``."""
    for key, axis in axes.items():
        split = state[key].unflatten(axis, (patch_size**2, -1))
        state[key] = split.transpose(axis, axis + 1).flatten(axis, axis + 1)
    return state


def drop_unused(entries: Entries, pattern: str) -> None:
    """Removes the entries that no forward pass of OpenSTL uses, and warns about them."""
    if unused := [m[0] for m in entries.matches(pattern)]:
        count = sum(entries.left.pop(key).numel() for key in unused)
        logger.warning("%s: dropped %d unused parameters: %s", entries.name, count, ", ".join(unused))


# ---- networks --------------------------------------------------------------------------------------------------
def lstm(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts OpenSTL's ConvLSTM, PredRNN or PredRNN v2; `options` are arguments of our model."""
    n = entries.count(r"cell_list\.(\d+)\.conv_[xhmo]\.0\.weight", "cell_list.0.conv_x.0.weight, …")
    is_predrnn = bool(entries.matches(r"cell_list\.\d+\.conv_m\.0\.weight"))
    unused_params = r"cell_list\.\d+\.(?:conv_o\.0\.weight|conv_o\.1\.(?:weight|bias)|conv_last\.weight)"
    if not is_predrnn:
        drop_unused(entries, unused_params)
    convs, ends = CELLS["st_lstm" if is_predrnn else "lstm"], WITH_NORM if entries.matches(NORM) else WITHOUT_NORM
    maps = [m for i in range(n) for m in cell_maps(f"cell_list.{i}", f"layers.{i}", convs, ends)]
    maps += [KeyMap(f"cell_list.{i}.conv_last.weight", f"layers.{i}.weight_cm") for i in range(n) if is_predrnn]
    if has_adapter := is_predrnn and bool(entries.matches(r"adapter\.weight")):
        maps.append(KeyMap("adapter.weight", "adapter.weight"))
    widths = [layer_width(entries, maps, f"layers.{i}.") for i in range(n)]
    convlstm = "convlstm_openstl_l" if set(widths) == {192} else "convlstm_openstl_s"
    name = ("predrnn_v2" if has_adapter else "predrnn") if is_predrnn else convlstm
    if ends is WITH_NORM:
        options |= {"layer_norm": True, "img_size": image_size(entries, maps, patch_size)}
    return _stack(entries, name, maps, patch_size, widths, options)


def predrnn_pp(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts PredRNN++ without its unused ``conv_o``."""
    drop_unused(entries, r"cell_list\.\d+\.conv_o\.0\.weight")
    n = max(2, entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.weight, …"))
    maps = cell_maps("gradient_highway", "highway", CELLS["highway"], WITHOUT_NORM)
    for i in range(n):
        maps += cell_maps(f"cell_list.{i}", f"layers.{i}", CELLS["causal_lstm"], WITHOUT_NORM)
        maps += [KeyMap(f"cell_list.{i}.conv_last.weight", f"layers.{i}.weight_cm")]
    return _stack(entries, "predrnn_pp", maps, patch_size, [layer_width(entries, maps, "layers.")] * n, options)


def mim(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts MIM without the unused ``conv_last`` of its MIM-N."""
    drop_unused(entries, r"stlstm_layer_diff\.\d+\.conv_last\.weight")
    n = max(2, entries.count(r"stlstm_layer\.(\d+)\..*", "stlstm_layer.0.conv_x.0.weight, …"))
    ends = WITH_NORM if entries.matches(NORM) else WITHOUT_NORM
    maps = []
    for i in range(n):
        maps += cell_maps(f"stlstm_layer.{i}", f"layers.{i}", CELLS["mim_block" if i else "st_lstm"], ends)
        maps += [KeyMap(f"stlstm_layer.{i}.conv_last.weight", f"layers.{i}.weight_cm")]
    cells = {f"stlstm_layer.{i}": f"layers.{i}.stationary" for i in range(1, n)}
    for source, target in (cells | {f"stlstm_layer_diff.{i}": f"differences.{i}" for i in range(n - 1)}).items():
        maps += cell_maps(source, target, CELLS["mim"], ends)
        maps += [KeyMap(f"{source}.ct_weight", f"{target}.weight_p{gate}", (j,)) for j, gate in enumerate("if")]
        maps += [KeyMap(f"{source}.oc_weight", f"{target}.weight_po")]
    options |= {"img_size": image_size(entries, maps, patch_size), "layer_norm": ends is WITH_NORM}
    return _stack(entries, "mim", maps, patch_size, [layer_width(entries, maps, "layers.")] * n, options)


def e3d_lstm(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts E3D-LSTM without the unused parts of its ``conv_gm`` and ``conv_x``."""
    drop_unused(entries, r"cell_list\.\d+\.conv_gm\.(?:0\.conv3d|1)\.weight")
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_x.0.conv3d.weight, …")
    has_norm = bool(entries.matches(NORM))
    maps = []
    for i in range(n):
        source, target = f"cell_list.{i}", f"layers.{i}"
        maps += cell_maps(source, target, CELLS["eidetic_lstm"], {"0.conv3d.weight": "weight"})
        maps += [KeyMap(f"{source}.conv_x.0.conv3d.weight", f"{target}.weight_mx", (4, 5))]
        maps += [KeyMap(f"{source}.conv_x.0.conv3d.weight", f"{target}.weight_mx" if has_norm else "", (6,))]
        if has_norm:
            maps += cell_maps(source, target, EIDETIC_NORMS, {"1.weight": "weight_norm", "1.bias": "bias_norm"})
            maps += [KeyMap(f"{source}.conv_gm.1.bias", f"{target}.bias_norm_gm", range(4))]
        maps += [KeyMap(f"{source}.conv_last.conv3d.weight", f"{target}.weight_cm")]
        maps += [KeyMap(f"{source}._norm_c_t.{end}", f"{target}.{end}_norm") for end in ENDS]
    widths = [layer_width(entries, maps, f"layers.{i}.") for i in range(n)]
    img_size = image_size(entries, [m for m in maps if "_norm" in m.target], patch_size, rank=4)
    options |= {"img_size": img_size, "layer_norm": has_norm}
    return _stack(entries, "e3d_lstm", maps, patch_size, widths, options)


def mau(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts MAU without its unused ``merge`` and ``conv_last_sr``."""
    drop_unused(entries, r"(?:merge|conv_last_sr)\.(?:weight|bias)")
    n = entries.count(r"cell_list\.(\d+)\..*", "cell_list.0.conv_t.0.weight, …")
    cells = [m for i in range(n) for m in cell_maps(f"cell_list.{i}", f"layers.{i}", CELLS["mau"], WITH_BIAS)]
    width, kernel = layer_width(entries, cells, "layers."), entries.axis_size([m.entry for m in cells], -1) or 1
    stages = entries.matches(r"encoders\.\d+\.encoder_t(\d+)\..*") + entries.matches(r"decoders\.(\d+)\..*")
    halvings = min(max((int(m[1][:9]) for m in stages), default=0), len(entries.left)) + 1
    maps = cells + KeyMap.module("encoders.0.encoder_t_conv-1", "stem.0") + KeyMap.module("srcnn.0", "head")
    for i in range(halvings):
        maps += KeyMap.module(f"encoders.{i + 1}.encoder_t{i}", f"downs.{i}.0")
        end = "" if i == halvings - 1 else ".0"  # an activation follows the others
        maps += KeyMap.module(f"decoders.{i}.c_decoder{i}", f"ups.{i}{end}")
    sizes = {
        "in_chans": frame_channels(entries, {"encoders.0.encoder_t_conv-1.weight": 1, "srcnn.0.weight": 0}, patch_size),
        "hidden_channels": [width] * n,
        "kernel_size": kernel,
        "patch_size": patch_size,
        "downsampling": 2**halvings,
        "img_size": image_size(entries, cells, patch_size * 2**halvings),
        **options,
    }
    unpatch = partial(unpatchify, patch_size=patch_size, axes={"stem.0.weight": 1, "head.weight": 0, "head.bias": 0})
    return load_model(entries, "mau", sizes, maps, (kernel, kernel), adapt=unpatch)


def phydnet(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts PhyDNet. Checkpoints store the cells at the top level, under ``encoder``, or in both places."""
    if patch_size not in (2, 4):
        raise WeightsError(f"{entries.name}: PhyDNet has a patch_size of 2 or 4, got {patch_size}")
    for m in entries.matches(r"k2m\._(?:inv)?M\d"):  # constants that convert filters to moments
        entries.left.pop(m[0])
    for m in entries.matches(r"encoder\.((?:phycell|convcell)\..*)"):
        second = entries.left.pop(m[0])
        if not torch.equal(entries.left.setdefault(m[1], second), second):
            entries.errors["contradicting"].append(f"{m[0]} and {m[1]}, which are one tensor")
    n = entries.count(r"convcell\.cell_list\.(\d+)\..*", "convcell.cell_list.0.conv.weight, …")
    cell, stem, last = "phycell.cell_list.0", "encoder.encoder_E.c1.main.0", "encoder.decoder_D.upc3"
    joint = KeyMap.joint(cell, "physics.", {"convgate": FIRST}, suffix="")
    for i in range(n):
        joint += KeyMap.joint(f"convcell.cell_list.{i}", f"layers.{i}.", {"conv": IFOG}, suffix="")
    maps = KeyMap.module(last, "image.2") + joint
    for source, name in (("conv1", "f"), ("bn1", "norm"), ("conv2", "p")):
        maps += [KeyMap(f"{cell}.F.{source}.{end}", f"physics.{end}_{name}") for end in ENDS]
    for source, target in PHYDNET_BLOCKS.items():
        maps += [m for i in "01" for m in KeyMap.module(f"encoder.{source}.{i}", f"{target}.{i}")]
    sizes: dict[str, Any] = {
        "in_chans": frame_channels(entries, {f"{stem}.weight": 1, f"{last}.weight": 1}, 1),
        "hidden_channels": [layer_width(entries, maps, f"layers.{i}.") for i in range(n)],
        "kernel_size": entries.axis_size([m.entry for m in joint], -1) or 1,
        "patch_size": patch_size,
        "stem_channels": layer_width(entries, maps, "stem.0.", "stem.1."),
        "filters": layer_width(entries, maps, *(f"physics.{end}_{name}" for end in ENDS for name in "fn")),
        "filter_size": entries.axis_size([f"{cell}.F.conv1.weight"], -1) or 1,
        **options,
    }
    return load_model(entries, "phydnet", sizes, maps, *((sizes[key],) * 2 for key in ("kernel_size", "filter_size")))


def prednet(entries: Entries, patch_size: int, **options: Any) -> nn.Module:
    """Converts PredNet, whose frames are not folded."""
    if patch_size != 1:
        raise WeightsError(f"{entries.name}: PredNet has a patch_size of 1, got {patch_size}")
    n = entries.count(r"i\.(\d+)\..*", "i.0.weight, …")
    maps = []
    for i in range(n):
        maps += [KeyMap(f"{gate}.{i}.{end}", f"gates.{i}.{end}") for gate in "ifco" for end in ENDS]
        maps += KeyMap.module(f"Ahat.{2 * i}", f"predictions.{i - 1}" if i else "head")
        maps += KeyMap.module(f"A.{2 * i}", f"targets.{i}") if i < n - 1 else []
    kernel = entries.axis_size([m.entry for m in maps], -1) or 1
    widths = [layer_width(entries, maps, f"gates.{i}.") for i in range(n)]
    sizes = {"in_chans": widths[0], "hidden_channels": widths[1:], "kernel_size": kernel, **options}
    return load_model(entries, "prednet", sizes, maps, (kernel,))


def _stack(
    entries: Entries, name: str, maps: Sequence[KeyMap], patch_size: int, widths: list[int], options: dict[str, Any]
) -> nn.Module:
    """Converts a stack of cells. Kernel size and input channels are read from the entries."""
    recurrent = [m.entry for m in maps if m.target.startswith("layers.") and not m.target.endswith("_cm")]
    rank = 5 if name == "e3d_lstm" else 4
    kernel = entries.axis_size(recurrent, -1, rank) or 1
    first = next(m.entry for m in maps if m.target == "layers.0.weight_ih")
    sizes = {
        "in_chans": frame_channels(entries, {first: 1, HEAD.entry: 0}, patch_size, rank),
        "hidden_channels": widths,
        "kernel_size": kernel,
        "patch_size": patch_size,
        **options,
    }
    shapes = parameter_shapes(entries, name, sizes, (kernel, kernel))
    if rank == 5:  # its head sees the two frames of a map as an axis
        rows, columns, *spatial = shapes["head.weight"]
        shapes["head.weight"] = (rows, columns // 2, 2, *spatial)
    axes = {"layers.0.weight_ih": 1, "head.weight": 0, **({"layers.0.weight_mx": 1} if rank == 5 else {})}

    def adapt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return unpatchify({**state, "head.weight": state["head.weight"].flatten(1, -3)}, patch_size, axes)

    return load_model(entries, name, sizes, [HEAD, *maps], shapes=shapes, adapt=adapt)


# ---- the source ------------------------------------------------------------------------------------------------
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    r"cell_list\.\d+\.conv_(?:c2m|c|om)\.0\.weight|gradient_highway\..*": predrnn_pp,
    r"stlstm_layer(?:_diff)?\.\d+\..*": mim,
    r"cell_list\.\d+\.conv_[st]_next\..*": mau,
    r"cell_list\.\d+\.conv_x\.0\.conv3d\.weight": e3d_lstm,
    r"(?:encoder\.)?(?:phycell|convcell)\..*": phydnet,
    r"Ahat\.\d+\..*": prednet,
}
"""Converters by a pattern of keys; the first that matches is used."""
MAU_OPTIONS = ("tau", "cell_mode", "model_mode")


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 10, **options: Any) -> nn.Module:
    """Loads the weights into our model of the same name, which reads frames ``(N, T, C, H, W)`` instead of patches.

    The option `patch_size` is required, since the shapes of weights only determine ``patch_size**2 * C``. A MAU also
    requires `tau`, `cell_mode` and `model_mode`, on which the shapes do not depend.
    """
    entries = Entries(checkpoint, "openstl")
    convert = next((convert for pattern, convert in NETWORKS.items() if entries.matches(pattern)), lstm)
    required = ("patch_size", *MAU_OPTIONS) if convert is mau else ("patch_size",)
    if missing := [name for name in required if options.get(name) is None]:
        raise WeightsError(
            f"openstl requires {', '.join(missing)}, which the weights in {checkpoint.name} do not contain; pass "
            f"them from the configuration ({'; '.join(f'{name}: {OPENSTL.options[name]}' for name in missing)})"
        )
    if convert is mau:
        residual = check.choice("cell_mode", options.pop("cell_mode"), ("normal", "residual")) == "residual"
        recall = check.choice("model_mode", options.pop("model_mode"), ("normal", "recall")) == "recall"
        options |= {"residual": residual, "recall": recall}
    elif passed := [name for name in MAU_OPTIONS if name in options]:
        raise OptionError(f"{', '.join(passed)}: options of a MAU, and {checkpoint.name} is none; leave them out")
    elif convert is not e3d_lstm and "stride" in options:
        raise OptionError(f"stride: an option of an E3D-LSTM, and {checkpoint.name} is none; leave it out")
    elif convert is predrnn_pp and (norms := entries.matches(NORM)):
        raise WeightsError(
            f"{checkpoint.name} has layer norms ({norms[0][0]}, …), with which OpenSTL's own PredRNN++ fails, since "
            "its highway norms twice the channels of its norms; train it with layer_norm=0"
        )
    return convert(entries, horizon=horizon, **options)


OPENSTL = Source(
    name="openstl",
    title="OpenSTL, https://github.com/chengtan9907/OpenSTL",
    key=r"(?:cell_list\.\d+\.conv_(?:x|t_next)\.0|cell_list\.\d+\.conv_x\.0\.conv3d|stlstm_layer\.\d+\.conv_x(?:_cc)?\.0|"
    r"(?:encoder\.)?phycell\.cell_list\.0\.(?:F\.conv[12]|convgate)|Ahat\.0)\.weight",
    ranks=(4, 5),
    key_description="a convolution of one of its cells",
    load=load,
    options={
        "patch_size": "must be given",
        "horizon": "frames to forecast, its aft_seq_length (10)",
        "stride": "stride of an E3D-LSTM's convolutions (1)",
        "tau": "steps that a MAU looks back; must be given for a MAU",
        "cell_mode": "'normal' or 'residual'; must be given for a MAU",
        "model_mode": "'normal' or 'recall'; must be given for a MAU",
    },
    checks=dict.fromkeys(("patch_size", "horizon", "stride", "tau"), check.positive_int),
)
