"""Weights of Robust Video Matting with recorded shapes. Values are sampled per key, since the file has only shapes."""

import json
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tests.helpers.interop.recorded import REFERENCE, open_file


@cache
def state(complete: bool = False, variant: str = "rvm_mobilenetv3") -> dict[str, Tensor]:
    """Returns the state dict. Optional and ignored keys are included only if `complete`."""
    _, about = open_file(REFERENCE / f"{variant}.safetensors")
    weights = {}
    for key, shape in json.loads(about["shapes"]).items():
        if not complete and (shape is None or key.startswith(("refiner.", "project_seg."))):
            continue
        weights[key] = torch.tensor(0) if shape is None else torch.from_numpy(draw(key, shape))
    return weights


def draw(key: str, shape: list[int]) -> np.ndarray:
    values = np.random.RandomState(sum(map(ord, key))).standard_normal(shape).astype("float32")
    if key.endswith("running_var"):
        return np.float32(0.5) + np.abs(values)
    if len(shape) == 1:
        return np.float32(0.2) * values + np.float32(key.endswith("weight"))
    return values * np.float32(1.4 / np.sqrt(np.prod(shape[1:])))
