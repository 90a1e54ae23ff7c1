"""OpenSTL's models whose outputs are recorded under their own keys, and what their weights do not tell."""

from functools import cache
from typing import Any

from torch import Tensor

from .recorded import Recorded, recorded

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
    """The recording, read once: nobody changes it."""
    return recorded(name)


def weights(name: str) -> dict[str, Tensor]:
    """The parameters alone: PhyDNet's file has buffers beside them."""
    return {key: value for key, value in known(name).state.items() if not key.startswith("k2m.")}


def read(name: str) -> tuple[Recorded, Tensor, int]:
    """The recording, the frames that the model read, and how many to forecast."""
    found = known(name)
    return found, found.values["x.frames"][:, : found.kwargs["pre"]], found.kwargs["aft"]
