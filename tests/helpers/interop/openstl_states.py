"""OpenSTL's models with recorded outputs, and the options that do not follow from their weights."""

from functools import cache
from typing import Any

from torch import Tensor

from tests.helpers.interop.recorded import Recorded, recorded

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openstl_predrnnpp": ("predrnn_pp", {"patch_size": 2}),
    "openstl_mim": ("mim", {"patch_size": 2}),
    "openstl_mau": ("mau", {"patch_size": 1, "tau": 3, "cell_mode": "normal", "model_mode": "normal"}),
    "openstl_phydnet": ("phydnet", {"patch_size": 4}),
    "openstl_e3dlstm": ("e3d_lstm", {"patch_size": 2}),
}
"""The recording, the zoo's name, and the options of its conversion."""
NORMED = {
    "openstl_convlstm_norm": "convlstm_openstl_s",
    "openstl_predrnn_norm": "predrnn",
    "openstl_predrnnv2_norm": "predrnn_v2",
    "openstl_mim_norm": "mim",
    "openstl_e3dlstm_norm": "e3d_lstm",
}
"""Recordings of networks with ``layer_norm=1``, on patches of 2×2, and the zoo's names."""


@cache
def known(name: str) -> Recorded:
    """Returns the recording. It is read once, so callers must not change it."""
    return recorded(name)


def weights(name: str) -> dict[str, Tensor]:
    """Returns the parameters without the buffers that PhyDNet's file also holds."""
    return {key: value for key, value in known(name).state.items() if not key.startswith("k2m.")}


def read(name: str) -> tuple[Recorded, Tensor, int]:
    """Returns the recording, the input frames of the model, and the horizon."""
    recording = known(name)
    return recording, recording.values["x.frames"][:, : recording.kwargs["pre"]], recording.kwargs["aft"]
