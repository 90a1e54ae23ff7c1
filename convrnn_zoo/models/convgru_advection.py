"""A nowcast of rain: motion carries it, ConvGRU layers let it grow and decay: ``convgru_advection``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2dGRU
from ..layers import _checks as check
from ._blocks import NEGATIVE_SLOPE, Shuffle, Unshuffle, framewise
from ._exceedance import THRESHOLDS, decided_rate
from ._forecasting import FRAME_CFG, Forecaster
from ._registry import register
from .motion import estimate_motion, fill_unknown, full_precision, sample, trajectories

PATCH, STRIDE = 2, 4
"""Pixels of a frame a side that are one of the fine maps, and of these one of the coarse maps."""
MINUTES = 5.0
"""From one frame to the next when the call does not say."""
LEVELS = len(THRESHOLDS)
FLOOR = 0.01
"""In mm/h, what a dry pixel counts as in the logits of extrapolation."""
DETAIL = 8
"""Channels of what the fine layers say of each pixel."""


class Carried(NamedTuple):
    """Frames in coordinates that move with the rain, and what carries the last one on; all in full precision."""

    rate: Tensor
    """Of the last frame ``(N, C, H, W)`` in mm/h; what is unknown is filled in."""
    known: Tensor
    """Of the last frame ``(N, 1, H, W)``."""
    amount: Tensor
    """Of every frame at the last one's place ``(N, T, C, H, W)``, scaled."""
    seen: Tensor
    """Whether that is known ``(N, T, 1, H, W)``."""
    motion: Tensor
    """``(N, 2, H, W)`` in pixels a step."""
    ahead: Tensor
    """Where what is forecast comes from ``(N, horizon, 2, H, W)``."""


class ConvGRUAdvection(Forecaster):
    """Probabilities of rain by motion, and by ConvGRU layers in coordinates that move with the rain.

    The motion of the input frames is estimated, not learned. The frames are carried to the place of the last one, so
    that the recurrent layers see what changes and not what moves: a fine one on patches of 2×2 pixels, which holds
    small showers, and a coarse one on 8×8, which sees what grows and decays around. The forecaster's layers start
    from the encoder's states and are told the lead time. What they make is added to the logits that extrapolation
    alone has, and goes along the motion with it. The weights start near extrapolation.

    Args:
        in_chans: channels of a frame, each a rain rate.
        hidden_channels: of the fine layers and of the coarse ones.
        horizon: frames to forecast when the call does not say.
        num_classes: 0.
        device, dtype: where and as what the parameters are made.

    References:
        Ritvanen, J. et al. (2023). Advection-Free Convolutional Neural Network for Convective Rainfall Nowcasting.
        https://doi.org/10.1109/JSTARS.2023.3238016
        Zhang, Y. et al. (2023). Skilful nowcasting of extreme precipitation with NowcastNet.
        https://doi.org/10.1038/s41586-023-06184-4
        Shi, X. et al. (2015). Convolutional LSTM Network, section 3.3. https://arxiv.org/abs/1506.04214
    """

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (24, 64),
        horizon: int = 12,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, PATCH * STRIDE, num_classes)
        fine, coarse = check.widths("hidden_channels", hidden_channels, num_layers=2)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        told, clock = 5, 2
        self.stem = nn.Sequential(
            Unshuffle(PATCH),
            nn.Conv2d((2 * in_chans + 1) * PATCH**2, fine, 3, padding=1, **made),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )
        self.encoder = Conv2dGRU(fine + told, fine, 3, **made)
        self.down = nn.Sequential(nn.Conv2d(fine, coarse, STRIDE, STRIDE, **made), nn.LeakyReLU(NEGATIVE_SLOPE))
        self.coarse_encoder = Conv2dGRU(coarse, coarse, 3, **made)
        self.coarse_forecaster = Conv2dGRU(told + clock, coarse, 3, **made)
        self.up = nn.Conv2d(coarse, fine, 1, **made)
        self.forecaster = Conv2dGRU(fine + clock, fine, 3, **made)
        self.fold = nn.Sequential(nn.Conv2d(fine, DETAIL * PATCH**2, 1, **made), Shuffle(PATCH))
        self.details = nn.Conv2d(7 * in_chans, 2 * DETAIL, 3, padding=1, **made)
        self.mix = nn.Conv2d(DETAIL, 2 * DETAIL, 3, padding=1, **made)
        self.head = nn.Conv2d(2 * DETAIL, LEVELS * in_chans, 3, padding=1, **made)
        self.trust = nn.Parameter(torch.empty(2, LEVELS, **made))
        self.unseen = nn.Parameter(torch.empty(3, LEVELS, **made))
        self.num_features = 2 * DETAIL
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts near extrapolation, with logits that grow less sure with the lead time."""
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        for parameter, values in ((self.trust, (0.7, -0.5)), (self.unseen, (0.4, 0.3, -0.3))):
            with torch.no_grad():
                parameter.copy_(torch.tensor(values, device=parameter.device)[:, None].expand_as(parameter))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameters by depth, for layer-wise learning rates: frames, encoder, forecaster, head."""
        return {
            "stem": r"^(?:stem|details)",
            "encoder": r"^(?:encoder|down|coarse_encoder)",
            "forecaster": r"^(?:coarse_forecaster|up|forecaster)",
            "head": r"^(?:fold|mix|head|trust|unseen)",
        }

    def forward(self, x: Tensor, horizon: int | None = None, minutes: float = MINUTES) -> Tensor:
        """Rain rates ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``, both in mm/h and of frames `minutes` apart.

        NaN in `x` is what is not known. The rates are the mean of :meth:`exceedance`, made to exceed 0.5, 2 and 5 mm/h
        where a map of rain that hard has the greatest expected CSI; that map is decided on as a whole.
        """
        probabilities, known = self.exceedance(x, horizon, minutes)
        return decided_rate(probabilities, known).to(x.dtype)

    def exceedance(self, x: Tensor, horizon: int | None = None, minutes: float = MINUTES) -> tuple[Tensor, Tensor]:
        """Probabilities ``(N, horizon, C, 11, H, W)`` of exceeding the thresholds; where the last frame is known."""
        logits, known = self.logits(x, horizon, minutes)
        return logits.sigmoid(), known

    def logits(
        self, x: Tensor, horizon: int | None = None, minutes: float = MINUTES, chosen: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The logits of :meth:`exceedance`; of the `chosen` lead times alone, counted from 0, where these are given."""
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        dtype, n, steps = x.dtype, x.shape[0], x.shape[1]
        c = self.carry(x, horizon)
        told, clock = self.told(c.motion, minutes), self.clock(horizon, minutes, c.motion)
        details = self.details(details_of(c.amount).to(dtype))

        change = c.amount - c.amount[:, -1:]
        hidden = framewise(self.stem, torch.cat([c.amount, change, c.seen], 2).to(dtype).transpose(0, 1))
        fine = F.avg_pool2d(told, PATCH).to(hidden.dtype)
        hidden, state = self.encoder(torch.cat([hidden, fine.expand(steps, *fine.shape)], 2))
        _, low_state = self.coarse_encoder(framewise(self.down, hidden))

        low = F.avg_pool2d(told, self.reduction)
        low = torch.cat([low.expand(horizon, *low.shape), clock.expand(-1, n, -1, *low.shape[-2:])], 2)
        y, _ = self.coarse_forecaster(low.to(dtype), low_state)
        y = F.interpolate(framewise(self.up, y).flatten(0, 1), scale_factor=STRIDE, mode="bilinear")
        y = y.unflatten(0, (horizon, n))
        y, _ = self.forecaster(torch.cat([y, clock.expand(-1, n, -1, *y.shape[-2:]).to(y.dtype)], 2), state)

        out = []
        for k in range(horizon) if chosen is None else chosen:
            residual = self.head(F.leaky_relu(self.mix(self.fold(y[k])) + details, NEGATIVE_SLOPE))
            out.append(self.forth(residual, c, k, clock[k].flatten()))
        return torch.stack(out, 1), c.known[:, None] > 0

    def carry(self, x: Tensor, horizon: int) -> Carried:
        """The frames ``(N, T, C, H, W)`` in mm/h carried to the place of the last one."""
        steps = x.shape[1]
        with full_precision(x):
            x = x if x.dtype == torch.float64 else x.float()
            finite = x.isfinite().all(2, keepdim=True)
            known = finite.to(x.dtype)
            motion = estimate_motion(x.clamp_min(0).sum(2))
            rate = torch.where(finite, x, 0).clamp_min(0)
            rate = fill_unknown(rate.flatten(0, 1), known.flatten(0, 1)).unflatten(0, known.shape[:2])
            behind = trajectories(motion, max(steps - 1, 1))
            amount, seen = [scaled(rate[:, -1])], [known[:, -1]]
            for k in range(steps - 1):  # from the last but one to the first
                amount.insert(0, sample(scaled(rate[:, -2 - k]), behind[:, k]))
                seen.insert(0, sample(known[:, -2 - k], behind[:, k], "zeros"))
            ahead = trajectories(motion, horizon)
            return Carried(rate[:, -1], known[:, -1], torch.stack(amount, 1), torch.stack(seen, 1), motion, ahead)

    def forth(self, residual: Tensor, c: Carried, k: int, clock: Tensor) -> Tensor:
        """Logits ``(N, C, 11, H, W)`` of a lead time: of the extrapolated rate, with what the network adds to them."""
        with full_precision(residual):
            there = c.ahead[:, k]
            levels = torch.tensor(THRESHOLDS, device=there.device, dtype=there.dtype).log()[:, None, None]
            moved, still = (
                (rate + FLOOR).log().unsqueeze(2) - levels for rate in (sample(c.rate, there), c.rate)
            )
            came = F.avg_pool2d(sample(c.known, there, "zeros"), 9, 1, 4, count_include_pad=False).unsqueeze(2)
            sure, fade = (p.to(there.dtype)[:, None, None] for p in self.trust)
            blown, stays, bias = (p.to(there.dtype)[:, None, None] for p in self.unseen)
            slope = (sure + fade * clock[0].to(there.dtype)).exp()
            extrapolated = came * moved + (1 - came) * (blown * moved + stays * still + bias)
            added = sample(residual.to(there.dtype), there).unflatten(1, (-1, LEVELS))
            return (slope * extrapolated + added).cummin(2).values

    def told(self, motion: Tensor, minutes: float) -> Tensor:
        """What the layers are told of the motion, ``(N, 5, H, W)``: x, y, speed and divergence in pixels a minute, and
        the minutes of a step in tens."""
        p = F.pad(motion, (1, 1, 1, 1), mode="replicate")
        spread = p[:, :1, 1:-1, 2:] - p[:, :1, 1:-1, :-2] + p[:, 1:, 2:, 1:-1] - p[:, 1:, :-2, 1:-1]
        speed = motion.square().sum(1, keepdim=True).add(1e-6).sqrt()
        pace = torch.full_like(speed, minutes / 10)
        return torch.cat([motion / minutes, speed / minutes, spread * (5 / minutes), pace], 1)

    def clock(self, horizon: int, minutes: float, like: Tensor) -> Tensor:
        """The lead times ``(horizon, 1, 2, 1, 1)``: 1 plus half the logarithm of the hours, and the hours."""
        hours = torch.arange(1, horizon + 1, device=like.device, dtype=like.dtype) * (minutes / 60)
        return torch.stack([1 + hours.log() / 2, hours], 1)[:, None, :, None, None]


def scaled(rate: Tensor) -> Tensor:
    """A rain rate in mm/h on a logarithmic scale: 0 where dry, 1 at 5.4 mm/h."""
    return (rate / 0.1).log1p() / 4


def details_of(amount: Tensor) -> Tensor:
    """Scaled frames ``(N, T, C, H, W)`` to maps ``(N, 7·C, H, W)``: the last two, the mean, and smooth ones."""
    last, before, mean = amount[:, -1], amount[:, -2:].mean(1), amount.mean(1)
    wet = ((last - 0.35) * 20).sigmoid()  # from 0.3 mm/h on

    def smooth(x: Tensor, size: int) -> Tensor:
        return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)

    return torch.cat([last, before, mean, smooth(last, 3), smooth(last, 9), smooth(wet, 5), smooth(wet, 15)], 1)


_DOC = """Rain nowcasts: estimated motion carries the rain, ConvGRU layers let it grow and decay: {count} parameters.

Rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to rates ``(N, horizon, C, H, W)``, height and width multiples of
8; ``forecast`` takes maps of any size, and ``probabilities`` tells how likely a threshold is exceeded. Advection by
semi-Lagrangian extrapolation as Ritvanen et al. 2023, https://doi.org/10.1109/JSTARS.2023.3238016, and Zhang et al. 2023
do, layers of Shi et al. 2015, https://arxiv.org/abs/1506.04214, and Ballas et al. 2016.

Args:
    pretrained: load the weights of the name's tag, or its first.
    in_chans (1), hidden_channels ((24, 64)), horizon (12).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6))
    >>> tuple(model(torch.rand(1, 4, 1, 16, 24), horizon=3, minutes=10).shape)
    (1, 3, 1, 16, 24)
"""

register(__name__, "convgru_advection", ConvGRUAdvection, cfg=FRAME_CFG, doc=_DOC.format(count="473,000"))
