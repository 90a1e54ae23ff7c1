"""Autocast, and whether this CPU convolves faster in half precision than in float32, which a measurement decides.

Neither the manufacturer nor the instruction set tells. Without AMX, processors with AVX-512 were measured on which
bfloat16 takes half the time of float32, and others on which it takes nearly twice the time.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

VARIABLE = "CONVRNN_ZOO_HALF_CONV"
"""Environment variable that replaces the measurement: ``1`` for half precision, ``0`` for float32."""
ROUNDS = 5
_is_fast: dict[torch.dtype, bool] = {}
_lock = threading.Lock()


def has_autocast(device: str) -> bool:
    """Returns whether autocast is enabled for a type of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Returns a context without autocast on the device of `x`."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if has_autocast(device) else nullcontext()


def half_is_fast(dtype: torch.dtype) -> bool:
    """Returns whether this CPU convolves in `dtype`, a half precision, faster than in float32.

    The first call for a dtype measures it, which takes a few milliseconds. Later calls return the same result. The
    environment variable :data:`VARIABLE` replaces the measurement.

    Raises:
        ValueError: the environment variable is neither ``0`` nor ``1``.
    """
    if choice := os.environ.get(VARIABLE):
        if choice not in ("0", "1"):
            raise ValueError(
                f"the environment variable {VARIABLE} must be 1 (convolve in half precision on the CPU) or 0 (in "
                f"float32), got {choice!r}; unset it to let the layers measure"
            )
        return choice == "1"
    if dtype not in _is_fast:
        with _lock:
            if dtype not in _is_fast:
                # A new thread has none of the caller's modes: autograd, autocast, transforms, fake tensors, a device.
                with ThreadPoolExecutor(1) as pool:
                    in_half, in_float = pool.submit(time_convolutions, dtype, torch.float32).result()
                _is_fast[dtype] = in_half < in_float
    return _is_fast[dtype]


@torch.no_grad()
def time_convolutions(*dtypes: torch.dtype) -> list[float]:
    """Returns the time in seconds of one small convolution in each dtype; inf if torch cannot compute it.

    Other processes can only add to a time. So each time is the least of several runs, which alternate.
    """

    def run(dtype: torch.dtype) -> float:
        x, weight = tensors[dtype]
        start = time.perf_counter()
        try:
            F.conv2d(x, weight, padding=1)
        except RuntimeError:
            return float("inf")
        return time.perf_counter() - start

    tensors = {
        dtype: [
            torch.ones(shape, dtype=dtype, device="cpu").contiguous(memory_format=torch.channels_last)
            for shape in ((1, 32, 32, 32), (64, 32, 3, 3))
        ]
        for dtype in dtypes
    }
    for dtype in dtypes:
        run(dtype)  # the first run compiles the kernel
    return [min(times) for times in zip(*([run(dtype) for dtype in dtypes] for _ in range(ROUNDS)), strict=True)]
