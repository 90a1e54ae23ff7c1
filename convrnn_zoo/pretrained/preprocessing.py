"""Conversion of frames between the unit of the data and the values of a forecaster."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._hints import suggest
from ..layers import _checks as check
from .typed import Entries, check_number

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "sigmoid": torch.sigmoid}
_NO_ECHO = 1e-16
"""Added to the argument of a logarithm."""
_HEADROOM = 1.2
"""Upper limit of forecasts, relative to `top`, in the logarithmic encoding."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Entries):
    """Encoding of the frames that a forecaster was trained on, and the meaning of its outputs.

    The encodings of a value v in the unit of the data:

    ===============  ==========================================  ===================================
    encoding         value of the model                          constants
    ===============  ==========================================  ===================================
    ``none``         v
    ``log``          log(1 + v / floor) / log(1 + top / floor)   `floor`, `top` in the unit
    ``standardize``  (v - mean) / std                            `mean`, `std`, of one or each channel
    ``dbz``          clip(10 log₁₀(200 v^1.6), 0, 60) / 30 - 1   none; v is a rain rate in mm/h
    ===============  ==========================================  ===================================

    Missing values (NaN) are encoded as 0, and with ``dbz`` as no rain. Decoding applies `activation` and then the
    inverse. With ``log``, values are limited to between 0 and a little above `top`. With ``dbz``, which is IRENE's
    reflectivity by the relation of Marshall and Palmer, nothing is limited, and -1 is decoded as 0.0365 mm/h.
    Otherwise values are limited to between `lowest` and `highest`.

    Args:
        encoding: one of the table.
        unit: unit of the data, such as ``"mm/h"``; ``""`` for brightness.
        step: minutes between frames; None if time has no meaning.
        inputs: number of input frames in training.
        horizon: number of forecast frames in training.
        activation: ``"sigmoid"`` if the outputs of the model are logits.
        lowest, highest: bounds of valid values; None for no bound.
        floor, top, mean, std: constants of the encoding.

    Raises:
        ValueError: a field is out of range, or a constant is missing or not one of the encoding.

    Example:
        >>> rain = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
        >>> rain.encode(torch.tensor([0.0, float("nan"), 100.0])).tolist()
        [0.0, 0.0, 1.0]
        >>> rain.decode(torch.tensor([-0.2, 0.0, 1.0])).round(decimals=3).tolist()
        [0.0, 0.0, 100.0]
        >>> Preprocessing.from_json(rain.to_json()) == rain
        True
    """

    json_name: ClassVar = "preprocessing"
    encoding: Literal["none", "log", "standardize", "dbz"] = "none"
    unit: str = ""
    step: float | None = None
    inputs: int | None = None
    horizon: int | None = None
    activation: Literal["none", "sigmoid"] = "none"
    lowest: float | None = None
    highest: float | None = None
    floor: float | None = None
    top: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("encoding", self.encoding, ("none", "log", "standardize", "dbz")),
            ("activation", self.activation, tuple(ACTIVATIONS)),
        ):
            if value not in valid:
                raise ValueError(f"{name} must be one of {', '.join(valid)}, got {value!r}; {suggest(value, valid)}")
        for name in ("inputs", "horizon"):
            if getattr(self, name) is not None:
                check.positive_int(name, getattr(self, name))
        for name in ("step", "floor", "top", "lowest", "highest"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, positive=name in ("step", "floor", "top"))
        if None not in (self.lowest, self.highest) and not self.lowest < self.highest:  # type: ignore[operator]
            raise ValueError(f"lowest must be below highest, got {self.lowest} and {self.highest}")
        constants = {"floor": self.floor, "top": self.top, "mean": self.mean, "std": self.std}
        required = {"log": {"floor", "top"}, "standardize": {"mean", "std"}}.get(self.encoding, set())
        if wrong := [k for k, v in constants.items() if (v not in (None, ())) != (k in required)]:
            takes = " and ".join(sorted(required)) or "no constants"
            raise ValueError(f"the encoding {self.encoding!r} takes {takes}; correct {', '.join(wrong)}")
        if len(self.mean) != len(self.std) or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"mean and std must be finite numbers, as many of each, got {self.mean} and {self.std}")
        if any(s <= 0 for s in self.std):
            raise ValueError(f"std must be above 0, got {self.std}")

    # ---- encoding ----------------------------------------------------------------------------------------------
    def encode(self, frames: Tensor) -> Tensor:
        """Encodes frames ``(…, C, H, W)`` in the unit of the data; missing values (NaN) become 0."""
        if self.encoding == "log":
            floor, span = self._log
            return (frames.nan_to_num(0).clamp_min(0) / floor).log1p() / span
        if self.encoding == "dbz":
            reflectivity = 10 * (200 * frames.nan_to_num(0).clamp_min(0) ** 1.6 + _NO_ECHO).log10()
            return reflectivity.clamp(0, 60) / 30 - 1
        if self.encoding == "standardize":
            frames = (frames - self._constant("mean", frames)) / self._constant("std", frames)
        return frames.nan_to_num(0)

    def decode(self, output: Tensor) -> Tensor:
        """Decodes outputs of the model, ``(…, C, H, W)``, to the unit of the data."""
        output = ACTIVATIONS[self.activation](output)
        if self.encoding == "log":
            floor, span = self._log
            return (output.clamp(0, _HEADROOM) * span).expm1() * floor
        if self.encoding == "dbz":
            return (10 ** (3 * (output + 1)) / 200) ** (1 / 1.6)
        if self.encoding == "standardize":
            output = output * self._constant("std", output) + self._constant("mean", output)
        bounded = self.lowest is not None or self.highest is not None
        return output.clamp(self.lowest, self.highest) if bounded else output

    @property
    def _log(self) -> tuple[float, float]:
        """The floor, and the logarithm of the top."""
        floor, top = float(self.floor or 0), float(self.top or 0)
        return floor, math.log1p(top / floor)

    def _constant(self, name: str, like: Tensor) -> Tensor:
        return torch.tensor(getattr(self, name), dtype=like.dtype, device=like.device)[:, None, None]

    @property
    def brightest(self) -> float:
        """Value of the data, in its unit, that figures show as the brightest and PSNR uses as the peak."""
        if self.encoding == "log":
            return float(self.top)  # type: ignore[arg-type]
        if self.highest is not None:
            return self.highest
        if self.encoding == "dbz":
            return 100.0
        return max((m + 3 * s for m, s in zip(self.mean, self.std, strict=True)), default=1.0)

    # ---- checks ------------------------------------------------------------------------------------------------
    def check(self, frames: Tensor) -> None:
        """Checks that frames are plausible values in the unit of the data.

        Values beyond `lowest` and `highest`, and bytes if the data have a unit, raise a warning: they usually have
        another unit, or mark missing values.

        Raises:
            ValueError: all values are missing, one is infinite, or bytes were passed for brightness from 0 to 1.
        """
        unit = self.unit or "brightness"
        if frames.dtype == torch.uint8 and not self.unit and (self.highest or 256) <= 1:
            raise ValueError("expected brightness from 0 to 1, got bytes; divide them by 255")
        if frames.dtype == torch.uint8 and self.unit:
            warnings.warn(f"bytes came for {unit}; if they are counts or brightness, convert them first", stacklevel=3)
        values = frames.float()
        known = values[~values.isnan()]
        if not known.numel():
            raise ValueError(f"expected values in {unit}, got only NaN; a forecast needs at least one known value")
        low, high = known.min().item(), known.max().item()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"expected finite values in {unit}, got {low:g} to {high:g}; set missing values to NaN")
        lowest, highest = (-math.inf if b is None else b for b in (self.lowest, self.highest))
        highest = math.inf if self.highest is None else highest
        slack = 1e-3 * (highest - lowest) if math.isfinite(highest - lowest) else 0.0
        if low < lowest - slack or high > highest + slack:
            expected = f"from {lowest:g} to {highest:g}".replace("-inf", "anything").replace("inf", "anything")
            warnings.warn(
                f"expected {unit} {expected}, got values from {low:g} to {high:g}; check the unit, and set "
                "missing values to NaN",
                stacklevel=3,
            )
