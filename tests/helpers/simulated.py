"""A simulated accelerator: tensors on the device ``sim``, whose values are computed on the host.

It shows what a GPU would reject or wait for, on a machine without one. Operations on tensors of both the host and the
device raise an error, as on CUDA. :func:`watched` lists copies from the host, and reads that wait for the device.
torch calls its interface for devices written in Python experimental; it is used here only.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "sim"
CAN_SIMULATE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this torch has devices written in Python."""
aten = torch.ops.aten
READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
HOST_ARGUMENTS = (aten._pack_padded_sequence.default, aten._pad_packed_sequence.default)
"""Operations whose lengths are on the host on every device."""
IN_HALF = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d.input conv_transpose3d.input linear matmul bmm addmm"
IN_FLOAT = "softmax.int log_softmax.int cross_entropy_loss mse_loss layer_norm group_norm exp log pow.Tensor_Scalar sum"
"""Operations that autocast computes in half precision and in float32 on CUDA, those of interest here."""
_events: list[str] = []


class SimulatedTensor(Tensor):
    """A tensor on the simulated device; `raw` has its values."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: Tensor) -> Any:
        layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        return Tensor._make_wrapper_subclass(cls, raw.shape, device=torch.device(NAME, 0), **layout)

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw

    def __repr__(self, **_: Any) -> str:
        return f"SimulatedTensor({self.raw})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.raw.__reduce_ex__(protocol)  # a file is read to the host, as with map_location="cpu"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        host = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and not isinstance(t, cls)]
        device = kwargs.get("device")
        to_host = device is not None and torch.device(device).type == "cpu"
        if func is aten.copy_.default and host:
            return _copy(args[1], args[0], *args[2:], **kwargs)
        if any(t.dim() for t in host) and func not in HOST_ARGUMENTS:
            if func not in INDEXING:
                raise RuntimeError(f"Expected all tensors to be on the same device, got {NAME} and cpu in {func}")
            _note("copy from the host", func)
        is_masked = func in INDEXING and any(t is not None and t.dtype == torch.bool for t in args[1])
        if to_host or is_masked or (func not in INDEXING and READS & set(func.tags)):
            _note("wait for the device", func)
        raw_args, raw_kwargs = tree_map(lambda t: t.raw if isinstance(t, cls) else t, (args, kwargs))
        raw_kwargs |= {} if device is None else {"device": torch.device("cpu"), "pin_memory": False}
        out = func(*raw_args, **raw_kwargs)
        if to_host:
            return out.clone() if out is raw_args[0] else out
        if func is aten._pack_padded_sequence.default:
            return cls(out[0]), out[1]
        out = tree_map(lambda t: cls(t) if isinstance(t, Tensor) else t, out)
        return return_and_correct_aliasing(func, args, kwargs, out)


def _note(event: str, operation: Any) -> None:
    """Adds an event with the line of the package, or else of the test, that causes it."""
    stack = [f for f, _ in traceback.walk_stack(sys._getframe()) if "site-packages" not in f.f_code.co_filename]
    frame = next((f for f in stack if "/convrnn_zoo/" in f.f_code.co_filename), stack[-1])
    _events.append(f"{event}: {operation} at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}")


def _copy(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    if not isinstance(target, SimulatedTensor):
        _note("wait for the device", "copy_")
    elif not non_blocking:  # else it is queued behind the work of the device
        _note("copy from the host", "copy_")
    getattr(target, "raw", target).copy_(getattr(source, "raw", source))
    return target


def _empty(size: Any, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    memory_format = torch.contiguous_format if memory_format is None else memory_format
    return SimulatedTensor(torch.empty(size, dtype=dtype, memory_format=memory_format))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Tensor:
    return SimulatedTensor(torch.empty_strided(size, stride, dtype=dtype))


def _cast(operation: Any, dtype: torch.dtype | None) -> Any:
    """Returns an operation that autocast computes in a dtype; None is the dtype of autocast."""

    def run(*args: Any, **kwargs: Any) -> Any:
        to = dtype or torch.get_autocast_dtype(NAME)

        def cast(x: Any) -> Any:
            return x.to(to) if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64 else x

        with torch.autocast(NAME, enabled=False):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    return run


class _Module(backend_registration._DummyBackendModule if CAN_SIMULATE else object):  # type: ignore[misc]
    """The module ``torch.sim``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)

    def synchronize(self) -> None:
        pass


class _Generator(torch.Generator):
    """The generators of the device are those of the host."""

    def __new__(cls, device: Any = None) -> Any:
        return super().__new__(cls, device="cpu")


_libraries: list[Any] = []


def register() -> None:
    """Adds the device to this process, for good."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    kernels, rest = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    for name, kernel in {"empty.memory_format": _empty, "empty_strided": _empty_strided, "_copy_from": _copy}.items():
        kernels.impl(name, kernel, "PrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for names, dtype in ((IN_HALF, None), (IN_FLOAT, torch.float32)):
        for name in names.split():
            packet, _, overload = name.partition(".")
            kernel = _cast(getattr(getattr(aten, packet), overload or "default"), dtype)
            kernels.impl(name, kernel, "AutocastPrivateUse1")
    torch.Generator = _Generator  # type: ignore[misc]
    _libraries.extend((kernels, rest))  # which undo their registrations as they are freed


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yields a list, which is filled with the copies from the host and the reads of values in the block."""
    _events.clear()
    found: list[str] = []
    try:
        yield found
    finally:
        found += _events
