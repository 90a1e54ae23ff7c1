"""Building a model on the meta device from untrusted arguments, within a size limit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .errors import WeightsError

MAX_INPUT = 2**26
"""Largest product C·H·W of the input size of a model, such as one channel of 8,192 by 8,192 pixels."""
_LIMIT: ContextVar[int] = ContextVar("limit", default=4 * 2**30)
_FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange,
    torch.linspace, torch.tensor, Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full,
    Tensor.new_tensor,
}  # fmt: skip
_MOST_TENSORS, _LARGEST_INT, _LONGEST_LIST, _LONGEST_HORIZON = 10_000, 2**16, 256, 4096


@contextmanager
def size_limit(max_bytes: int | None) -> Iterator[None]:
    """Context manager that sets the size limit of models and their files, 4 GiB by default.

    Larger models and files raise :class:`~convrnn_zoo.WeightsError` before they are read. None keeps the limit.

    Raises:
        ValueError: `max_bytes` is not a positive whole number.

    Example:
        >>> with size_limit(2**20):
        ...     limit()
        1048576
    """
    if max_bytes is None:
        yield
        return
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
        raise ValueError(f"max_bytes must be a positive whole number of bytes, got {max_bytes!r}; such as 2**32")
    before = _LIMIT.set(max_bytes)
    try:
        yield
    finally:
        _LIMIT.reset(before)


def limit() -> int:
    """Returns the current size limit in bytes."""
    return _LIMIT.get()


def check_size(size: int, what: str, max_bytes: int | None = None) -> None:
    """Raises WeightsError if a size in bytes exceeds `max_bytes`, by default the limit of :func:`size_limit`."""
    max_bytes = max_bytes or limit()
    if size > max_bytes:
        raise WeightsError(
            f"{what} has {size:,} bytes, more than the limit of {max_bytes:,}; if it is meant to, load it with "
            "convrnn_zoo.from_pretrained(..., max_bytes=...) or within convrnn_zoo.size_limit(...)"
        )


class _SizeLimit(TorchFunctionMode):
    """Torch function mode that raises WeightsError if its thread creates tensors that are too large or too many."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.size, self.count = what, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _FACTORIES and isinstance(result, Tensor):
            self.size, self.count = self.size + result.numel() * result.element_size(), self.count + 1
            check_size(self.size, self.what)
            if self.count > _MOST_TENSORS:
                raise WeightsError(f"{self.what} has more than {_MOST_TENSORS:,} tensors; no model of this zoo does")
        return result


def build_on_meta(build: Callable[..., nn.Module], args: Mapping[str, Any], what: str) -> nn.Module:
    """Builds a model on the meta device, which takes no memory. Only the calling thread is affected.

    Raises WeightsError if the model rejects the arguments or exceeds the size limit. The message calls the
    model `what`.
    """
    try:
        with torch.device("meta"), _SizeLimit(what):
            model = build(**args)
    except WeightsError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as e:
        raise WeightsError(f"{what} cannot be built: {e}") from e
    tensors = [*model.parameters(), *model.buffers()]
    check_size(sum(t.numel() * t.element_size() for t in tensors), what)
    return model


def check_arguments(args: object, what: str) -> dict[str, Any]:
    """Returns the arguments of an untrusted config.json, or raises WeightsError if they are not short plain values."""
    if not isinstance(args, Mapping):
        raise WeightsError(f"{what}: model_args must be names with values, got {type(args).__name__}; save it again")
    for name, value in args.items():
        if name in ("device", "dtype", "encoder_pretrained"):
            raise WeightsError(f"{what}: model_args holds {name!r}, which is the caller's to choose; remove it")
        check_value(f"{what}: model_args[{name!r}]", value)
        if name == "horizon" and isinstance(value, int) and value > _LONGEST_HORIZON:
            raise WeightsError(f"{what}: model_args['horizon'] is {value}, expected at most {_LONGEST_HORIZON} frames")
    return dict(args)


def check_value(what: str, value: object, depth: int = 3) -> None:
    """Raises WeightsError unless a value is None, a number, a short word, or a short list of these."""
    if isinstance(value, list | tuple):
        if not depth or len(value) > _LONGEST_LIST:
            raise WeightsError(f"{what} is a list too deep or too long (over {_LONGEST_LIST}); no model takes it")
        for entry in value:
            check_value(what, entry, depth - 1)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        if not abs(value) <= _LARGEST_INT:  # NaN fails this too
            raise WeightsError(f"{what} is {value!r:.20}, beyond ±{_LARGEST_INT}; no model of this zoo is that large")
    elif not isinstance(value, str) or len(value) > _LONGEST_LIST:
        raise WeightsError(f"{what} must be a number, a short word or a list of them, got {type(value).__name__}")
