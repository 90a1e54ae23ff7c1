"""Autocast on the device of a tensor."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def has_autocast(device: str) -> bool:
    """Returns whether autocast is enabled for a type of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Returns a context without autocast on the device of `x`."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if has_autocast(device) else nullcontext()
