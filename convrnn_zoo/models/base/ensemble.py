"""Forecasters that read noise: each draw is one member of an ensemble of forecasts."""

from typing import Any

import torch
from torch import Tensor

from ...layers import _checks as check
from .forecaster import Forecaster, Inputs


class EnsembleForecaster(Forecaster):
    """A :class:`Forecaster` whose forecast is one of many that might come true: which of them, its noise says.

    The noise is an input, so that the same noise gives the same forecast. A subclass says what all members share,
    :meth:`read`, how one is made of that, :meth:`make`, and the shape of its noise, :meth:`noise_shape`.
    """

    def read(self, x: Tensor) -> Any:
        """What the members share: all that depends on the frames alone."""
        raise NotImplementedError(f"{type(self).__name__} must say how frames are read")

    def make(self, context: Any, horizon: int, noise: Tensor) -> Tensor:
        """One member, ``(N, horizon, C, H, W)``, of what :meth:`read` gave and its noise."""
        raise NotImplementedError(f"{type(self).__name__} must say how a member is made")

    def noise_shape(self, x: Tensor, horizon: int) -> tuple[int, ...]:
        """The shape of the noise of one member, N first."""
        raise NotImplementedError(f"{type(self).__name__} must say which noise it reads")

    def draw_noise(self, x: Tensor, horizon: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal noise for one member of ``x``, from torch's own generator where none is given.

        It is drawn on the generator's device, the CPU by default, so that a seed gives the same member on every device.
        """
        shape = self.noise_shape(x, self.check_horizon(horizon))
        device = generator.device if generator is not None else "meta" if x.is_meta else "cpu"
        return torch.randn(shape, generator=generator, device=device).to(x)

    def forward(self, x: Tensor, horizon: int | None = None, *, noise: Tensor | None = None) -> Tensor:
        """One member, ``(N, horizon, C, H, W)``, of the forecast of ``x``, ``(N, T, C, H, W)``.

        Args:
            x: the input frames.
            horizon: frames to forecast; the model's default.
            noise: what :meth:`draw_noise` gives; a first axis of 1 serves the whole batch. Zeros by default: one
                forecast, always the same.

        Raises:
            ValueError: frames or noise of another shape.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        return self.make(self.read(x), horizon, self._check_noise(noise, x, horizon))

    @torch.no_grad()
    def forecast(
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        members: int | None = None,
        seed: int | None = None,
        inputs: Inputs = None,
        batch_size: int = 16,
    ) -> Any:
        """:meth:`convrnn_zoo.Forecaster.forecast`, of as many `members` as are asked for.

        Args:
            frames, horizon, inputs, batch_size: as of every forecaster.
            members: how many; None for the one forecast without noise.
            seed: as in :meth:`members`.

        Returns:
            As every forecaster; with `members`, these are a first axis: ``(members, horizon, H, W)`` and so on.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("convgru_irene", num_blocks=2)
            >>> model.preprocessing = convrnn_zoo.Preprocessing(encoding="dbz", unit="mm/h", step=5.0)
            >>> rain = model.forecast(5 * torch.rand(6, 50, 70), horizon=4, members=3, seed=0)  # mm/h
            >>> mean, spread, above_1_mm = rain.mean(0), rain.std(0), (rain > 1).float().mean(0)
            >>> tuple(rain.shape), tuple(above_1_mm.shape)
            ((3, 4, 50, 70), (4, 50, 70))
        """
        if members is None:
            if seed is not None:
                raise ValueError("a seed draws members: pass members=, or leave the seed out")
            return super().forecast(frames, horizon, inputs=inputs, batch_size=batch_size)
        count = check.count("members", members)
        return self._in_unit(
            frames, horizon, inputs, batch_size, lambda x, horizon: self.members(x, horizon, members=count, seed=seed)
        )

    def members(self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None) -> Tensor:
        """An ensemble, ``(members, N, horizon, C, H, W)``, of the forecast of ``x``, ``(N, T, C, H, W)``.

        Args:
            x: the input frames, which are read once.
            horizon: frames to forecast; the model's default.
            members: how many.
            seed: with the same seed the same members, whatever their number and whatever else is in the batch, on any
                device; without one, torch's own generator draws. A member's noise is that of the whole batch.

        Raises:
            ValueError: frames of another shape, or no members.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        count = check.count("members", members)
        generator = None if seed is None else torch.Generator().manual_seed(check.whole_number("seed", seed))
        context, shape = self.read(x), self.noise_shape(x, horizon)
        return torch.stack(
            [
                self.make(context, horizon, self.draw_noise(x[:1], horizon, generator).expand(shape))
                for _ in range(count)
            ]
        )

    def _check_noise(self, noise: object, x: Tensor, horizon: int) -> Tensor:
        shape = self.noise_shape(x, horizon)
        if noise is None:
            return x.new_zeros(shape)
        if not isinstance(noise, Tensor) or noise.shape not in (shape, (1, *shape[1:])):
            raise ValueError(
                f"{type(self).__name__} expected noise of shape {shape}, or 1 for the first, got "
                f"{check.describe(noise)}; draw_noise makes it"
            )
        check.same_kind(type(self).__name__, "noise", noise, x)
        return noise.expand(shape)
