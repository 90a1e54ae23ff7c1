"""Forecasters as nowcasting methods of pysteps: https://pysteps.readthedocs.io"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from ..layers import _checks as check
from ..models import Forecaster

Timesteps = int | Sequence[float]


def nowcast_method(model: nn.Module) -> Callable[[Any, Timesteps], Any]:
    """Returns a function ``forecast(precip, timesteps)`` with the interface of :mod:`pysteps.nowcasts`.

    The function maps `precip`, the latest radar images ``(T, m, n)``, to a forecast ``(timesteps, m, n)``. Both are in
    the unit of the model's data (mm/h for rain), one time step of the model apart. It reads as many images as in
    training, the latest ones, and unlike the methods of pysteps no motion field. `timesteps` is a number of steps, or
    an increasing list of whole numbers. Pixels that are NaN or masked in every image are NaN in the forecast.

    ``pysteps.nowcasts.get_method`` has a fixed table of methods and cannot return this one. Call the function where you
    would call the result of ``get_method``.

    Args:
        model: a forecaster of one channel with ``model.preprocessing``.

    Raises:
        ValueError: `model` is none, or has no ``preprocessing``. The function raises it for images of another shape or
            type, for values that the unit does not have, such as dB in place of mm/h, and for invalid `timesteps`.

    Example:
        >>> import numpy, convrnn_zoo
        >>> forecast = nowcast_method(convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True))
        >>> forecast(numpy.full((4, 60, 50), 2.0), 3).shape  # 5, 10 and 15 minutes ahead, in mm/h
        (3, 60, 50)
    """
    if not isinstance(model, Forecaster) or model.in_chans != 1:
        raise ValueError(f"pysteps expects a forecaster of one channel, got {type(model).__name__}; take another model")
    values = model.preprocessing
    if values is None:
        raise ValueError(
            f"this {type(model).__name__} has no preprocessing, which states the unit of its values; set "
            "model.preprocessing = convrnn_zoo.Preprocessing(...)"
        )

    def forecast(precip: Any, timesteps: Timesteps) -> Any:
        """Forecasts radar images ``(T, m, n)``; see :func:`convrnn_zoo.interop.nowcast_method`."""
        images, lead_steps = _as_images(precip), _lead_steps(timesteps)
        lowest = torch.as_tensor(images).nan_to_num(0).min()
        if values.lowest is not None and lowest < values.lowest:
            raise ValueError(
                f"expected {values.unit} from {values.lowest:g}, got {lowest:g}; if the images are in dB, convert them "
                "with pysteps.utils.transformation.dB_transform(precip, inverse=True), and set missing values to NaN"
            )
        return model.forecast(images, max(lead_steps))[[step - 1 for step in lead_steps]]

    return forecast


def _as_images(precip: Any) -> Any:
    """Returns radar images as a plain array, with NaN where they are masked, whatever is stored under the mask."""
    images = precip
    if not isinstance(precip, Tensor):
        numpy = need("numpy", "cli")
        images = numpy.ma.asarray(precip)
        if images.dtype.kind not in "iuf":
            raise ValueError(
                f"expected radar images of numbers, got {images.dtype}; convert them with astype('float32')"
            )
        kind = "f4" if images.dtype.kind == "f" or images.mask.any() else images.dtype.newbyteorder("=")
        images = numpy.ascontiguousarray(images.astype(kind).filled(numpy.nan if kind == "f4" else 0))
    if images.ndim != 3 or 0 in images.shape:
        raise ValueError(
            f"expected the latest radar images (T, m, n), got {tuple(images.shape)}; stack them along a first axis"
        )
    return images


def _lead_steps(timesteps: Timesteps) -> list[int]:
    """Returns the requested lead times, in steps from 1."""
    if getattr(timesteps, "ndim", None) == 0 or not hasattr(timesteps, "__iter__"):
        return list(range(1, whole_number("timesteps", timesteps) + 1))
    steps = [whole_number("timesteps", step) for step in timesteps]
    if not steps or sorted(set(steps)) != steps:
        raise ValueError(f"timesteps must be a number, or a list of whole numbers that increase, got {timesteps!r}")
    return steps


def whole_number(name: str, value: Any) -> int:
    """Returns a positive whole number, also of a NumPy or torch type or a float such as 3.0, as an int.

    Example:
        >>> import numpy
        >>> whole_number("timesteps", numpy.float64(3.0))
        3
    """
    try:
        number = operator.index(int(value) if not isinstance(value, bool | str) and int(value) == value else value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of at least 1, got {check.describe(value)}")
    return number
