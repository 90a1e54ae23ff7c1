"""A forecaster as a network of mlcast: https://github.com/mlcast-community/mlcast"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import _checks as check
from ..models import Forecaster


class MLCastNetwork(nn.Module):
    r"""A forecaster with the interface of mlcast's networks, ``forward(x, steps, ensemble_size)``.

    mlcast hands its networks rain as normalised reflectivity: with Marshall and Palmer's relation,

    .. math::
        x &= \mathrm{clip}(10 \log_{10} a + 10 b \log_{10} R, 0, 60) / 30 - 1

    for a rain rate R in mm/h, so that -1 is dry. A forecaster of rain rates is handed these and its forecast is
    normalised again. One that does not say what its values mean, such as an untrained one, sees x as it is: train it in
    mlcast. Maps that the forecaster cannot divide are padded with what is dry, and the forecast is cut back.

    Args:
        model: a forecaster, in mm/h where it says what its values mean (``model.preprocessing``).
        a, b: of the relation between reflectivity and rain rate, as in mlcast's ``ReflectivityScaling``.

    Raises:
        ValueError: no forecaster, or one in another unit.

    Example:
        >>> import convrnn_zoo
        >>> network = MLCastNetwork(convrnn_zoo.create_model("convgru_forecaster", hidden_channels=4))
        >>> tuple(network(torch.rand(2, 4, 1, 30, 33), steps=6, ensemble_size=3).shape)
        (2, 6, 3, 30, 33)
    """

    num_blocks = 0
    """mlcast asks for maps that are multiples of two to this power: of any size."""

    def __init__(self, model: nn.Module, *, a: float = 200.0, b: float = 1.6) -> None:
        super().__init__()
        if not isinstance(model, Forecaster):
            raise ValueError(f"mlcast expects a forecaster, got {type(model).__name__}; take a name such as predrnn")
        if model.preprocessing is not None and model.preprocessing.unit != "mm/h":
            raise ValueError(
                f"mlcast forecasts rain, and this model's values are in {model.preprocessing.unit or 'brightness'}; "
                "take weights of rain rates in mm/h, or an untrained model"
            )
        self.model = model
        self.input_channels = model.in_chans
        self.a, self.b = a, b

    def forward(self, x: Tensor, steps: int, ensemble_size: int = 1) -> Tensor:
        """Frames ``(N, T, C, H, W)`` to ``(N, steps, ensemble_size · C, H, W)``, both normalised as mlcast does.

        A forecaster has one answer: the members of an ensemble are equal, and their CRPS is the absolute error.
        """
        check.positive_int("ensemble_size", ensemble_size)
        model, values, (height, width) = self.model, self.model.preprocessing, x.shape[-2:]
        if values is not None:
            x = values.encode(self.to_rate(x))
        dry = -1.0 if values is None else 0.0
        x = F.pad(x, (0, -width % model.reduction, 0, -height % model.reduction), value=dry)
        y = model(x, horizon=steps)[..., :height, :width]
        if values is not None:
            y = self.from_rate(values.decode(y))
        return y.repeat(1, 1, ensemble_size, 1, 1)

    def to_rate(self, x: Tensor) -> Tensor:
        """Normalised reflectivity as a rain rate in mm/h."""
        dbz = (x + 1) * 30
        return torch.where(dbz > 0, 10 ** ((dbz - 10 * math.log10(self.a)) / (10 * self.b)), 0)

    def from_rate(self, rate: Tensor) -> Tensor:
        """The way back; what is below 0 dBZ is dry."""
        driest = 10 ** (-math.log10(self.a) / self.b)  # of 0 dBZ; the logarithm of less has no use
        dbz = 10 * math.log10(self.a) + 10 * self.b * rate.clamp_min(driest).log10()
        return dbz.clamp(0, 60) / 30 - 1
