"""Whether weights are those of a model, key by key, and how they are made so for other channels or another head."""

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .errors import WeightsError
from .state_dict import FLOATS

logger = logging.getLogger("convrnn_zoo")

_HEAD = re.compile(r"head\.(?:\d+\.)?weight")
"""The weights of a classifier: of one, of one a level, or of a block that ends in one."""


def fit(state: dict[str, Tensor], model: nn.Module, origin: str) -> dict[str, Tensor]:
    """The state for a model that may have other input channels and another number of classes; says what it changed.

    The first layer's input weights are adapted by timm's rule for image models: summed for one channel, else repeated
    and scaled so that repeated channels give the same. A head of another number of classes is the model's own, fresh
    one, here on the meta device.
    """
    target, state = model.state_dict(), dict(state)
    for key in model.input_weights():  # type: ignore[operator]
        old = state.get(key)
        if old is None or old.dim() < 2 or old.dim() != target[key].dim() or old.shape[1] == target[key].shape[1]:
            continue
        had, wants = old.shape[1], target[key].shape[1]
        exact = old.to(torch.promote_types(old.dtype, torch.float32))
        new = exact.sum(1, keepdim=True) if wants == 1 else exact[:, torch.arange(wants) % had] * (had / wants)
        state[key] = new.to(old.dtype)
        logger.info("%s: %s adapted from %d to %d input channels", origin, key, had, wants)
    had, wants = (next((len(v) for k, v in s.items() if _HEAD.fullmatch(k)), 0) for s in (state, target))
    if had != wants == model.num_classes:
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        state |= {k: v for k, v in target.items() if k.startswith("head.")}
        if wants:
            logger.warning(
                "%s: the weights have %d classes and the model %d: its head is random, train it before use",
                origin, had, wants,
            )  # fmt: skip
    return state


def compare(state: Mapping[str, Tensor], model: nn.Module, origin: str, dtype: torch.dtype | None = None) -> None:
    """Every key, shape and dtype must agree; what does not is listed. Of values nothing is read.

    Args:
        state: the weights.
        model: what they are for, such as on the meta device.
        origin: where they come from.
        dtype: that of the model's floating tensors, in place of its own; it must hold that of the weights exactly.
    """
    target = model.state_dict()
    both = [(k, state[k], v) for k, v in target.items() if k in state]

    def holds(value: Tensor, like: Tensor) -> bool:
        into = dtype or like.dtype
        if like.is_floating_point():
            return value.dtype in FLOATS and torch.promote_types(into, value.dtype) == into
        return like.dtype == value.dtype

    faults = {
        "missing": [k for k in target if k not in state],
        "unexpected": [k for k in state if k not in target],
        "of another shape": [f"{k} {tuple(s.shape)} for {tuple(v.shape)}" for k, s, v in both if s.shape != v.shape],
        "of another kind": [f"{k} {s.dtype} for {dtype or v.dtype}" for k, s, v in both if not holds(s, v)],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {', '.join(map(str, keys))}" for what, keys in faults.items() if keys)
        raise WeightsError(
            f"{origin} does not fit {type(model).__name__}: {listed}. Build the model as the weights were made "
            "(see `convrnn-zoo info`, or the config.json beside them), or pass pretrained=False"
        )
