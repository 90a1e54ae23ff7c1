"""The network of the nowcast: ConvGRU layers forecast growth and decay in coordinates that move with the rain."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import _checks as check
from ..._autocast import no_autocast
from ...layers import Conv2dGRU
from ...layers._nonlinearities import NEGATIVE_SLOPE
from ...layers._run import Loop
from ...layers.warp import warp
from ...values.preprocessing import Preprocessing
from ...values.units import is_rain
from ..base import (
    FRAME_CFG,
    Ensemble,
    Forecaster,
    Shuffle,
    Unshuffle,
    build_model,
    constants,
    framewise,
    register_model,
    stage,
    unroll_loop,
)
from ..base.forecasting import Inputs, get_preprocessing, run_forecast
from .decisions import CLIMATOLOGY, FLOOR, LEVELS, REACH, THRESHOLDS, Exceedance
from .ensemble import draw_members, rain_noise
from .motion import (
    AdvectedFrames,
    advect,
    distance_outside,
    extrapolate,
    fill_gaps,
    in_convolution_layout,
    smooth,
)

MaskedForecast = Callable[..., tuple[Tensor, Tensor]]
"""Forecast from frames ``(N, T, C, H, W)``, the horizon and `minutes` between the frames, and its mask `outside`."""
PATCH, STRIDE = 2, 4
"""Edge of a fine pixel in pixels of the frame, and edge of a coarse pixel in fine pixels."""
DEFAULT_MINUTES, PIXEL_KM = 5.0, 2.0
"""Default time between frames in minutes, and edge of the network's pixels in km."""
MAX_EDGE = 8192
"""Maximum edge of a resampled map in pixels."""
RATES = Preprocessing(unit="mm/h", lowest=0.0, highest=300.0, step=DEFAULT_MINUTES, inputs=4, horizon=12)
"""Default preprocessing: rain rates in mm/h, without encoding."""
DETAIL = 8
"""Channels per pixel of the output of the fine layers."""


def motion_features(motion: Tensor, minutes: float) -> Tensor:
    """Returns ``(N, 5, H, W)``: velocity in x and y, speed (all in pixels/min), 10 · divergence/min, `minutes` / 10."""
    p = F.pad(motion, (1, 1, 1, 1), mode="replicate")
    spread = p[:, :1, 1:-1, 2:] - p[:, :1, 1:-1, :-2] + p[:, 1:, 2:, 1:-1] - p[:, 1:, :-2, 1:-1]
    speed = motion.square().sum(1, keepdim=True).add(1e-6).sqrt()
    pace = torch.full_like(speed, minutes / 10)
    return torch.cat([motion / minutes, speed / minutes, spread * (5 / minutes), pace], 1)


def lead_time_features(horizon: int, minutes: float, like: Tensor) -> Tensor:
    """Returns ``1 + log(t) / 2`` and ``t`` for each lead time t in hours, ``(horizon, 1, 2, 1, 1)``."""
    hours = torch.arange(1, horizon + 1, device=like.device, dtype=like.dtype) * (minutes / 60)
    return torch.stack([1 + hours.log() / 2, hours], 1)[:, None, :, None, None]


def detail_maps(amount: Tensor) -> Tensor:
    """Returns summaries ``(N, 7·C, H, W)`` of frames ``(N, T, C, H, W)`` on the scale of :func:`scaled`.

    These are the last frame, the mean of the last two and of all frames, the last frame smoothed over 3×3 and 9×9
    pixels, and its share of wet pixels in 5×5 and 15×15 pixels.
    """
    last, before, mean = amount[:, -1], amount[:, -2:].mean(1), amount.mean(1)
    wet = ((last - 0.35) * 20).sigmoid()  # from 0.3 mm/h on
    return torch.cat([last, before, mean, smooth(last, 3), smooth(last, 9), smooth(wet, 5), smooth(wet, 15)], 1)


def framewise_in_layout(module: nn.Module, frames: Tensor) -> Tensor:
    """Applies a module to each frame of ``(T, N, C, H, W)``; see :func:`in_convolution_layout`."""
    return framewise(lambda x: module(in_convolution_layout(x)), frames)


def join(parts: Iterable[tuple[Tensor, Tensor]], horizon: int, axis: int = -4) -> tuple[Tensor, Tensor]:
    """Joins forecasts and masks of successive lead times along `axis` of a result that is allocated once."""
    joined: list[Tensor] = []
    done = 0
    for part in parts:
        if not done:
            joined = [x.new_empty(*x.shape[:axis], horizon, *x.shape[axis:][1:]) for x in part]
        for result, x in zip(joined, part, strict=True):
            result.narrow(axis, done, x.shape[axis]).copy_(x)
        done += part[0].shape[axis]
    forecast, mask = joined
    return forecast, mask


def resample(x: Tensor, height: int, width: int) -> Tensor:
    """Resamples maps ``(…, H, W)``, by area means if they get smaller, else bilinearly; NaN where half or more is NaN.

    Example:
        >>> resample(torch.tensor([[1.0, 3.0, torch.nan, torch.nan]]), 1, 2).tolist()
        [[2.0, nan]]
    """
    mode = "area" if height * width <= x.shape[-2] * x.shape[-1] else "bilinear"
    values = torch.stack([x.nan_to_num(0), x.isfinite().to(x.dtype)]).reshape(2, -1, *x.shape[-2:])
    total, share = F.interpolate(values, size=(height, width), mode=mode).reshape(2, *x.shape[:-2], height, width)
    return torch.where(share > 0.5, total / share.clamp_min(1e-6), torch.nan)


class ConvGRUAdvection(Ensemble, Forecaster):
    """Rain forecasts from estimated motion, and from ConvGRU layers in coordinates that move with the rain.

    The frames are advected by their estimated motion to the time of the last frame, so that the recurrent layers read
    growth and decay instead of motion. A fine layer on patches of 2×2 pixels reads small showers, and a coarse layer on
    8×8 pixels reads their surroundings. The layers of the forecaster start from the states of the encoder and read the
    lead time. Their output is advected with the motion and added to the logits of extrapolation. Before training, the
    forecast is close to extrapolation.

    Args:
        hidden_channels: widths of the fine and of the coarse layers.
        climatology: frequencies of reaching each of the 11 :data:`THRESHOLDS` in the training data. They are the
            probabilities where the rain would come from outside the map.
        in_chans, horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`; a channel is a rain rate.
    """

    chunk_size: int | None = 1
    """Number of lead times whose maps are computed at once, which limits the memory; None for all."""
    export_loop: Loop = staticmethod(unroll_loop)
    default_step, default_pixel_km = DEFAULT_MINUTES, PIXEL_KM
    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^(?:stem|details)",
        "encoder": r"^(?:encoder|down|coarse_encoder)",
        "forecaster": r"^(?:coarse_forecaster|up|forecaster)",
        "mix": r"^(?:fold|mix|trust|unseen)",
        "head": r"^head",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (32, 64),
        horizon: int = 12,
        num_classes: int = 0,
        climatology: Sequence[float] = CLIMATOLOGY,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, PATCH * STRIDE, num_classes)
        self.climatology = [check.probability(f"climatology[{i}]", p) for i, p in enumerate(climatology)]
        if len(self.climatology) != len(THRESHOLDS) or self.climatology != sorted(self.climatology, reverse=True):
            expected = f"{len(THRESHOLDS)} frequencies that do not increase"
            raise ValueError(f"climatology must be {expected}, for the thresholds {THRESHOLDS}, got {climatology}")
        fine, coarse = check.widths("hidden_channels", hidden_channels, num_layers=2)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        motion_chs, clock_chs = 5, 2
        frame_chs = (2 * in_chans + 1) * PATCH**2
        self.stem = nn.Sequential(Unshuffle(PATCH), *stage(nn.Conv2d, frame_chs, fine, 3, 1, 1, **factory))
        self.encoder = Conv2dGRU(fine + motion_chs, fine, 3, **factory)
        self.down = stage(nn.Conv2d, fine, coarse, STRIDE, STRIDE, **factory)
        self.coarse_encoder = Conv2dGRU(coarse, coarse, 3, **factory)
        self.coarse_forecaster = Conv2dGRU(motion_chs + clock_chs, coarse, 3, **factory)
        self.up = nn.Conv2d(coarse, fine, 1, **factory)
        self.forecaster = Conv2dGRU(fine + clock_chs, fine, 3, **factory)
        self.fold = nn.Sequential(nn.Conv2d(fine, DETAIL * PATCH**2, 1, **factory), Shuffle(PATCH))
        self.details = nn.Conv2d(7 * in_chans, 2 * DETAIL, 3, padding=1, **factory)
        self.mix = nn.Conv2d(DETAIL, 2 * DETAIL, 3, padding=1, **factory)
        self.head = nn.Conv2d(2 * DETAIL, len(THRESHOLDS) * in_chans, 3, padding=1, **factory)
        self.trust = nn.Parameter(torch.empty(2, len(THRESHOLDS), **factory))
        self.unseen = nn.Parameter(torch.empty(3, len(THRESHOLDS), **factory))
        self.num_features = 2 * DETAIL
        self.preprocessing = RATES
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initializes the weights: the forecast is close to extrapolation and less certain at later lead times."""
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        for parameter, values in ((self.trust, (0.7, -0.5)), (self.unseen, (0.4, 0.3, -0.3))):
            with torch.no_grad():
                parameter.copy_(torch.tensor(values, device=parameter.device)[:, None].expand_as(parameter))

    def forward(self, x: Tensor, horizon: int | None = None, minutes: float = DEFAULT_MINUTES) -> Tensor:
        """Returns rain rates ``(N, horizon, C, H, W)`` in mm/h from ``(N, T, C, H, W)``, for frames `minutes` apart."""
        return self.exceedance(x, horizon, minutes).rates().to(x.dtype)

    def exceedance(
        self,
        x: Tensor,
        horizon: int | None = None,
        minutes: float = DEFAULT_MINUTES,
        steps: Sequence[int] | None = None,
    ) -> Exceedance:
        """Returns the logits of reaching each threshold, for all lead times or for `steps`.

        `steps` are counted from 0, in ascending order. The logits are those of the network, also where the rain comes
        from outside the map; :meth:`Exceedance.probabilities` and :meth:`Exceedance.rates` replace them there.
        """
        parts = list(self.iterate_exceedance(x, horizon, minutes, steps))
        if len(parts) == 1:
            return parts[0]
        names = ("logits", "log_rate", "weight")
        logits, log_rate, weight = (torch.cat([getattr(part, name) for part in parts], 1) for name in names)
        return parts[0]._replace(logits=logits, log_rate=log_rate, weight=weight)

    def iterate_exceedance(
        self,
        x: Tensor,
        horizon: int | None = None,
        minutes: float = DEFAULT_MINUTES,
        steps: Sequence[int] | None = None,
    ) -> Iterator[Exceedance]:
        """Yields :meth:`exceedance` for :attr:`chunk_size` lead times at once, so that not all are in memory.

        Raises:
            ValueError: the frames have a wrong shape, `minutes` is not positive, or `steps` are not ascending numbers
                from 0 to ``horizon - 1``.
        """
        minutes = check.number("minutes", minutes, positive=True)
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        steps = range(horizon) if steps is None else [check.whole_number("steps", k) for k in steps]
        if not steps or sorted({*steps}) != [*steps] or steps[0] < 0 or steps[-1] >= horizon:
            raise ValueError(f"steps must be ascending lead times from 0 to {horizon - 1}, each once, got {[*steps]}")
        c = advect(x, horizon, self.export_loop)
        climatology = constants(self.climatology, c.rate).logit(1e-6)[:, None, None]
        clock = lead_time_features(horizon, minutes, c.motion)
        details = self.details(in_convolution_layout(detail_maps(c.amount).to(x.dtype)))
        chunk = self.chunk_size or len(steps)
        leads: list[int] = []
        maps: list[Tensor] = []
        for k, y in enumerate(self.forecast_features(c, clock, minutes, x.dtype)):
            if k not in steps:
                continue
            leads.append(k)
            maps.append(y)
            del y  # all that the maps of a lead time do not need
            if len(leads) < chunk and k < steps[-1]:
                continue
            features = self.fold(in_convolution_layout(torch.cat(maps) if len(maps) > 1 else maps[0]))
            maps.clear()
            features = self.mix(features).unflatten(0, (len(leads), -1)).add_(details).flatten(0, 1)
            residual = self.head(in_convolution_layout(F.leaky_relu_(features, NEGATIVE_SLOPE)))
            del features
            times = torch.stack([clock[k, :, :1] for k in leads]).expand(-1, x.shape[0], -1, -1, -1).flatten(0, 1)
            parts = self.advect_logits(residual, c.at(leads), times)
            del residual
            logits, log_rate = (part.unflatten(0, (len(leads), -1)).transpose(0, 1) for part in parts)
            del parts
            distance = torch.stack([distance_outside(c, k) for k in leads], 1)
            leads.clear()
            weight = distance.div_(-REACH).square_().neg_().exp_()
            yield Exceedance(logits, c.known[:, None] > 0, log_rate, weight, climatology, c)
            del logits, log_rate, distance, weight

    def forecast_features(
        self, c: AdvectedFrames, clock: Tensor, minutes: float, dtype: torch.dtype
    ) -> Iterator[Tensor]:
        """Yields the output of the fine forecaster ``(N, fine, H / 2, W / 2)`` for each lead time.

        Without gradients, the layers run one frame and one lead time at a time, which limits the memory.
        """
        (n, length), horizon = c.amount.shape[:2], len(clock)  # len of a dynamic axis would fix it in a graph
        chunk = max(length, horizon) if self.chunk_size is None or torch.is_grad_enabled() else self.chunk_size
        fine, low = (
            F.avg_pool2d(motion_features(c.motion, minutes), edge).to(dtype) for edge in (PATCH, self.reduction)
        )
        state, low_state = None, None
        for t in range(0, length, chunk):
            amount = c.amount[:, t : t + chunk]
            frames = torch.cat([amount, amount - c.amount[:, -1:], c.amount_known[:, t : t + chunk]], 2).to(dtype)
            hidden = framewise_in_layout(self.stem, frames.transpose(0, 1))
            hidden, state = self.encoder(torch.cat([hidden, fine.expand(len(hidden), *fine.shape)], 2), state)
            _, low_state = self.coarse_encoder(framewise_in_layout(self.down, hidden), low_state)
        del amount, frames, hidden, fine
        for k in range(0, horizon, chunk):
            times = clock[k : k + chunk].to(dtype)
            y = torch.cat([low.expand(len(times), *low.shape), times.expand(-1, n, -1, *low.shape[-2:])], 2)
            y, low_state = self.coarse_forecaster(y, low_state)
            y = F.interpolate(framewise_in_layout(self.up, y).flatten(0, 1), scale_factor=STRIDE, mode="bilinear")
            y = y.unflatten(0, (len(times), n))
            y, state = self.forecaster(torch.cat([y, times.expand(-1, n, -1, *y.shape[-2:])], 2), state)
            yield from y.unbind(0)

    def advect_logits(self, residual: Tensor, c: AdvectedFrames, times: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``(N, C, 11, H, W)``, and the log of the extrapolated rate ``(N, C, H, W)``.

        For each of the 11 :data:`THRESHOLDS`, two logits are added. One is computed from the extrapolated rate. The
        other is the network's output `residual` ``(N, 11·C, H, W)``, which this method advects to the first lead time
        of `c`. `times` ``(N, 1, 1, 1)`` is the first of :func:`lead_time_features`.

        The first logit is linear in five maps per channel: with the extrapolated and the unmoved log rate x and y,
        the level L of the threshold, and the share k of pixels that were known, it is
        ``slope · (k (x - L) + (1 - k) (a (x - L) + b (y - L) + bias))``.
        """
        with no_autocast(residual):
            moved, still, known = extrapolate(c, 0, FLOOR)
            dtype = moved.dtype
            levels = constants(THRESHOLDS, moved).log()
            slope, decay = self.trust.to(dtype)
            moved_weight, still_weight, bias = self.unseen.to(dtype)
            slope = (slope + decay * times.to(dtype).flatten(1)).exp()  # (N, 11)
            offset = bias - (moved_weight + still_weight) * levels
            weight = torch.stack([torch.ones_like(bias), moved_weight, still_weight, -levels, offset], 1)
            weight = (slope[:, :, None] * weight).repeat_interleave(moved.shape[1], 0)
            unknown = 1 - known
            known, unknown = known.expand_as(moved), unknown.expand_as(moved)
            maps = torch.stack([known * moved, unknown * moved, unknown * still, known, unknown], 2)
            logits = warp(residual.to(dtype), c.origins[:, 0], "reflection")
            logits = logits.reshape(-1, len(THRESHOLDS), moved.shape[2:].numel())
            logits = logits.baddbmm_(weight, maps.reshape(-1, maps.shape[2], logits.shape[2]))
            each = list(logits.reshape(*moved.shape[:2], len(THRESHOLDS), *moved.shape[2:]).unbind(2))
            for i in range(1, len(THRESHOLDS)):  # a higher threshold is never more likely to be reached
                each[i] = torch.minimum(each[i], each[i - 1])
            return torch.stack(each, 2), moved

    def preprocess(self, frames: Tensor) -> Tensor:
        """Returns rain rates ``(…, C, H, W)`` in mm/h unchanged, because the network reads unknown values as NaN."""
        values = get_preprocessing(self)
        if values.encoding != "none" or not is_rain(values.unit):
            got = f"encoding={values.encoding!r}, unit={values.unit!r}"
            raise ValueError(f'model.preprocessing must be Preprocessing(unit="mm/h"), for rain rates, got {got}')
        return frames

    def fixed_arguments(self, horizon: int) -> dict[str, Any]:
        return {"horizon": horizon, "minutes": get_preprocessing(self).step or DEFAULT_MINUTES}

    def unknown_pixels(self, x: Tensor) -> Tensor:
        return ~x[:, -1:].isfinite().all(2, keepdim=True)

    def forecast(  # type: ignore[override]
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        minutes: float | None = None,
        pixel_km: float | None = None,
        members: int | None = None,
        seed: int | None = None,
        outside: str = "climatology",
        inputs: Inputs = None,
        batch_size: int = 1,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Forecasts rain rates in mm/h; NaN where the last frame is unknown.

        Args:
            minutes: time from one frame to the next; by default that of a DataArray, else that of training, else 5.
            pixel_km: edge of a pixel in km; by default that of the coordinates of labelled frames, else that of
                training, else 2. Maps with other pixels than in training are resampled for the network and back.
            members: number of members, the size of the result's first axis; None for one forecast.
            seed: as for :meth:`members`; only valid with `members`.
            outside: forecast where the rain comes from outside the map, or from unknown pixels of the last frame:
                ``"climatology"``, to which the forecast falls back with the distance that the rain moves, or ``"nan"``.
                The coordinate `outside` of a labelled forecast is true there; :meth:`forecast_with_outside` returns
                this mask for arrays.
            …: as for :meth:`convrnn_zoo.Forecaster.forecast`, with frames in mm/h.

        Returns:
            Mean rates. For each threshold of 0.5, 2 and 5 mm/h, they are clamped to reach it in the pixels that
            :func:`decide` selects, and to stay below it elsewhere. If `members` is set, equally likely rates.

        Example:
            >>> model, radar = ConvGRUAdvection(hidden_channels=(2, 3)), torch.rand(4, 19, 30)
            >>> tuple(model.forecast(radar, horizon=2).shape)
            (2, 19, 30)
            >>> tuple(model.forecast(radar, horizon=2, members=5, seed=0).shape)
            (5, 2, 19, 30)
        """
        return self.forecast_with_outside(
            frames,
            horizon,
            members=members,
            seed=seed,
            outside=outside,
            minutes=minutes,
            pixel_km=pixel_km,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
        )[0]

    @torch.no_grad()
    def forecast_with_outside(
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        members: int | None = None,
        seed: int | None = None,
        outside: str = "climatology",
        minutes: float | None = None,
        pixel_km: float | None = None,
        inputs: Inputs = None,
        batch_size: int = 1,
        storage_options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any]:
        """Returns :meth:`forecast`, and the mask ``([N,] horizon, H, W)`` of pixels whose rain comes from outside.

        The arguments are those of :meth:`forecast`.
        """
        return run_forecast(
            self,
            frames,
            self._at_pixels(self.choose_call(self._mean_rates, members, seed, self._members), outside),
            horizon=horizon,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
            minutes=minutes,
            pixel_km=pixel_km,
        )

    def members(
        self,
        x: Tensor,
        horizon: int | None = None,
        *,
        members: int = 20,
        seed: int | None = None,
        minutes: float = DEFAULT_MINUTES,
    ) -> Tensor:
        """Returns an ensemble of equally likely rates ``(members, N, horizon, C, H, W)`` in mm/h.

        At each pixel the members are quantiles of the forecast probabilities; a single member is the median. Noise
        decides which member has which quantile. It has the texture of the last frame's rain and moves with the rain.
        All sequences of a batch share their white noise. A `seed` gives the same white noise on any device; without it,
        torch's global generator is used. `minutes` is the time from one frame to the next.

        Raises:
            ValueError: the frames have a wrong shape, `members` is below 1, or `minutes` is not positive.
        """
        horizon = self.check_horizon(horizon)
        return self._members(x, horizon, minutes, members=members, seed=seed)[0].to(x.dtype)

    def _mean_rates(self, x: Tensor, horizon: int, minutes: float) -> tuple[Tensor, Tensor]:
        parts, values = self.iterate_exceedance(x, horizon, minutes), get_preprocessing(self)
        return join(((values.decode(part.rates()), part.outside) for part in parts), horizon)

    def _members(
        self, x: Tensor, horizon: int, minutes: float, *, members: int, seed: int | None
    ) -> tuple[Tensor, Tensor]:
        count = check.positive_int("members", members)
        generator = None if seed is None else torch.Generator().manual_seed(check.whole_number("seed", seed))

        def draw() -> Iterator[tuple[Tensor, Tensor]]:
            noises: Iterator[Tensor] = iter(())
            k = 0
            for part in self.iterate_exceedance(x, horizon, minutes):
                c = part.advected
                noises = noises if k else rain_noise(c.rate, minutes, count, generator)
                for p, mask in zip(part.probabilities(LEVELS).split(1, 1), part.outside.split(1, 1), strict=True):
                    rates = draw_members(p[:, 0], LEVELS, next(noises), c.origins[:, k])
                    k += 1
                    yield get_preprocessing(self).decode(rates.unsqueeze(2)), mask

        return join(draw(), horizon)

    def probabilities(
        self,
        frames: Any,
        thresholds: Sequence[float],
        horizon: int | None = None,
        *,
        minutes: float | None = None,
        pixel_km: float | None = None,
        outside: str = "climatology",
        inputs: Inputs = None,
        batch_size: int = 1,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Forecasts the probability that rain reaches each of the `thresholds` in mm/h.

        The other arguments are those of :meth:`forecast`. The result has an axis of thresholds before H.

        Raises:
            TypeError, ValueError: `thresholds` is not a list of finite numbers above 0.

        Example:
            >>> model = ConvGRUAdvection(hidden_channels=(2, 3))
            >>> tuple(model.probabilities(torch.rand(4, 19, 30), [0.5, 30.0], horizon=2).shape)
            (2, 2, 19, 30)
        """
        return self.probabilities_with_outside(
            frames,
            thresholds,
            horizon,
            outside=outside,
            minutes=minutes,
            pixel_km=pixel_km,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
        )[0]

    @torch.no_grad()
    def probabilities_with_outside(
        self,
        frames: Any,
        thresholds: Sequence[float],
        horizon: int | None = None,
        *,
        minutes: float | None = None,
        pixel_km: float | None = None,
        outside: str = "climatology",
        inputs: Inputs = None,
        batch_size: int = 1,
        storage_options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any]:
        """Returns :meth:`probabilities`, and the mask ``([N,] horizon, H, W)`` of pixels whose rain is from outside.

        The arguments are those of :meth:`probabilities`.
        """
        listed = thresholds.tolist() if hasattr(thresholds, "tolist") else thresholds
        if isinstance(listed, str) or not isinstance(listed, Sequence) or not listed:
            raise ValueError(f"thresholds must be a list of rain rates in mm/h, got {check.describe(thresholds)}")
        rates = [check.number(f"thresholds[{i}]", rate, positive=True) for i, rate in enumerate(listed)]
        return run_forecast(
            self,
            frames,
            self._at_pixels(partial(self._probabilities, thresholds=rates), outside),
            horizon=horizon,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
            minutes=minutes,
            pixel_km=pixel_km,
            thresholds=rates,
        )

    def _probabilities(
        self, x: Tensor, horizon: int, minutes: float, *, thresholds: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        parts = self.iterate_exceedance(x, horizon, minutes)
        return join(((part.probabilities(thresholds), part.outside.unsqueeze(3)) for part in parts), horizon, -5)

    def _at_pixels(self, call_model: MaskedForecast, outside: str) -> MaskedForecast:
        """Returns a function like `call_model` for maps with pixels of `pixel_km`, instead of those of training.

        Pixels whose rain comes from outside the map are NaN if `outside` is ``"nan"``. Frames without a value between
        others are replaced by :func:`fill_gaps`. Pixels that differ from those of training by less than 2 % are taken
        as equal.
        """
        trained = get_preprocessing(self).pixel_km or PIXEL_KM
        is_nan = check.choice("outside", outside, ("climatology", "nan")) == "nan"

        def resampled(x: Tensor, horizon: int, minutes: float, pixel_km: float | None) -> tuple[Tensor, Tensor]:
            if self.unknown_pixels(x).flatten(1).all(1).any():
                raise ValueError("the last frame is entirely unknown: leave it out, and forecast one frame more")
            ratio = (trained if pixel_km is None else check.number("pixel_km", pixel_km, positive=True)) / trained
            ratio = 1.0 if abs(ratio - 1) < 0.02 else ratio
            size = x.shape[-2:]
            height, width = (max(1, round(edge * ratio)) for edge in size)
            if max(height, width) > MAX_EDGE and (height, width) != size:
                raise ValueError(
                    f"pixel_km={pixel_km:g} makes {height:,}×{width:,} pixels of {trained:g} km, and {MAX_EDGE:,} is "
                    "the largest edge; pass the edge of a pixel in km"
                )
            is_resampled = (height, width) != size
            if is_resampled:
                edges = (0, -width % self.reduction, 0, -height % self.reduction)
                x = F.pad(resample(x, height, width), edges, value=torch.nan)
            y, mask = call_model(fill_gaps(x), horizon, minutes=minutes)
            if is_resampled:
                y = resample(y[..., :height, :width], *size)
                mask = resample(mask[..., :height, :width].to(y.dtype), *size) >= 0.5
            return y.masked_fill_(mask, torch.nan) if is_nan else y, mask

        return resampled


@register_model(cfg=FRAME_CFG)
def convgru_advection(pretrained: bool = False, **kwargs: Any) -> ConvGRUAdvection:
    """Rain nowcasts by estimated motion and ConvGRU layers for growth and decay: 504,962 parameters.

    Maps rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to rates ``(N, horizon, C, H, W)``. Height and width
    are multiples of 8; ``forecast`` takes maps of any size and returns ensembles with ``members=20``, and
    ``probabilities`` returns the probabilities of reaching rates.
    Rain is advected as in Ritvanen et al. 2023, https://doi.org/10.1109/JSTARS.2023.3238016, and Zhang et al. 2023,
    https://doi.org/10.1038/s41586-023-06184-4; the layers are those of Ballas et al. 2016,
    https://arxiv.org/abs/1511.06432.
    """
    return build_model(ConvGRUAdvection, "convgru_advection", pretrained, **kwargs)
