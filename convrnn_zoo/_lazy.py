"""Arrays of xarray that are read and converted when they are sliced. Imported only if xarray is installed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from ._extras import need

xarray = need("xarray", "netcdf")
indexing: Any = need("xarray.core.indexing", "netcdf")
BackendArray: Any = need("xarray.backends", "netcdf").BackendArray


class ArrayBackend(BackendArray):
    """Array that calls ``read(index)`` when it is sliced; `index` is a tuple of integers and slices."""

    def __init__(self, read: Callable[[Any], Any], shape: Sequence[int], dtype: Any) -> None:
        self.read, self.shape, self.dtype = read, tuple(shape), numpy.dtype(dtype)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, index: Any) -> Any:
        expected = tuple(len(range(n)[i]) for i, n in zip(index, self.shape, strict=True) if isinstance(i, slice))
        if 0 in expected:
            return numpy.empty(expected, self.dtype)
        values = self.read(index)
        if numpy.shape(values) != expected:
            raise ValueError(f"read {numpy.shape(values)} values, expected {expected}")
        return values


def lazy_variable(
    dims: Sequence[str], read: Callable[[Any], Any], shape: Sequence[int], dtype: Any, attrs: Any = None
) -> Any:
    """Returns an ``xarray.Variable`` whose values are ``read(index)`` when it is sliced."""
    return xarray.Variable(dims, indexing.LazilyIndexedArray(ArrayBackend(read, shape, dtype)), attrs)


def map_lazily(variable: Any, function: Callable[[Any], Any], dtype: Any = "float32") -> Any:
    """Returns a Variable whose values are those of `variable`, to which `function` is applied when they are read."""
    new = lazy_variable(variable.dims, partial(_apply, variable, function), variable.shape, dtype, variable.attrs)
    new.encoding = variable.encoding
    return new


def _apply(variable: Any, function: Callable[[Any], Any], index: Any) -> Any:
    return function(variable[index].values)
