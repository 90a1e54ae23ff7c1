"""The device of ``make test-device``, and what differs between devices: precisions, tolerances, what one cannot do."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from . import simulated
from .layers.oracles import mapped, tensors

NAME = os.environ.get("CONVRNN_ZOO_TEST_DEVICE", "cpu")
if NAME == simulated.NAME:
    simulated.register()
DEVICE = torch.device(NAME)
ON_HOST = DEVICE.type == "cpu"

TOLERANCES = {
    "cpu": {"float32": 2e-5, "bfloat16": 0.1, "float16": 0.02},
    "sim": {"float32": 2e-5, "bfloat16": 0.1, "float16": 0.02},
    "cuda": {"float32": 5e-5, "tf32": 0.02, "bfloat16": 0.1, "float16": 0.02},
    "xpu": {"float32": 5e-5, "bfloat16": 0.1, "float16": 0.02},
    "mps": {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02},
}
"""Largest differences from float64 on the host by device and precision, relative to the largest value or 1.

In half precision, autocast computes the convolutions; the gradients of a sequence add the rounding of all its steps.
"""
PRECISIONS = tuple(TOLERANCES[DEVICE.type])
CANNOT = {
    "mps": {
        "spotting": "log-mel features are computed in float64, which MPS does not have",
        "nowcast members": "the spectra of the noise are computed in float64, which MPS does not have",
        "layer Conv3d": "MPS has no derivative of the 3-d convolution in some versions of torch",
        "model e3d_lstm": "MPS has no derivative of the 3-d convolution in some versions of torch",
    },
}
"""What a device cannot do: the beginning of the name of a case, and the reason why it is an expected failure."""


def reason(case: str) -> str | None:
    """Returns why the device cannot do what is named, or None."""
    return next((why for start, why in CANNOT.get(DEVICE.type, {}).items() if case.startswith(start)), None)


@contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Context in which float32 weights on the device compute in a precision."""
    with ExitStack() as stack:
        if DEVICE.type == "cuda":
            for backend in (torch.backends.cudnn, torch.backends.cuda.matmul):
                stack.callback(setattr, backend, "allow_tf32", backend.allow_tf32)
                backend.allow_tf32 = precision == "tf32"
        if precision in ("bfloat16", "float16"):
            stack.enter_context(torch.autocast(DEVICE.type, getattr(torch, precision)))
        yield


@contextmanager
def waits() -> Iterator[list[str]]:
    """Yields a list, which is filled with the waits and the copies from the host in the block.

    CUDA raises an error at the first wait instead.
    """
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield []
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    with simulated.watched() as found:
        yield found


def assert_agrees(work: Callable[..., Callable[[], Any]], precision: str, scale: float = 1.0) -> None:
    """Compares work on the device with the same in float64 on the host; all results must be on the device."""
    expected = work(torch.device("cpu"), torch.float64)()
    step = work(DEVICE, torch.float32)
    with in_precision(precision):
        actual = step()
    assert {t.device.type for t in tensors(actual)} == {DEVICE.type}
    tolerance = scale * TOLERANCES[DEVICE.type][precision]
    for a, e in zip(tensors(mapped(to_host, actual)), tensors(expected), strict=True):
        assert a.shape == e.shape
        error = ((a - e).abs().max() / e.abs().max().clamp(min=1)).item() if e.numel() else 0.0
        assert error <= tolerance, f"off by {error:.1e}, more than {tolerance:g}"


def to_host(x: torch.Tensor) -> torch.Tensor:
    return x.detach().cpu().double()
