"""Forecasters as networks of mlcast: https://github.com/mlcast-community/mlcast"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._hints import warn
from ...models import Ensemble, EnsembleForecaster, Forecaster
from ...values.preprocessing import denormalize_rain, normalize_rain
from ...values.units import is_rain
from .pysteps import to_whole_number


class MLCastNetwork(nn.Module):
    r"""A forecaster with the interface of mlcast's networks, ``forward(x, steps, ensemble_size)``.

    mlcast passes rain to its networks as normalised reflectivity x. By the relation of Marshall and Palmer, it is

    .. math::
        x &= \mathrm{clip}(10 \log_{10} a + 10 b \log_{10} R, 0, 60) / 30 - 1

    for a rain rate R in mm/h, so that -1 is dry. A forecaster with ``preprocessing`` receives rain rates, and its
    forecast is normalised again. A forecaster without it, such as an untrained one, receives x unchanged and can be
    trained in mlcast. Maps whose size is not a multiple of the forecaster's ``reduction`` are padded with dry pixels,
    and the forecast is cropped.

    Args:
        model: a forecaster. If it has ``preprocessing``, its unit must be mm/h.
        a, b: constants of the relation between reflectivity and rain rate, as in mlcast's ``ReflectivityScaling``.

    Raises:
        ValueError: `model` is not a forecaster, has another unit, or has static or future inputs.

    Example:
        >>> import convrnn_zoo
        >>> network = MLCastNetwork(convrnn_zoo.create_model("convgru_irene", num_blocks=2))
        >>> tuple(network(torch.rand(2, 4, 1, 30, 33), steps=6, ensemble_size=3).shape)
        (2, 6, 3, 30, 33)
    """

    num_blocks = 0
    """mlcast requires map sizes that are multiples of ``2**num_blocks``. This module accepts any size."""

    def __init__(self, model: nn.Module, *, a: float = 200.0, b: float = 1.6) -> None:
        super().__init__()
        if not isinstance(model, Forecaster):
            raise ValueError(f"mlcast expects a forecaster, got {type(model).__name__}; take a name such as predrnn")
        values = model.preprocessing
        units = {v.unit for v in values.encodings} if values else {"mm/h"}
        if not all(map(is_rain, units)) or model.known_chans:
            raise ValueError(
                f"mlcast forecasts rain from rain, and this model reads {', '.join(units) or 'brightness'} and "
                f"{model.known_chans} other inputs; take weights of rain rates in mm/h, or an untrained model"
            )
        self.model = model
        self.input_channels = model.in_chans
        self.a, self.b = a, b

    def forward(self, x: Tensor, steps: int, ensemble_size: int = 1) -> Tensor:
        """Forecasts ``(N, steps, ensemble_size · C, H, W)`` from frames ``(N, T, C, H, W)``, both normalised.

        A trained forecaster reads only the latest frames, as many as in training. As in mlcast, each member of an
        :class:`~convrnn_zoo.EnsembleForecaster` has different random noise, and a single forecast
        (``ensemble_size=1``) has no noise. The members of ``convgru_advection`` also differ. Other forecasters
        have equal members, and issue a warning.
        """
        steps, ensemble_size = to_whole_number("steps", steps), to_whole_number("ensemble_size", ensemble_size)
        model, values, (height, width) = self.model, self.model.preprocessing, x.shape[-2:]
        pads = (0, -width % model.reduction, 0, -height % model.reduction)
        x = F.pad(model.select_inputs(x), pads, value=-1.0)  # which is dry, before any encoding
        if values is not None:
            exact = torch.promote_types(x.dtype, torch.float32)  # 48 dBZ and more overflow float16
            x = values.encode(self.to_rate(x.to(exact))).to(x)
        options = model.fixed_arguments(steps)  # the horizon and, for a nowcast, the time step
        if ensemble_size == 1:
            y = model(x, **options)
        elif isinstance(model, EnsembleForecaster):
            context = model.read(model.check_frames("x", x))
            members = [model.make(context, steps, model.draw_noise(x, steps)) for _ in range(ensemble_size)]
            y = torch.cat(members, 2)
        elif isinstance(model, Ensemble):
            y = model.members(x, members=ensemble_size, **options).movedim(0, 2).flatten(2, 3)
        else:
            warn(
                f"{type(model).__name__} is deterministic: its {ensemble_size} ensemble members are equal, and their "
                "CRPS is the absolute error"
            )
            y = model(x, **options).repeat(1, 1, ensemble_size, 1, 1)
        y = y[..., :height, :width]
        if values is None:
            return y
        rate = values.decode(y.to(exact).unflatten(2, (ensemble_size, -1)))
        return self.from_rate(rate).flatten(2, 3).to(y)

    def to_rate(self, x: Tensor) -> Tensor:
        """Converts normalised reflectivity to a rain rate in mm/h."""
        return torch.where(x > -1, denormalize_rain(x, self.a, self.b), 0)

    def from_rate(self, rate: Tensor) -> Tensor:
        """Converts a rain rate in mm/h to normalised reflectivity. Rates below 0 dBZ become -1, which is dry."""
        return normalize_rain(rate, self.a, self.b)
