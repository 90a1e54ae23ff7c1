"""Conversion of arrays and lists from other libraries to tensors."""

from typing import Any

import torch
from torch import Tensor


def as_tensor(values: Any, name: str) -> Tensor:
    """Converts an array or nested list of real numbers to a tensor.

    Arrays may be NumPy's or anything with ``__array__``, of any byte order and memory layout. Masked values become NaN.

    Args:
        values: a tensor, which is returned as it came, an array, or a list.
        name: how errors call it.

    Raises:
        ValueError: `values` are not real numbers, or are nested lists of unequal lengths.

    Example:
        >>> as_tensor([[1, 2], [3, 4]], "x").shape
        torch.Size([2, 2])
    """
    if isinstance(values, Tensor):
        found = values
    elif hasattr(values, "__array__"):
        import numpy as np

        array = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected real numbers, got an array of {array.dtype}")
        if isinstance(array, np.ma.MaskedArray):
            array = array.astype(np.result_type(array.dtype, np.float32)).filled(np.nan)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long double
            array = array.astype("float64")
        found = torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))  # a copy: arrays may be read-only
    else:
        try:
            found = torch.as_tensor(values)
        except (TypeError, ValueError, RuntimeError, OverflowError) as e:
            raise ValueError(f"{name}: expected a tensor or an array of real numbers ({e})") from e
    if found.is_complex():
        raise ValueError(f"{name}: expected real numbers, got {found.dtype}")
    return found
