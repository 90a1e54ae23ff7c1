"""Converts the ConvLSTM of the Digital Typhoon benchmark."""

from typing import Any

from torch import nn

from .. import _checks as check
from ..values.preprocessing import Preprocessing
from ._checkpoint import ForeignCheckpoint
from ._key_map import NORM_ENDS, Entries, KeyMap, Source, layer_width, load_model, same_or_list


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 12) -> nn.Module:
    """Loads the weights into ``convlstm_digital_typhoon``. Its ``forecast`` takes and returns kelvin."""
    entries = Entries(checkpoint, "digital_typhoon")
    n = entries.count(r"sequential\.convlstm(\d+)\..*", "sequential.convlstm1.convLSTMcell.conv.weight, …") - 1
    maps = KeyMap.module("conv", "head")
    for i in range(n):
        cell, target = f"sequential.convlstm{i + 1}.convLSTMcell", f"layers.{i}.cell."
        maps += KeyMap.joint(cell, target, {"conv": (0, 1, 2, 3)}, suffix="")
        maps += [KeyMap(f"{cell}.W_c{gate}", f"{target}weight_p{gate}") for gate in "ifo"]
        maps += KeyMap.module(f"sequential.batchnorm{i + 1}", f"norms.{i}", NORM_ENDS)
    kernel = entries.axis_size([m.entry for m in maps], -1) or 1
    size = [entries.axis_size([m.entry for m in maps if "weight_p" in m.target], axis, 3) or 1 for axis in (1, 2)]
    sizes: dict[str, Any] = {
        "in_chans": entries.width({f"conv.{end}": 1 for end in ("weight", "bias")}),
        "hidden_channels": same_or_list([layer_width(entries, maps, f"layers.{i}.", f"norms.{i}.") for i in range(n)]),
        "num_layers": n,
        "kernel_size": kernel,
        "img_size": same_or_list(size),
        "horizon": horizon,
    }
    model: Any = load_model(entries, "convlstm_digital_typhoon", sizes, maps, [kernel])
    cold, warm = 170.0, 300.0
    model.preprocessing = Preprocessing(
        encoding="standardize",
        mean=(cold,),
        std=(warm - cold,),
        unit="K",
        step=60.0,
        inputs=12,
        horizon=horizon,
        lowest=cold,
        highest=warm,
    )
    return model


DIGITAL_TYPHOON = Source(
    name="digital_typhoon",
    title="Digital Typhoon's ConvLSTM, https://github.com/kitamoto-lab/benchmarks",
    key=r"sequential\.convlstm\d+\.convLSTMcell\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of one of its layers",
    load=load,
    options={"horizon": "frames to forecast (12)"},
    checks={"horizon": check.positive_int},
)
