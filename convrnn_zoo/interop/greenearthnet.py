"""Converts the ConvLSTM and the PredRNN of GreenEarthNet, from earthnet-models-pytorch."""

import re
from typing import Any

from torch import nn

from .. import _checks as check
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, OptionError, Source, gather, layer_width, load_model, parameter_shapes

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


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 20, static_chans: int | None = None) -> nn.Module:
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
    maps += [KeyMap(f"conv.{end}", f"head.{end}") for end in _ENDS]
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
    maps += [KeyMap(f"{original}.weight", f"{ours}.weight") for ours, original in MODULES.items()]
    maps += [KeyMap(f"{MODULES[ours]}.bias", f"{ours}.bias") for ours in MODULES if not _NO_BIAS.fullmatch(ours)]
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
    cells = [m.source for m in maps if "weight_xh" in m.target or "weight_ih" in m.target]
    sizes["kernel_size"] = kernel = entries.axis_size(cells, -1) or 1
    state = gather(entries, maps, parameter_shapes(entries, name, sizes, (kernel, kernel)))
    return load_model(entries, name, sizes, state)


GREENEARTHNET = Source(
    name="greenearthnet",
    title="ConvLSTM and PredRNN of GreenEarthNet, https://github.com/earthnet2021/earthnet-models-pytorch",
    key=r"(?:encoder_[12]_convlstm\.conv|early_conditioning\.FiLM\.(?:beta|gamma)\.conv[12])\.weight",
    ranks=(4,),
    key_description="a convolution of its encoder or of its conditioning",
    load=load,
    options={"horizon": "frames to forecast (20)", "static_chans": "static maps of a ConvLSTM (3)"},
    checks={"horizon": check.positive_int, "static_chans": check.whole_number},
)
