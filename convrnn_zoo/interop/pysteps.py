"""Forecasters as nowcasting methods of pysteps: https://pysteps.readthedocs.io"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from .._extras import need, quiet
from ..models import Ensemble, EnsembleForecaster, Forecaster
from ..models.base.forecasting import get_preprocessing
from ..values.tensors import to_tensor

Timesteps = int | Sequence[float]


def nowcast_method(model: nn.Module) -> Callable[..., Any]:
    """Returns a function ``forecast(precip, velocity, timesteps)`` with the interface of :mod:`pysteps.nowcasts`.

    The function maps `precip`, the latest radar images ``(T, m, n)``, to a forecast ``(timesteps, m, n)``. Images and
    forecast are in the unit of the model's data (mm/h for rain). Images are one time step of the model apart. The model
    reads only the latest images, as many as in training. The motion field `velocity` is not used and may be left out.
    `timesteps` is the number of steps, or an increasing list of steps. Step 1 is the next frame. Pixels that are NaN or
    masked in every image that the model reads (``convgru_advection``: in the last one) are NaN in the forecast.

    Keyword arguments:

    * `n_ens_members`: number of members, which are a new first axis. It must be 1 for a deterministic model. With
      ``n_ens_members=1``, the only member of ``convgru_advection`` is its deterministic forecast.
    * `seed`: seed of the random noise of the members.
    * `with_latest`: whether the output begins with the latest image, as :func:`pysteps.blending.steps.forecast`
      requires of ``precip_nowcast``.

    Call the function where you would call the result of ``pysteps.nowcasts.get_method``, or add it to the methods of
    pysteps by :func:`register_nowcast_method`.

    Args:
        model: a forecaster of one channel with ``model.preprocessing``.

    Raises:
        ValueError: `model` is not such a forecaster. The returned function raises it for images with another shape or
            with values that the unit excludes, such as dB instead of mm/h, and for an invalid `timesteps`.
        TypeError: the images are not numbers.

    Example:
        >>> import numpy, convrnn_zoo
        >>> forecast = nowcast_method(convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True))
        >>> images = numpy.full((4, 60, 50), 2.0)
        >>> forecast(images, 3).shape  # 5, 10 and 15 minutes ahead, in mm/h
        (3, 60, 50)
        >>> forecast(images, 3, n_ens_members=1, with_latest=True).shape  # precip_nowcast of pysteps' blending
        (1, 4, 60, 50)
    """
    if not isinstance(model, Forecaster) or {model.in_chans, model.out_chans} != {1}:
        raise ValueError(f"pysteps expects a forecaster of one channel, got {type(model).__name__}; take another model")
    if model.known_chans:
        raise ValueError(f"pysteps passes radar images only, and this model reads {model.known_chans} other inputs")
    values = get_preprocessing(model)

    def forecast(
        precip: Any,
        velocity: Any = None,
        timesteps: Timesteps | None = None,
        *,
        n_ens_members: int | None = None,
        seed: int | None = None,
        with_latest: bool = False,
    ) -> Any:
        """Forecasts radar images ``(T, m, n)``; see :func:`convrnn_zoo.interop.nowcast_method`."""
        if timesteps is None:
            velocity, timesteps = None, velocity  # called as forecast(precip, timesteps)
        images, lead_steps = to_tensor("precip", precip), _lead_steps(timesteps)
        if images.dim() != 3 or not images.numel():
            raise ValueError(
                f"expected the latest radar images (T, m, n), got {tuple(images.shape)}; stack them along a first axis"
            )
        images = images.float() if images.is_floating_point() else images
        if velocity is not None and tuple(getattr(velocity, "shape", ())) != (2, *images.shape[1:]):
            raise ValueError(f"velocity must be a motion field (2, m, n), got {check.describe(velocity)}; leave it out")
        lowest, rain_values = images.float().nan_to_num(0).min(), values.encodings[0]
        if rain_values.lowest is not None and lowest < rain_values.lowest:
            raise ValueError(
                f"expected {rain_values.unit} from {rain_values.lowest:g}, got {lowest:g}; if the images are in dB, "
                "convert them with pysteps.utils.transformation.dB_transform(precip, inverse=True), and set missing "
                "values to NaN"
            )
        ensemble: dict[str, Any] = {}
        reads_noise = isinstance(model, EnsembleForecaster)
        if n_ens_members is not None and (reads_noise or (n_ens_members != 1 and isinstance(model, Ensemble))):
            ensemble = {"members": n_ens_members, "seed": seed}
        elif seed is not None and isinstance(model, Ensemble):
            raise ValueError(f"seed={seed!r} is for an ensemble: pass n_ens_members above 1, or leave the seed out")
        elif n_ens_members not in (None, 1) or seed is not None:
            raise ValueError(
                f"n_ens_members={n_ens_members!r}, seed={seed!r}: {type(model).__name__} is deterministic; pass "
                "n_ens_members=1 and no seed. pysteps' blending repeats the forecast for its members"
            )
        rain = model.forecast(images, max(lead_steps), **ensemble)
        rain = rain[None] if n_ens_members is not None and not ensemble else rain
        rain = rain[..., [step - 1 for step in lead_steps], :, :]
        if with_latest:
            rain = torch.cat([images[-1:].to(rain.dtype).expand(*rain.shape[:-3], -1, -1, -1), rain], -3)
        return rain if isinstance(precip, Tensor) else rain.numpy()

    return forecast


def register_nowcast_method(name: str, model: nn.Module) -> None:
    """Adds a forecaster to the methods of pysteps, so that ``pysteps.nowcasts.get_method(name)`` returns it.

    Args:
        name: name of the method, in any case. It must not be one of pysteps.
        model: a forecaster, as for :func:`nowcast_method`.

    Raises:
        ValueError: pysteps has a method with this name, or the model is not such a forecaster.
        ImportError: pysteps is not installed.

    Example:
        >>> import convrnn_zoo, pysteps  # doctest: +SKIP
        >>> register_nowcast_method("convgru", convrnn_zoo.from_pretrained("convgru_forecaster.rain"))  # doctest: +SKIP
        >>> rain = pysteps.nowcasts.get_method("convgru")(images, None, 12)  # doctest: +SKIP
    """
    with quiet():
        methods = need("pysteps.nowcasts.interface", "nowcast")._nowcast_methods
    method, key = nowcast_method(model), str(name).lower()
    if key in methods and getattr(methods[key], "__module__", "") != __name__:
        raise ValueError(f"pysteps already has the method {key!r}; take another name")
    methods[key] = method


def _lead_steps(timesteps: Timesteps | None) -> list[int]:
    """Returns the requested lead times in steps; the next frame is step 1."""
    is_list = hasattr(timesteps, "__iter__") and getattr(timesteps, "ndim", 1) > 0
    listed: Any = timesteps if is_list else [timesteps]
    try:
        steps = [0 if isinstance(step, bool | str) else int(step) for step in listed]
    except (TypeError, ValueError, OverflowError):
        steps = []
    if (
        not steps
        or steps[0] < 1
        or sorted(set(steps)) != steps
        or any(a != b for a, b in zip(steps, listed, strict=True))
    ):
        raise ValueError(
            f"timesteps must be a positive whole number, or a list of whole numbers that increase, got {timesteps!r}"
        )
    return steps if is_list else list(range(1, steps[0] + 1))
