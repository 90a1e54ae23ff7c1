"""Nowcasts of rain: estimated motion moves the rain, and ConvGRU layers forecast its growth and decay."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._units import is_rain
from ..layers import Conv2dGRU
from ..layers import _checks as check
from ..layers._half import no_autocast
from ..layers._nonlinearities import NEGATIVE_SLOPE
from ..layers.warp import warp
from ..pretrained.builder import build_model
from ..pretrained.preprocessing import Preprocessing
from ..pretrained.registry import register_model
from .base.blocks import Shuffle, Unshuffle, constants, framewise, stage
from .base.forecaster import FRAME_CFG, Ensemble, Forecaster, Inputs
from .base.motion import estimate_motion, fill_unknown, trajectories
from .base.rain_ensemble import arrange, quantiles, rain_noise

ForecastFunction = Callable[..., Tensor]
"""Forecast from frames ``(N, T, C, H, W)``, the horizon and `minutes` between the frames."""
THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 40.0)
"""Thresholds in mm/h whose exceedance the network forecasts."""
LEVELS = (*THRESHOLDS, 80.0)
"""Rain rates in mm/h between which the quantiles of an ensemble are interpolated."""
DECIDED = {0.5: 0.2, 2.0: 0.2, 5.0: 0.12}
"""Thresholds in mm/h at which a forecast decides where rain occurs, each with a minimum probability.

The minimum probability is the argument `min_probability` of :func:`decide`. Below it, more than four of five forecasts
would be false alarms, and the squared error would grow. Pixels below it only serve to reach the minimum area."""
PATCH, STRIDE = 2, 4
"""Edge of a fine pixel in pixels of the frame, and edge of a coarse pixel in fine pixels."""
DEFAULT_MINUTES, PIXEL_KM = 5.0, 2.0
"""Default time between frames in minutes, and edge of the network's pixels in km."""
MAX_EDGE = 8192
"""Maximum edge of a resampled map in pixels."""
RATES = Preprocessing(unit="mm/h", lowest=0.0, highest=300.0, step=DEFAULT_MINUTES, inputs=4, horizon=12)
"""Default preprocessing: rain rates in mm/h, without encoding."""
FLOOR = 0.01
"""Rate in mm/h that is added before the logarithm in :func:`extrapolate`, so that dry pixels are finite."""
DETAIL = 8
"""Channels per pixel of the output of the fine layers."""


def mean_rate(probabilities: Tensor) -> Tensor:
    """Returns the expected rain rate in mm/h from probabilities ``(…, 11, H, W)`` of reaching :data:`THRESHOLDS`.

    Rates between two thresholds count as their geometric mean, below the first as 0, and above the last as 50 mm/h.

    Example:
        >>> p = torch.ones(11, 1, 1)
        >>> p[3:] = 0  # between 0.5 and 1 mm/h
        >>> round(mean_rate(p).item(), 3)
        0.707
    """
    middles = [(a * b) ** 0.5 for a, b in itertools.pairwise(THRESHOLDS)] + [50.0]
    steps = [b - a for a, b in itertools.pairwise([0.0, *middles])]
    weights = constants(steps, probabilities)
    return (probabilities * weights[:, None, None]).sum(-3)


def interpolate_probabilities(logits: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Returns probabilities ``(…, K, H, W)`` of reaching K other `thresholds` in mm/h.

    The logits ``(…, 11, H, W)`` of :data:`THRESHOLDS` are interpolated or extrapolated linearly over log(threshold).
    """
    known = torch.tensor(THRESHOLDS).log()
    out = []
    for threshold in thresholds:
        at = torch.tensor(float(threshold)).log()
        i = int(torch.searchsorted(known, at).clamp(1, len(known) - 1))
        part = float((at - known[i - 1]) / (known[i] - known[i - 1]))
        out.append(torch.lerp(logits[..., i - 1, :, :], logits[..., i, :, :], part))
    return torch.stack(out, dim=-3).sigmoid()


def decide(probability: Tensor, known: Tensor, min_probability: float = 0.2, min_area: Tensor | None = None) -> Tensor:
    """Decides where to forecast an event of `probability` ``(…, H, W)``, and returns booleans ``(…, H, W)``.

    To maximize the expected CSI c over the `known` pixels, the event is forecast where its probability is above
    ``c / (1 + c)``, and above `min_probability`. Fixed-point iteration estimates c. If this selects fewer known pixels
    than `min_area` ``(…, 1, 1)``, the most probable ones are added. Results for unknown pixels have no meaning.

    Reference:
        Nowozin, S. (2014). Optimal Decisions from Probabilistic Models: the Intersection-over-Union Case.
        https://doi.org/10.1109/CVPR.2014.77

    Example:
        >>> p = torch.tensor([[0.9, 0.45, 0.3, 0.1]])
        >>> decide(p, torch.ones_like(p, dtype=torch.bool)).tolist()
        [[True, True, False, False]]
        >>> decide(p, torch.ones_like(p, dtype=torch.bool), min_area=torch.tensor([[3]])).tolist()
        [[True, True, True, False]]
    """
    p = torch.where(known, probability, 0).detach()
    total = p.sum((-2, -1), keepdim=True)
    threshold = torch.full_like(total, 1 / 3)
    for _ in range(6):
        occurs = p > threshold
        hits, area = (p * occurs).sum((-2, -1), keepdim=True), occurs.sum((-2, -1), keepdim=True)
        csi = hits / (area + total - hits).clamp_min(1e-9)
        threshold = (csi / (1 + csi)).clamp_min(min_probability)
    selected = probability > threshold
    if min_area is not None:
        ranked = p.flatten(-2).sort(-1, descending=True).values
        lowest = ranked.gather(-1, (min_area.flatten(-2) - 1).clamp_min(0)).unsqueeze(-1)
        selected = selected | ((p >= lowest) & (min_area > 0))
    return selected


class AdvectedFrames(NamedTuple):
    """Frames advected to the time of the last frame, and their motion; all in float32 or float64."""

    rate: Tensor
    """Rain rate of the last frame ``(N, C, H, W)`` in mm/h; unknown pixels are filled."""
    known: Tensor
    """Mask of the last frame, ``(N, 1, H, W)``: 1 where it is known, else 0."""
    amount: Tensor
    """Rates of all frames on the scale of :func:`scaled`, advected to the time of the last one, ``(N, T, C, H, W)``."""
    amount_known: Tensor
    """Share of known pixels in `amount`, ``(N, T, 1, H, W)``."""
    motion: Tensor
    """Motion ``(N, 2, H, W)`` in pixels per step."""
    origins: Tensor
    """Displacements in pixels from each forecast pixel to its origin in the last frame, ``(N, horizon, 2, H, W)``."""


class Exceedance(NamedTuple):
    """A probabilistic nowcast."""

    logits: Tensor
    """Logits ``(N, horizon, C, 11, H, W)`` of reaching :data:`THRESHOLDS`; they never increase with the threshold."""
    known: Tensor
    """Booleans ``(N, 1, 1, H, W)``, true where the last frame is known."""
    log_rate: Tensor
    """Logarithm of the extrapolated rate plus :data:`FLOOR`, both in mm/h, ``(N, horizon, C, H, W)``."""
    hours: Tensor
    """Lead times in hours, ``(horizon,)``."""
    advected: AdvectedFrames
    """The frames and their motion."""

    def rates(self) -> Tensor:
        """Returns mean rates ``(N, horizon, C, H, W)`` in mm/h.

        For each threshold of :data:`DECIDED`, :func:`decide` selects pixels. Rates are clamped to exceed the threshold
        in selected pixels, and to stay below it in other pixels; the highest threshold takes precedence. At least as
        many pixels are selected as exceed the threshold in the model's extrapolation. For the selection, extrapolation
        is added to the logits with weight ``6 · exp(-6 · hours)``, because it is best in the first minutes.
        """
        rate = mean_rate(self.logits.sigmoid())
        near = (6.0 * (-self.hours / (1 / 6)).exp())[:, None, None, None]
        for threshold, min_probability in DECIDED.items():
            logits = self.logits[..., THRESHOLDS.index(threshold), :, :] + near * (self.log_rate - math.log(threshold))
            extrapolated = (self.log_rate > math.log(threshold + FLOOR)) & self.known
            occurs = decide(logits.sigmoid(), self.known, min_probability, extrapolated.sum((-2, -1), keepdim=True))
            rate = torch.where(occurs, rate.clamp_min(threshold * 1.001), rate.clamp_max(threshold * 0.999))
        return rate


def advect(x: Tensor, horizon: int) -> AdvectedFrames:
    """Advects frames ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to the time of the last frame."""
    steps = x.shape[1]
    with no_autocast(x):
        x = x if x.dtype == torch.float64 else x.float()
        finite = x.isfinite().all(2, keepdim=True)
        known = finite.to(x.dtype)
        rate = torch.where(finite, x, 0).clamp_min(0)
        motion = estimate_motion(torch.where(finite, rate, torch.nan).sum(2))
        rate = fill_unknown(rate.flatten(0, 1), known.flatten(0, 1)).unflatten(0, known.shape[:2])
        past = trajectories(motion, max(steps - 1, 1))
        amount, amount_known = [scaled(rate[:, -1])], [known[:, -1]]
        for k in range(steps - 1):  # from the last but one to the first
            amount.insert(0, warp(scaled(rate[:, -2 - k]), past[:, k], "reflection"))
            amount_known.insert(0, warp(known[:, -2 - k], past[:, k]))
        amounts = torch.stack(amount, 1), torch.stack(amount_known, 1)
        return AdvectedFrames(rate[:, -1], known[:, -1], *amounts, motion, trajectories(motion, horizon))


def extrapolate(c: AdvectedFrames, k: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Extrapolates the last frame to lead time number `k`, counted from 0.

    Returns three maps. The first two ``(N, C, H, W)`` are ``log(rate + floor)`` of the advected and of the unmoved last
    frame. The third ``(N, 1, H, W)`` is the smoothed share of pixels whose origin in the last frame is known.
    """
    origins = c.origins[:, k]
    known = smooth(warp(c.known, origins), 9)
    return (warp(c.rate, origins, "reflection") + floor).log(), (c.rate + floor).log(), known


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


def scaled(rate: Tensor) -> Tensor:
    """Converts rain rates in mm/h to a logarithmic scale, ``log(1 + rate / 0.1) / 4``: 0 where dry, 1 at 5.4 mm/h."""
    return (rate / 0.1).log1p() / 4


def detail_maps(amount: Tensor) -> Tensor:
    """Returns summaries ``(N, 7·C, H, W)`` of frames ``(N, T, C, H, W)`` on the scale of :func:`scaled`.

    These are the last frame, the mean of the last two and of all frames, the last frame smoothed over 3×3 and 9×9
    pixels, and its share of wet pixels in 5×5 and 15×15 pixels.
    """
    last, before, mean = amount[:, -1], amount[:, -2:].mean(1), amount.mean(1)
    wet = ((last - 0.35) * 20).sigmoid()  # from 0.3 mm/h on
    return torch.cat([last, before, mean, smooth(last, 3), smooth(last, 9), smooth(wet, 5), smooth(wet, 15)], 1)


def smooth(x: Tensor, size: int) -> Tensor:
    """Returns the mean of the `size`×`size` pixels around each pixel (`size` is odd), without those outside the map."""
    x = F.avg_pool2d(x, (1, size), 1, (0, size // 2), count_include_pad=False)
    return F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)


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
        in_chans, horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`; a channel is a rain rate.
        device, dtype: of the parameters.
    """

    unrolled = True
    default_step = DEFAULT_MINUTES

    def __init__(
        self, in_chans: int = 1, hidden_channels: int | Sequence[int] = (32, 64), horizon: int = 12,
        num_classes: int = 0, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_chans, horizon, PATCH * STRIDE, num_classes)
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

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        layers = {"encoder": r"^(?:encoder|down|coarse_encoder)", "forecaster": r"^(?:coarse_forecaster|up|forecaster)"}
        return {"stem": r"^(?:stem|details)", **layers, "mix": r"^(?:fold|mix|trust|unseen)", "head": r"^head"}

    def forward(self, x: Tensor, horizon: int | None = None, minutes: float = DEFAULT_MINUTES) -> Tensor:
        """Returns rain rates ``(N, horizon, C, H, W)`` in mm/h from ``(N, T, C, H, W)``, for frames `minutes` apart."""
        return self.exceedance(x, horizon, minutes).rates().to(x.dtype)

    def exceedance(
        self, x: Tensor, horizon: int | None = None, minutes: float = DEFAULT_MINUTES,
        steps: Sequence[int] | None = None,
    ) -> Exceedance:  # fmt: skip
        """Returns the logits of reaching each threshold, for all lead times or those in `steps`, counted from 0."""
        minutes = check.number("minutes", minutes, positive=True)
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        dtype, n, length = x.dtype, x.shape[0], x.shape[1]
        c = advect(x, horizon)
        motion, clock = motion_features(c.motion, minutes), lead_time_features(horizon, minutes, c.motion)
        details = self.details(detail_maps(c.amount).to(dtype))

        change = c.amount - c.amount[:, -1:]
        hidden = framewise(self.stem, torch.cat([c.amount, change, c.amount_known], 2).to(dtype).transpose(0, 1))
        fine = F.avg_pool2d(motion, PATCH).to(hidden.dtype)
        hidden, state = self.encoder(torch.cat([hidden, fine.expand(length, *fine.shape)], 2))
        _, low_state = self.coarse_encoder(framewise(self.down, hidden))

        low = F.avg_pool2d(motion, self.reduction)
        low = torch.cat([low.expand(horizon, *low.shape), clock.expand(-1, n, -1, *low.shape[-2:])], 2)
        y, _ = self.coarse_forecaster(low.to(dtype), low_state)
        y = F.interpolate(framewise(self.up, y).flatten(0, 1), scale_factor=STRIDE, mode="bilinear")
        y = y.unflatten(0, (horizon, n))
        y, _ = self.forecaster(torch.cat([y, clock.expand(-1, n, -1, *y.shape[-2:]).to(y.dtype)], 2), state)

        out, steps = [], range(horizon) if steps is None else steps
        for k in steps:
            residual = self.head(F.leaky_relu(self.mix(self.fold(y[k])) + details, NEGATIVE_SLOPE))
            out.append(self.advect_logits(residual, c, k, clock[k].flatten()))
        logits, log_rate = (torch.stack(part, 1) for part in zip(*out, strict=True))
        return Exceedance(logits, c.known[:, None] > 0, log_rate, torch.stack([clock[k, 0, 1, 0, 0] for k in steps]), c)

    def advect_logits(self, residual: Tensor, c: AdvectedFrames, k: int, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ``(N, C, 11, H, W)`` of lead time k, and the log of the extrapolated rate ``(N, C, H, W)``.

        For each of the 11 :data:`THRESHOLDS`, two logits are added. One is computed from the extrapolated rate. The
        other is the network's output `residual` ``(N, 11·C, H, W)``, which this method advects to lead time k. `clock`
        holds the lead-time features.
        """
        with no_autocast(residual):
            moved, still, known = (t.unsqueeze(2) for t in extrapolate(c, k, FLOOR))
            levels = constants(THRESHOLDS, moved).log()[:, None, None]
            slope, decay = (p.to(moved.dtype)[:, None, None] for p in self.trust)
            moved_weight, still_weight, bias = (p.to(moved.dtype)[:, None, None] for p in self.unseen)
            slope = (slope + decay * clock[0].to(moved.dtype)).exp()
            moved_excess, still_excess = moved - levels, still - levels
            unknown = moved_weight * moved_excess + still_weight * still_excess + bias
            logits = slope * (known * moved_excess + (1 - known) * unknown)
            added = warp(residual.to(moved.dtype), c.origins[:, k], "reflection").unflatten(1, (-1, len(THRESHOLDS)))
            maps = list((logits + added).unbind(2))
            for i in range(1, len(THRESHOLDS)):  # a higher threshold is never more likely to be exceeded
                maps[i] = torch.minimum(maps[i], maps[i - 1])
            return torch.stack(maps, 2), moved.squeeze(2)

    def preprocess(self, frames: Tensor) -> Tensor:
        """Returns rain rates ``(…, C, H, W)`` in mm/h unchanged, because the network reads unknown values as NaN."""
        values = self._values()
        if values.encoding != "none" or not is_rain(values.unit):
            got = f"encoding={values.encoding!r}, unit={values.unit!r}"
            raise ValueError(f'model.preprocessing must be Preprocessing(unit="mm/h"), for rain rates, got {got}')
        return frames

    def fixed_arguments(self, horizon: int) -> dict[str, Any]:
        return {"horizon": horizon, "minutes": self._values().step or DEFAULT_MINUTES}

    def _unknown(self, x: Tensor) -> Tensor:
        known = x[:, -1:].isfinite().all(2, keepdim=True)
        if not known.flatten(1).any(1).all():
            raise ValueError("the last frame is entirely unknown: leave it out, and forecast one frame more")
        return ~known

    @torch.no_grad()
    def forecast(  # type: ignore[override]
        self, frames: Any, horizon: int | None = None, *, minutes: float | None = None, pixel_km: float | None = None,
        members: int | None = None, seed: int | None = None, inputs: Inputs = None, batch_size: int = 1,
    ) -> Any:  # fmt: skip
        """Forecasts rain rates in mm/h; NaN where the last frame is unknown.

        Args:
            minutes: time from one frame to the next; by default that of a DataArray, else that of training, else 5.
            pixel_km: edge of a pixel in km; by default that of the coordinates of labelled frames, else that of
                training, else 2. Maps with other pixels than in training are resampled for the network and back.
            members: number of members, the size of the result's first axis; None for one forecast.
            seed: as for :meth:`members`; only valid with `members`.
            …: as for :meth:`convrnn_zoo.Forecaster.forecast`, with frames in mm/h.

        Returns:
            Mean rates. For each threshold of 0.5, 2 and 5 mm/h, they are clamped to exceed it in the pixels that
            :func:`decide` selects, and to stay below it elsewhere. If `members` is set, equally likely rates.

        Example:
            >>> model, radar = ConvGRUAdvection(hidden_channels=(2, 3)), torch.rand(4, 19, 30)
            >>> tuple(model.forecast(radar, horizon=2).shape)
            (2, 19, 30)
            >>> tuple(model.forecast(radar, horizon=2, members=5, seed=0).shape)
            (5, 2, 19, 30)
        """

        def mean_rates(x: Tensor, horizon: int, minutes: float) -> Tensor:  # forward rounds rates close to a threshold
            return self.exceedance(x, horizon, minutes).rates()

        run = self.choose_run(mean_rates, members, seed)
        scales: Any = {"minutes": minutes, "pixel_km": pixel_km}
        return self._in_unit(frames, horizon, inputs, batch_size, self._at_pixels(run), **scales)

    def members(
        self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None,
        minutes: float = DEFAULT_MINUTES,
    ) -> Tensor:  # fmt: skip
        """Returns an ensemble of equally likely rates ``(members, N, horizon, C, H, W)`` in mm/h.

        At each pixel the members are quantiles of the forecast probabilities; a single member is the median. Noise
        decides which member has which quantile. It has the texture of the last frame's rain and moves with the rain.
        All sequences of a batch share their white noise. A `seed` gives the same white noise on any device; without it,
        torch's global generator is used. `minutes` is the time from one frame to the next.

        Raises:
            ValueError: the frames have a wrong shape, `members` is below 1, or `minutes` is not positive.
        """
        count = check.positive_int("members", members)
        generator = None if seed is None else torch.Generator().manual_seed(check.whole_number("seed", seed))
        nowcast, out = self.exceedance(x, horizon, minutes), []
        noises = rain_noise(nowcast.advected.rate, nowcast.advected.origins, minutes, count, generator)
        for logits, noise in zip(nowcast.logits.unbind(1), noises, strict=True):
            out.append(arrange(quantiles(interpolate_probabilities(logits, LEVELS), LEVELS, count), noise))
        return torch.stack(out, 2).to(x.dtype)

    @torch.no_grad()
    def probabilities(
        self, frames: Any, thresholds: Sequence[float], horizon: int | None = None, *, minutes: float | None = None,
        pixel_km: float | None = None, inputs: Inputs = None, batch_size: int = 1,
    ) -> Any:  # fmt: skip
        """Forecasts the probability that rain reaches each of the `thresholds` in mm/h.

        The other arguments are those of :meth:`forecast`. The result has an axis of thresholds before H.

        Raises:
            TypeError, ValueError: `thresholds` is not a list of finite numbers above 0.

        Example:
            >>> model = ConvGRUAdvection(hidden_channels=(2, 3))
            >>> tuple(model.probabilities(torch.rand(4, 19, 30), [0.5, 30.0], horizon=2).shape)
            (2, 2, 19, 30)
        """
        listed = thresholds.tolist() if hasattr(thresholds, "tolist") else thresholds
        if isinstance(listed, str) or not isinstance(listed, Sequence) or not listed:
            raise ValueError(f"thresholds must be a list of rain rates in mm/h, got {check.describe(thresholds)}")
        rates = [check.number(f"thresholds[{i}]", rate, positive=True) for i, rate in enumerate(listed)]

        def run(x: Tensor, horizon: int, minutes: float) -> Tensor:
            return interpolate_probabilities(self.exceedance(x, horizon, minutes).logits, rates)

        options: Any = {"minutes": minutes, "pixel_km": pixel_km, "thresholds": rates}
        return self._in_unit(frames, horizon, inputs, batch_size, self._at_pixels(run), **options)

    def _at_pixels(self, run: ForecastFunction) -> ForecastFunction:
        """Returns a function like `run` for maps with pixels of `pixel_km`; `run` takes maps with those of training.

        Pixels that differ from those of training by less than 2 % are taken as equal.
        """
        trained = self._values().pixel_km or PIXEL_KM

        def resampled(x: Tensor, horizon: int, minutes: float, pixel_km: float | None) -> Tensor:
            ratio = (trained if pixel_km is None else check.number("pixel_km", pixel_km, positive=True)) / trained
            ratio = 1.0 if abs(ratio - 1) < 0.02 else ratio
            size = x.shape[-2:]
            height, width = (max(1, round(edge * ratio)) for edge in size)
            if (height, width) == size:
                return run(x, horizon, minutes=minutes)
            if max(height, width) > MAX_EDGE:
                raise ValueError(
                    f"pixel_km={pixel_km:g} makes {height:,}×{width:,} pixels of {trained:g} km, and {MAX_EDGE:,} is "
                    "the largest edge; pass the edge of a pixel in km"
                )
            edges = (0, -width % self.reduction, 0, -height % self.reduction)
            y = run(F.pad(resample(x, height, width), edges, value=torch.nan), horizon, minutes=minutes)
            return resample(y[..., :height, :width], *size)

        return resampled


@register_model(cfg=FRAME_CFG)
def convgru_advection(pretrained: bool = False, **kwargs: Any) -> ConvGRUAdvection:
    """Rain nowcasts by estimated motion and ConvGRU layers for growth and decay: 504,962 parameters.

    Maps rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to rates ``(N, horizon, C, H, W)``. Height and width
    are multiples of 8; ``forecast`` takes maps of any size and returns ensembles with ``members=20``, and
    ``probabilities`` returns exceedance probabilities.
    Rain is advected as in Ritvanen et al. 2023, https://doi.org/10.1109/JSTARS.2023.3238016, and Zhang et al. 2023,
    https://doi.org/10.1038/s41586-023-06184-4; the layers are those of Ballas et al. 2016,
    https://arxiv.org/abs/1511.06432.

    Args:
        in_chans (1), hidden_channels ((32, 64)), horizon (12).
    """
    return build_model(ConvGRUAdvection, "convgru_advection", pretrained, **kwargs)
