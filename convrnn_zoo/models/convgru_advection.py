"""A nowcast of rain: motion carries it, ConvGRU layers let it grow and decay: ``convgru_advection``."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2dGRU
from ..layers import _checks as check
from ..pretrained.builder import register
from ..pretrained.preprocessing import Preprocessing
from ._carried import Carried, carry, details_of, extrapolated, lead_times, told_of_motion
from ._exceedance import THRESHOLDS, Exceedance, between
from .base.blocks import NEGATIVE_SLOPE, Shuffle, Unshuffle, framewise
from .base.forecaster import FRAME_CFG, Forecaster, Inputs
from .base.motion import full_precision, sample

PATCH, STRIDE = 2, 4
"""Pixels of a frame a side that are one of the fine maps, and of these one of the coarse maps."""
MINUTES = 5.0
"""From one frame to the next when the call does not say."""
LEVELS = len(THRESHOLDS)
RATES = Preprocessing(unit="mm/h", lowest=0.0, highest=300.0, step=MINUTES, inputs=4, horizon=12)
"""What goes in and comes out: rain rates as they are."""
FLOOR = 0.01
"""In mm/h, what a dry pixel counts as in the logits of extrapolation."""
DETAIL = 8
"""Channels of what the fine layers say of each pixel."""


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
        hidden_channels: int | Sequence[int] = (32, 64),
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
        self.preprocessing = RATES
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
            "mix": r"^(?:fold|mix|trust|unseen)",
            "head": r"^head",
        }

    def forward(self, x: Tensor, horizon: int | None = None, minutes: float = MINUTES) -> Tensor:
        """Rain rates ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``, in mm/h, of frames `minutes` apart.

        NaN in `x` is what is not known. The rates are those of :meth:`forecast`.
        """
        minutes = check.number("minutes", minutes, positive=True)
        return self.exceedance(x, horizon, minutes).rates().to(x.dtype)

    def exceedance(
        self, x: Tensor, horizon: int | None = None, minutes: float = MINUTES, chosen: Sequence[int] | None = None
    ) -> Exceedance:
        """How likely thresholds are exceeded; where given, of the `chosen` lead times alone, counted from 0."""
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        dtype, n, steps = x.dtype, x.shape[0], x.shape[1]
        c = carry(x, horizon)
        told, clock = told_of_motion(c.motion, minutes), lead_times(horizon, minutes, c.motion)
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

        chosen = range(horizon) if chosen is None else chosen
        out = []
        for k in chosen:
            residual = self.head(F.leaky_relu(self.mix(self.fold(y[k])) + details, NEGATIVE_SLOPE))
            out.append(self.forth(residual, c, k, clock[k].flatten()))
        logits, moved = (torch.stack(part, 1) for part in zip(*out, strict=True))
        return Exceedance(logits, c.known[:, None] > 0, moved, clock[list(chosen), 0, 1, 0, 0])

    def forth(self, residual: Tensor, c: Carried, k: int, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(N, C, 11, H, W)`` of a lead time, of the extrapolated rate with what the network adds to them; and
        the logarithm of that rate ``(N, C, H, W)``."""
        with full_precision(residual):
            moved, still, came = (t.unsqueeze(2) for t in extrapolated(c, k, FLOOR))
            levels = torch.tensor(THRESHOLDS, device=moved.device, dtype=moved.dtype).log()[:, None, None]
            sure, fade = (p.to(moved.dtype)[:, None, None] for p in self.trust)
            blown, stays, bias = (p.to(moved.dtype)[:, None, None] for p in self.unseen)
            slope = (sure + fade * clock[0].to(moved.dtype)).exp()
            above, stayed = moved - levels, still - levels
            logits = slope * (came * above + (1 - came) * (blown * above + stays * stayed + bias))
            added = sample(residual.to(moved.dtype), c.ahead[:, k]).unflatten(1, (-1, LEVELS))
            falling = list((logits + added).unbind(2))
            for i in range(1, LEVELS):  # a harder rain is never likelier
                falling[i] = torch.minimum(falling[i], falling[i - 1])
            return torch.stack(falling, 2), moved.squeeze(2)

    def preprocess(self, frames: Tensor) -> Tensor:
        """Returns rain rates ``(…, C, H, W)`` in mm/h as the network takes them: as they are, NaN where unknown."""
        values = self._values()
        if values.encoding != "none" or values.unit != "mm/h":
            raise ValueError(
                f"{type(self).__name__} reads and forecasts rain rates in mm/h as they are; set model.preprocessing to "
                f'Preprocessing(unit="mm/h"), got encoding={values.encoding!r}, unit={values.unit!r}'
            )
        return frames

    def _unknown(self, x: Tensor) -> Tensor:
        known = x[:, -1:].isfinite().all(2, keepdim=True)
        if not known.flatten(1).any(1).all():
            raise ValueError("the last frame is entirely unknown: leave it out, and forecast one frame more")
        return ~known

    @torch.no_grad()
    def forecast(
        self, frames: Any, horizon: int | None = None, *, minutes: float | None = None, inputs: Inputs = None,
        batch_size: int = 1,
    ) -> Any:  # fmt: skip
        """Forecasts rain rates in mm/h; NaN where the last frame is unknown.

        Args:
            frames: ``(T, H, W)``, ``(T, C, H, W)`` or ``(N, T, C, H, W)`` in mm/h, NaN where unknown, of any size: a
                tensor or NumPy array.
            horizon: frames to forecast; the model's own by default.
            minutes: minutes from one frame to the next; by default as in training, or 5.
            inputs: number of frames to read, the latest ones, or ``"all"``; by default as many as in training, 4.
            batch_size: sequences per batch.

        Returns:
            The same with `horizon` in place of T: mean rates, adjusted to exceed 0.5, 2 and 5 mm/h where the map of
            such rain has the greatest expected CSI; that map is chosen for each frame as a whole.

        Example:
            >>> model = ConvGRUAdvection(hidden_channels=(2, 3))
            >>> tuple(model.forecast(torch.rand(4, 19, 30), horizon=2).shape)
            (2, 19, 30)
        """
        minutes = self._minutes(minutes)
        return self._in_unit(frames, horizon, inputs, batch_size, lambda x, horizon: self(x, horizon, minutes))

    @torch.no_grad()
    def probabilities(
        self, frames: Any, thresholds: Sequence[float], horizon: int | None = None, *, minutes: float | None = None,
        inputs: Inputs = None, batch_size: int = 1,
    ) -> Any:  # fmt: skip
        """Forecasts the probability that each threshold, in mm/h, is exceeded.

        The arguments are those of :meth:`forecast`; the result has an axis of thresholds before H.

        Raises:
            TypeError, ValueError: `thresholds` are no list of finite numbers above 0.

        Example:
            >>> model = ConvGRUAdvection(hidden_channels=(2, 3))
            >>> tuple(model.probabilities(torch.rand(4, 19, 30), [0.5, 30.0], horizon=2).shape)
            (2, 2, 19, 30)
        """
        listed = thresholds.tolist() if hasattr(thresholds, "tolist") else thresholds
        if isinstance(listed, str) or not isinstance(listed, Sequence) or not listed:
            raise ValueError(f"thresholds must be a list of rain rates in mm/h, got {check.describe(thresholds)}")
        rates = [check.number(f"thresholds[{i}]", rate, positive=True) for i, rate in enumerate(listed)]
        minutes = self._minutes(minutes)
        return self._in_unit(
            frames, horizon, inputs, batch_size,
            lambda x, horizon: between(self.exceedance(x, horizon, minutes).logits, rates), decode=False, inner=1,
        )  # fmt: skip

    def _minutes(self, minutes: float | None) -> float:
        if minutes is None:
            return self._values().step or MINUTES
        return check.number("minutes", minutes, positive=True)


_DOC = """Rain nowcasts: estimated motion carries the rain, ConvGRU layers let it grow and decay: {count} parameters.

Rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to rates ``(N, horizon, C, H, W)``, height and width
multiples of 8; ``forecast`` takes maps of any size, and ``probabilities`` tells how likely a threshold is exceeded.
Semi-Lagrangian extrapolation carries the rain, as with Ritvanen et al. 2023,
https://doi.org/10.1109/JSTARS.2023.3238016, and Zhang et al. 2023, https://doi.org/10.1038/s41586-023-06184-4; the
layers are those of Ballas et al. 2016, https://arxiv.org/abs/1511.06432.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels ((32, 64)), horizon (12).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6))
    >>> tuple(model(torch.rand(1, 4, 1, 16, 24), horizon=3, minutes=10).shape)
    (1, 3, 1, 16, 24)
"""

register(__name__, "convgru_advection", ConvGRUAdvection, cfg=FRAME_CFG, doc=_DOC.format(count="504,962"))
