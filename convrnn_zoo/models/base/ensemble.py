"""Base classes of forecasters that make ensembles."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import _checks as check
from .forecaster import Forecaster
from .forecasting import Inputs, forecast


class Ensemble:
    """Mixin of forecasters that make ensembles. A subclass defines :meth:`members`."""

    def members(self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None) -> Tensor:
        """Returns an ensemble of forecasts ``(members, N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} must define members")

    def choose_run(
        self,
        single: Callable[..., Any],
        members: int | None,
        seed: int | None,
        ensemble: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
        """Returns the function `ensemble`, by default :meth:`members`, or `single` if the number of members is None."""
        if members is not None:
            return partial(ensemble or self.members, members=members, seed=seed)
        if seed is not None:
            raise ValueError("seed is only valid with members: pass members=, or leave the seed out")
        return single


class EnsembleForecaster(Ensemble, Forecaster):
    """Base class of forecasters that read noise: each noise sample gives one member of an ensemble of forecasts.

    The noise is an input, so that the same noise gives the same forecast. A subclass defines :meth:`read` (the part
    that all members share), :meth:`make` (one member) and :meth:`noise_shape`.
    """

    def read(self, x: Tensor) -> Any:
        """Computes the part of the forecast that all members share, such as the state after the frames."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def make(self, context: Any, horizon: int, noise: Tensor) -> Tensor:
        """Returns one member ``(N, horizon, C, H, W)`` from the noise and the `context` that :meth:`read` returns."""
        raise NotImplementedError(f"{type(self).__name__} must define make")

    def noise_shape(self, x: Tensor, horizon: int) -> tuple[int, ...]:
        """Returns the shape of the noise for one member; its first axis is N."""
        raise NotImplementedError(f"{type(self).__name__} must define noise_shape")

    def draw_noise(self, x: Tensor, horizon: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Samples standard normal noise for one member of the forecast of `x`; see :meth:`noise_shape`.

        The noise is sampled on the generator's device, by default with torch's global CPU generator, and then moved to
        the device of `x`. A seed thus gives the same noise for a model on any device.
        """
        shape = self.noise_shape(x, self.check_horizon(horizon))
        device = generator.device if generator is not None else "meta" if x.is_meta else "cpu"
        return torch.randn(shape, generator=generator, device=device).to(x)

    def forward(self, x: Tensor, horizon: int | None = None, *, noise: Tensor | None = None) -> Tensor:
        """Returns one member ``(N, horizon, C, H, W)`` of the forecast from frames `x` ``(N, T, C, H, W)``.

        `noise` comes from :meth:`draw_noise`; zeros by default. If its first axis is 1, the whole batch shares it.

        Raises:
            ValueError: the frames or the noise have a wrong shape.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        return self.make(self.read(x), horizon, self._check_noise(noise, x, horizon))

    @torch.no_grad()
    def forecast(  # type: ignore[override]
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        members: int | None = None,
        seed: int | None = None,
        inputs: Inputs = None,
        batch_size: int = 16,
    ) -> Any:
        """Forecasts an ensemble in the unit of the data.

        Args:
            members: number of members, the size of the result's first axis; None for one forecast without noise.
            seed: as for :meth:`members`.
            …: as for :meth:`convrnn_zoo.Forecaster.forecast`.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("convgru_irene", num_blocks=2)
            >>> model.preprocessing = convrnn_zoo.Preprocessing(encoding="dbz", unit="mm/h", step=5.0)
            >>> rain = model.forecast(5 * torch.rand(6, 50, 70), horizon=4, members=3, seed=0)  # mm/h
            >>> mean, spread, above_1_mm = rain.mean(0), rain.std(0), (rain > 1).float().mean(0)
            >>> tuple(rain.shape), tuple(above_1_mm.shape)
            ((3, 4, 50, 70), (4, 50, 70))
        """
        run = self.choose_run(self, members, seed)
        return forecast(self, frames, run, horizon=horizon, inputs=inputs, batch_size=batch_size)[0]

    def members(self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None) -> Tensor:
        """Returns an ensemble of forecasts ``(members, N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)``.

        All sequences of a batch share the noise of a member. With a `seed`, member k has the same noise on any device,
        for any number of `members` and any batch. Without `seed`, torch's global generator is used.

        Raises:
            ValueError: the frames have a wrong shape, or `members` is below 1.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        count = check.positive_int("members", members)
        generator = None if seed is None else torch.Generator().manual_seed(check.whole_number("seed", seed))
        context, shape = self.read(x), self.noise_shape(x, horizon)
        noises = [self.draw_noise(x[:1], horizon, generator).expand(shape) for _ in range(count)]
        return torch.stack([self.make(context, horizon, noise) for noise in noises])

    def _check_noise(self, noise: object, x: Tensor, horizon: int) -> Tensor:
        shape = self.noise_shape(x, horizon)
        if noise is None:
            return x.new_zeros(shape)
        owner = type(self).__name__
        if not isinstance(noise, Tensor) or noise.shape not in (shape, (1, *shape[1:])):
            got = f"got {check.describe(noise)}; draw_noise samples it"
            raise ValueError(f"{owner} expected noise of shape {shape}, or 1 for the first, {got}")
        check.device_and_dtype(owner, "noise", noise, x)
        return noise.expand(shape)
