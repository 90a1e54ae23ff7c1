"""Conversion of the data that users pass to tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks as check


def to_tensor(name: str, x: Any) -> Tensor:
    """Converts a tensor, a NumPy array or nested lists of numbers to a tensor of real numbers.

    A tensor is returned unchanged. NumPy arrays may have any byte order, any strides and any real dtype. Masked values
    become NaN.

    Raises TypeError for other objects and values, such as an ``xarray.DataArray``, and ValueError for lists of unequal
    length. Both messages begin with `name`, the name of the argument.
    """
    if isinstance(x, Tensor):
        if x.is_complex() or x.layout != torch.strided or x.is_nested:
            raise TypeError(f"{name} must be a dense tensor of real numbers, got {check.describe(x)}, {x.layout}")
        return x
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers, got an array of dtype {x.dtype}; pass floats or integers")
        if isinstance(x, np.ma.MaskedArray):
            x = np.ma.filled(x.astype("float64" if x.dtype.itemsize > 4 else "float32"), np.nan)
        x = x.astype("float64" if x.dtype.itemsize > 8 else x.dtype.newbyteorder("="), order="C", copy=False)
        shared = x.flags.writeable and all(stride >= 0 for stride in x.strides)
        return torch.from_numpy(x if shared else x.copy())
    if isinstance(x, list | tuple):
        try:
            if any(isinstance(part, Tensor | np.ndarray) for part in x):
                return torch.stack([to_tensor(f"{name}[{i}]", part) for i, part in enumerate(x)])
            return torch.tensor(x)
        except (ValueError, RuntimeError) as e:
            raise ValueError(f"{name} must hold numbers in lists of equal length, got {check.describe(x)}: {e}") from e
        except TypeError as e:
            raise TypeError(f"{name} must hold numbers, got {check.describe(x)}: {e}") from e
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    hint = "pass its values as an array, such as x.values" if hasattr(x, "values") else "convert it with numpy.asarray"
    raise TypeError(f"{name} must be a tensor or a NumPy array, got {kind}; {hint}")
