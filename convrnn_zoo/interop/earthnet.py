"""Converts two networks for EarthNet2021: weather2land's ConvLSTM, and SGConvLSTM."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from .. import _checks as check
from ..pretrained.errors import WeightsError
from ..values.preprocessing import Preprocessing, Variable
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, gather, layer_width, load_model, parameter_shapes, same_or_list

BANDS = ("blue", "green", "red", "nir")
"""Bands of EarthNet2021's images, in their order."""
WEATHER = ("precipitation", "pressure", "temperature", "min_temperature", "max_temperature")
"""Weather variables of EarthNet2021, in their order and scaled to values from 0 to 1."""


def _preprocessing(has_elevation: bool, has_weather: bool, has_mask: bool, horizon: int) -> Preprocessing:
    bands = tuple(Variable(name=name) for name in (*BANDS, *["mask"] * has_mask))
    static = (Variable(name="elevation"),) if has_elevation else ()
    future = tuple(Variable(name=name) for name in WEATHER) if has_weather else ()
    step, inputs = 5 * 24 * 60.0, 10
    return Preprocessing(
        variables=bands, targets=BANDS, static=static, future=future, step=step, inputs=inputs, horizon=horizon
    )


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
    first = entries.axis_size([by_layer[0][0].source], 1)
    known = 0 if first is None else first - widths[0] - len(BANDS) - has_mask  # `gather` names a missing entry
    if known not in (0, 1, 5, 6) or widths[-1] != len(BANDS) or n < 2:
        raise WeightsError(
            f"{entries.name}: expected layers from 4 bands, with or without elevation and 5 weather variables, to 4 "
            f"bands, got {known + len(BANDS) + has_mask} channels and widths {widths}; load other stacks as ndrplz"
        )
    joint = [m.source for maps in by_layer for m in maps if m.target.endswith("weight_xh")]
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
    model: Any = load_model(entries, name, sizes, gather(entries, maps, parameter_shapes(entries, name, sizes, kernel)))
    model.preprocessing = _preprocessing(bool(known % 5), known >= 5, has_mask, horizon)
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
