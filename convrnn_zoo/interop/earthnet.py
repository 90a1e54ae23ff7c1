"""Converts networks for EarthNet2021, weather2land's ConvLSTM and SGConvLSTM, and the two of GreenEarthNet."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from .. import _checks as check
from ..pretrained.errors import WeightsError
from ..values.preprocessing import Preprocessing, Variable
from ._checkpoint import ForeignCheckpoint
from ._key_map import (
    Entries,
    KeyMap,
    OptionError,
    Source,
    layer_width,
    load_model,
    same_or_list,
)

# ---- EarthNet2021 ------------------------------------------------------------------------------------------------
BANDS = ("blue", "green", "red", "nir")
"""Bands of EarthNet2021's images, in their order."""
WEATHER = ("precipitation", "pressure", "temperature", "min_temperature", "max_temperature")
"""Weather variables of EarthNet2021, in their order and scaled to values from 0 to 1."""


def _load(
    entries: Entries, name: str, cells: str, layer_maps: Any, convs: Sequence[str], *, horizon: int, has_mask: bool
) -> nn.Module:
    """Loads a stack whose last layer has the four bands, and reads its sizes from the entries."""
    pattern = rf"{cells}\.(\d+)\.(?:{'|'.join(convs)})\.(?:weight|bias)"
    n = entries.count(pattern, f"{cells}.0.{convs[0]}.weight, …".replace("\\", ""))
    by_layer = [layer_maps(i) for i in range(n)]
    widths = [
        layer_width(entries, maps, f"layers.{i}.weight_xh", f"layers.{i}.bias") for i, maps in enumerate(by_layer)
    ]
    first = entries.axis_size([by_layer[0][0].entry], 1)
    known = 0 if first is None else first - widths[0] - len(BANDS) - has_mask  # `gather` names a missing entry
    if known not in (0, 1, 5, 6) or widths[-1] != len(BANDS) or n < 2:
        raise WeightsError(
            f"{entries.name}: expected layers from 4 bands, with or without elevation and 5 weather variables, to 4 "
            f"bands, got {known + len(BANDS) + has_mask} channels and widths {widths}; load other stacks as ndrplz"
        )
    joint = [m.entry for maps in by_layer for m in maps if m.target.endswith("weight_xh")]
    kernel = [entries.axis_size(joint, axis) or 1 for axis in (-2, -1)]
    sizes: Mapping[str, Any] = {
        "in_chans": len(BANDS) + has_mask,
        "hidden_channels": same_or_list(widths[:-1]),
        "num_layers": n - 1,
        "kernel_size": same_or_list(kernel),
        "horizon": horizon,
        "static_chans": known % 5,
        "future_chans": known - known % 5,
        **({"out_chans": len(BANDS)} if has_mask else {}),
    }
    maps = [m for layer_maps in by_layer for m in layer_maps]
    model: Any = load_model(entries, name, sizes, maps, kernel)
    model.preprocessing = Preprocessing(
        variables=tuple(Variable(name=name) for name in (*BANDS, *["mask"] * has_mask)),
        targets=BANDS,
        static=(Variable(name="elevation"),) * (known % 5),
        future=tuple(Variable(name=name) for name in WEATHER) if known >= 5 else (),
        step=5 * 24 * 60.0,
        inputs=10,
        horizon=horizon,
    )
    return model


def load_weather2land(checkpoint: ForeignCheckpoint, *, horizon: int = 20) -> nn.Module:
    """Loads the weights into ``convlstm_weather2land``."""

    def maps(i: int) -> list[KeyMap]:
        return KeyMap.joint(f"conv_lstm.cell_list.{i}", f"layers.{i}.", {"conv": (0, 1, 3, 2)}, "")

    entries = Entries(checkpoint, "weather2land")
    name, cells = "convlstm_weather2land", r"conv_lstm\.cell_list"
    return _load(entries, name, cells, maps, ["conv"], horizon=horizon, has_mask=False)


def load_sg_convlstm(checkpoint: ForeignCheckpoint, *, horizon: int = 20) -> nn.Module:
    """Loads the weights into ``sg_convlstm``."""

    def maps(i: int) -> list[KeyMap]:
        source, target = f"cell_list.{i}", f"layers.{i}."
        peepholes = [KeyMap(f"{source}.conv_ll.weight", f"{target}weight_p{g}", (k,)) for k, g in enumerate("ifo")]
        return [*KeyMap.joint(source, target, {"conv_cc": (0, 1, 2, 3)}, ""), *peepholes]

    entries = Entries(checkpoint, "sg_convlstm")
    return _load(entries, "sg_convlstm", r"cell_list", maps, ["conv_cc", "conv_ll"], horizon=horizon, has_mask=True)


_OPTIONS: dict[str, Any] = {
    "options": {"horizon": "frames to forecast (20)"},
    "checks": {"horizon": check.positive_int},
}
WEATHER2LAND = Source(
    name="weather2land",
    title="weather2land's ConvLSTM, https://github.com/dcodrut/weather2land",
    key=r"conv_lstm\.cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of one of its layers",
    load=load_weather2land,
    **_OPTIONS,
)
SG_CONVLSTM = Source(
    name="sg_convlstm",
    title="SGConvLSTM, https://github.com/rudolfwilliam/satellite_image_forecasting",
    key=r"cell_list\.\d+\.conv_cc\.weight",
    ranks=(4,),
    key_description="the joint convolution of one of its layers",
    load=load_sg_convlstm,
    **_OPTIONS,
)


# ---- GreenEarthNet -----------------------------------------------------------------------------------------------
MODULES = {
    "condition.conv": "early_conditioning.conv", "condition.norm": "early_conditioning.norm",
    **{f"condition.{part}.{i}": f"early_conditioning.FiLM.{part}.conv{1 + i // 2}"
       for part in ("beta", "gamma") for i in (0, 2)},
    **{f"{ours}.blocks.{i}.{k}": f"{original}.layers.{i}.{k}"
       for ours, original in (("encoder", "enc"), ("decoder", "dec")) for i in (0, 1) for k in (0, 1)},
    **{f"encoder.merges.{i}.{k}": f"enc.downsamplers.{i}.{part}"
       for i in (0, 1) for k, part in ((1, "norm"), (2, "reduction"))},
    "encoder.last.0": "enc.last_layer.0", "encoder.last.1": "enc.last_norm",
    "decoder.last.0": "dec.last_layer.0", "decoder.last.1": "dec.last_norm", "decoder.head": "dec.readout",
    "adapter": "adapter",
}  # fmt: skip
"""Names of the original PredRNN's modules, by the names of our modules."""
_ENDS = ("weight", "bias")
_NO_BIAS = re.compile(r"(?:en|de)coder\.(?:blocks\.\d|last)\.0|encoder\.merges\.\d\.2|decoder\.head|adapter")
CELL = {
    "conv_x.0.weight": ("weight_ih", (0, 1, 2, 6, 3, 4, 5)),
    "conv_x.0.bias": ("bias_ih", (0, 1, 2, 6, 3, 4, 5)),
    "conv_h.0.weight": ("weight_hh", (0, 1, 2, 3)),
    "conv_h.0.bias": ("bias_hh", (0, 1, 2, 3)),
    "conv_m.0.weight": ("weight_hh", (0, 1, 2)),
    "conv_m.0.bias": ("bias_hh", (0, 1, 2)),
    "conv_o.0.weight": ("weight_po", (0,)),
    "conv_o.0.bias": ("bias_po", (0,)),
    "conv_last.weight": ("weight_cm", (0,)),
    "conv_last.bias": ("bias_cm", (0,)),
}
"""Parameters of our ST-LSTM and the positions of our gates, by the original's entries."""


def load_greenearthnet(
    checkpoint: ForeignCheckpoint, *, horizon: int = 20, static_chans: int | None = None
) -> nn.Module:
    """Loads weights into ``convlstm_greenearthnet`` or ``predrnn_greenearthnet``."""
    entries = Entries(checkpoint, "greenearthnet")
    if entries.matches(r"cell_list\.\d+\..*"):
        if static_chans is not None:
            raise OptionError(f"static_chans: an option of a ConvLSTM, and {checkpoint.name} is none; leave it out")
        return _predrnn(entries, horizon)
    return _convlstm(entries, horizon, 3 if static_chans is None else static_chans)


def _convlstm(entries: Entries, horizon: int, static_chans: int) -> nn.Module:
    cells = [(f"{part}_{i + 1}_convlstm", f"{part}.", f"_l{i}") for part in ("encoder", "decoder") for i in (0, 1)]
    maps = [m for cell, target, end in cells for m in KeyMap.joint(cell, target, {"conv": (0, 1, 3, 2)}, end)]
    width = layer_width(entries, maps, "encoder", "decoder")
    read = entries.axis_size([f"{part}_1_convlstm.conv.weight" for part in ("encoder", "decoder")], 1) or 0
    frames = entries.width({"conv.weight": 1, "conv.bias": 1})
    maps += KeyMap.module("conv", "head")
    sizes = {
        "in_chans": frames,
        "hidden_channels": width,
        "horizon": horizon,
        "static_chans": static_chans,
        "future_chans": max(0, read - width - frames - static_chans),
    }
    return _build(entries, "convlstm_greenearthnet", maps, sizes)


def _predrnn(entries: Entries, horizon: int) -> nn.Module:
    n = entries.count(r"cell_list\.(\d+)\.conv_[xhmo]\.0\.weight", "cell_list.0.conv_x.0.weight, …")
    maps = [
        KeyMap(f"cell_list.{i}.{source}", f"layers.{i}.{target}", gates)
        for i in range(n)
        for source, (target, gates) in CELL.items()
    ]
    width = layer_width(entries, maps, "layers")
    for ours, original in MODULES.items():
        maps += KeyMap.module(original, ours, ("weight",) if _NO_BIAS.fullmatch(ours) else _ENDS)
    read = entries.width({f"early_conditioning.{part}.{end}": 1 for part in ("conv", "norm") for end in _ENDS})
    frames = entries.width({"dec.readout.weight": 1})
    weather = entries.axis_size([f"early_conditioning.FiLM.{part}.conv1.weight" for part in ("beta", "gamma")], 1) or 1
    sizes = {
        "in_chans": frames,
        "hidden_channels": width,
        "num_layers": n,
        "horizon": horizon,
        "static_chans": max(0, read - frames),
        "future_chans": weather,
    }
    return _build(entries, "predrnn_greenearthnet", maps, sizes)


def _build(entries: Entries, name: str, maps: list[KeyMap], sizes: dict[str, Any]) -> nn.Module:
    cells = [m.entry for m in maps if "weight_xh" in m.target or "weight_ih" in m.target]
    sizes["kernel_size"] = kernel = entries.axis_size(cells, -1) or 1
    return load_model(entries, name, sizes, maps, (kernel, kernel))


GREENEARTHNET = Source(
    name="greenearthnet",
    title="ConvLSTM and PredRNN of GreenEarthNet, https://github.com/earthnet2021/earthnet-models-pytorch",
    key=r"(?:encoder_[12]_convlstm\.conv|early_conditioning\.FiLM\.(?:beta|gamma)\.conv[12])\.weight",
    ranks=(4,),
    key_description="a convolution of its encoder or of its conditioning",
    load=load_greenearthnet,
    options={"horizon": "frames to forecast (20)", "static_chans": "static maps of a ConvLSTM (3)"},
    checks={"horizon": check.positive_int, "static_chans": check.whole_number},
)
