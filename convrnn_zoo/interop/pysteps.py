"""A forecaster as a nowcasting method of pysteps: https://pysteps.readthedocs.io"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..layers import _checks as check
from ..models import Forecaster

Timesteps = int | Sequence[float]


def nowcast_method(model: nn.Module) -> Callable[[Any, Timesteps], Any]:
    """A function ``forecast(precip, timesteps)`` that fits the methods of :mod:`pysteps.nowcasts`.

    It takes `precip`, the latest radar images ``(T, m, n)``, and gives an array ``(timesteps, m, n)``, both in the unit
    of the model's data, mm/h for rain, and in steps of its minutes. Unlike pysteps' own methods it takes no motion
    field: the network has its own idea of motion. `timesteps` is a number, or a list of whole numbers that rise. Pixels
    that are NaN or masked in every image are NaN in the forecast.

    pysteps knows its methods by a table that is not open to others, so that ``pysteps.nowcasts.get_method`` does not
    find this one: call the function where you would call what that returns.

    Args:
        model: a forecaster of one channel that says what its values mean (``model.preprocessing``).

    Raises:
        ValueError: the model is another, or does not say what its values mean. The function raises it for images of
            another shape, for values that the unit does not have, such as dB where mm/h are expected, and for steps
            that are no whole numbers.

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
            f"this {type(model).__name__} does not say what its values mean; set model.preprocessing = "
            "convrnn_zoo.Preprocessing(...)"
        )

    def forecast(precip: Any, timesteps: Timesteps) -> Any:
        """Images ``(T, m, n)`` to the forecast ``(timesteps, m, n)``; see convrnn_zoo.interop.nowcast_method."""
        if getattr(precip, "ndim", None) != 3:
            shape = getattr(precip, "shape", type(precip).__name__)
            raise ValueError(f"expected the latest radar images (T, m, n), got {shape}; stack them along a first axis")
        ahead = _lead_steps(timesteps)
        known = torch.as_tensor(precip).nan_to_num(0)
        if values.lowest is not None and known.min() < values.lowest:
            raise ValueError(
                f"expected {values.unit} from {values.lowest:g}, got {known.min():g}; if the images are in dB, "
                "pysteps.utils.transformation.dB_transform(precip, inverse=True) undoes it"
            )
        return model.forecast(precip, max(ahead))[[step - 1 for step in ahead]]

    return forecast


def _lead_steps(timesteps: Timesteps) -> list[int]:
    """The steps ahead that are asked for, from 1."""
    if check.is_int(timesteps):
        return list(range(1, check.positive_int("timesteps", timesteps) + 1))
    steps = list(timesteps)  # type: ignore[arg-type]
    if not steps or any(t != int(t) or t < 1 for t in steps) or sorted(set(steps)) != steps:
        raise ValueError(f"timesteps must be a number, or whole numbers from 1 that rise, got {timesteps!r}")
    return [int(t) for t in steps]
