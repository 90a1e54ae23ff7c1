"""Conversion of frames between the unit of the data and the values of a forecaster."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .._hints import check_names, warn
from .._typed import JsonObject, field
from .steps import Step

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "sigmoid": torch.sigmoid}
MAX_FRAMES = 10_000
"""Largest number of input frames and of forecast frames."""
SENTINELS = (-99.0, -99.9, -999.0, -999.9, -9999.0, -99999.0, -32768.0, 9999.0, 99999.0, 32767.0, 65535.0)
"""Numbers by which files mark missing values."""
_HEADROOM = 1.2
"""Upper limit of encoded forecasts in the logarithmic encoding, in which `top` is 1."""


def find_marker(values: Tensor, unit: str) -> float | None:
    """Returns a number among known values that marks missing ones, such as -9999 or netCDF's 9.97e36; else None.

    No reflectivity is as low or as high as a marker; of other units, only a value far from the others is one.
    """
    for value in (values.min().item(), values.max().item()) if len(values) else ():
        if 1e15 <= abs(value) < math.inf:
            return value
        if round(value, 1) in SENTINELS:
            others = values[values != value]
            largest = others.abs().max().item() if len(others) else 0.0
            if unit.casefold() == "dbz" or abs(value) > 3 * largest:
                return value
    return None


@dataclass(frozen=True, kw_only=True)
class Encoding(JsonObject):
    """Conversion between values in the unit of the data and values of a network; see :class:`Preprocessing`."""

    json_name: ClassVar = "encoding"
    encoding: Literal["none", "log", "standardize", "dbz"] = "none"
    unit: str = ""
    lowest: float | None = None
    highest: float | None = None
    floor: float | None = field(None, gt=0)
    top: float | None = field(None, gt=0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = field((), gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if None not in (self.lowest, self.highest) and not self.lowest < self.highest:  # type: ignore[operator]
            raise ValueError(f"lowest must be below highest, got {self.lowest} and {self.highest}")
        constants = {"floor": self.floor, "top": self.top, "mean": self.mean, "std": self.std}
        required = {"log": {"floor", "top"}, "standardize": {"mean", "std"}}.get(self.encoding, set())
        if wrong := [k for k, v in constants.items() if (v not in (None, ())) != (k in required)]:
            takes = " and ".join(sorted(required)) or "no constants"
            raise ValueError(f"the encoding {self.encoding!r} takes {takes}; correct {', '.join(wrong)}")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean and std must be as many numbers, got {self.mean} and {self.std}")

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes frames ``(…, C, H, W)`` in the unit of the data; NaN becomes 0, or no rain with ``dbz``."""
        frames = frames if frames.is_floating_point() else frames.float()
        if self.encoding == "log":
            floor, span = self._log
            return (frames.nan_to_num(0).clamp_min(0) / floor).log1p() / span
        if self.encoding == "dbz":
            return (10 * (200.0 * frames.nan_to_num(0).clamp_min(0) ** 1.6 + 1e-16).log10()).clamp(0.0, 60.0) / 30 - 1
        if self.encoding == "standardize":
            frames = (frames - self._constant("mean", frames)) / self._constant("std", frames)
        return frames.nan_to_num(0)

    def decode(self, output: Tensor) -> Tensor:
        """Decodes outputs of the model, ``(…, C, H, W)``, to the unit of the data."""
        if self.encoding == "log":
            floor, span = self._log
            return (output.clamp(0.0, _HEADROOM) * span).expm1() * floor
        if self.encoding == "dbz":
            return (10 ** (3 * (output + 1)) / 200.0) ** (1 / 1.6)
        if self.encoding == "standardize":
            output = output * self._constant("std", output) + self._constant("mean", output)
        # Bounds of one type: torch cannot export a clamp to an int and a float.
        bounds = [None if bound is None else float(bound) for bound in (self.lowest, self.highest)]
        return output if bounds == [None, None] else output.clamp(*bounds)

    @property
    def _log(self) -> tuple[float, float]:
        """Pair of `floor` and ``log(1 + top / floor)``, the two constants of the logarithmic encoding."""
        floor, top = float(self.floor or 0), float(self.top or 0)
        return floor, math.log1p(top / floor)

    def _constant(self, name: str, like: Tensor) -> Tensor:
        values: tuple[float, ...] = getattr(self, name)
        if len(values) > 1:
            _check_channels(like, len(values))
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]

    @property
    def _label(self) -> str:
        return self.unit or "brightness"

    def check(self, frames: Tensor) -> None:
        """Raises ValueError for values that are only NaN, infinite, or markers of missing ones, and for some uint8.

        Bytes are no brightness from 0 to 1.

        Warns of uint8 values for data with a unit, and of values clearly below `lowest` or above `highest`. Such values
        usually have another unit, or mark missing values.
        """
        unit = self._label
        if frames.dtype == torch.uint8 and not self.unit and (self.highest or 256) <= 1:
            raise ValueError("expected brightness from 0 to 1, got bytes; divide them by 255")
        if frames.dtype == torch.uint8 and self.unit:
            warn(f"bytes came for {unit}; if they are counts or brightness, convert them first")
        values = frames.float()
        known = values[~values.isnan()]
        if not known.numel():
            raise ValueError(f"expected values in {unit}, got only NaN; a forecast needs at least one known value")
        low, high = known.min().item(), known.max().item()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"expected finite values in {unit}, got {low:g} to {high:g}; set missing values to NaN")
        if self.unit and (marker := find_marker(known, self.unit)) is not None:
            raise ValueError(f"values of {unit} are {marker:.6g}, which marks missing ones; set these to NaN")
        lowest = -math.inf if self.lowest is None else self.lowest
        highest = math.inf if self.highest is None else self.highest
        slack = 1e-3 * (highest - lowest) if math.isfinite(highest - lowest) else 0.0
        if low < lowest - slack or high > highest + slack:
            expected = f"from {lowest:g} to {highest:g}".replace("-inf", "anything").replace("inf", "anything")
            warn(f"expected {unit} {expected}, got {low:g} to {high:g}; check the unit, and set missing values to NaN")


@dataclass(frozen=True, kw_only=True)
class Variable(Encoding):
    """A variable of the data with its own unit and encoding; `mean` and `std` are tuples of one number."""

    json_name: ClassVar = "variable"
    name: str = field(nonempty=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) > 1:
            raise ValueError(f"mean and std of {self.name} must be one number each, got {len(self.mean)}")

    @property
    def _label(self) -> str:
        return f"{self.name} in {self.unit}" if self.unit else self.name


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Encoding):
    """Encoding of the input frames of a forecaster, and decoding of its outputs.

    The encodings of a value v in the unit of the data:

    | encoding        | encoded value                             | constants                             |
    |-----------------|-------------------------------------------|---------------------------------------|
    | ``none``        | v                                         |                                       |
    | ``log``         | log(1 + v / floor) / log(1 + top / floor) | `floor`, `top` in the unit            |
    | ``standardize`` | (v - mean) / std                          | `mean`, `std`, for all or per channel |
    | ``dbz``         | clip(10 log₁₀(200 v^1.6), 0, 60) / 30 - 1 | none; v is a rain rate in mm/h        |

    The encoding ``dbz`` is that of the model IRENE. It uses the relation of Marshall and Palmer. Missing values (NaN)
    are encoded as 0, but ``dbz`` encodes them as no rain.

    Decoding applies `activation` and then the inverse of the encoding. ``log`` first clips outputs to between 0 and
    1.2, where `top` is encoded as 1. ``dbz`` does not clip outputs, and decodes -1 as 0.0365 mm/h. ``none`` and
    ``standardize`` clip decoded values to between `lowest` and `highest`.

    With `variables`, each channel has its own unit, encoding and bounds. The same fields of this object must then keep
    their defaults.

    Args:
        encoding: name of an encoding in the table.
        unit: unit of the data, such as ``"mm/h"``; ``""`` for brightness.
        step: minutes between frames, ``"month"`` or ``"year"``; None if the frames have no time scale.
        pixel_km: edge of a pixel in km; None if it is unknown or does not matter.
        inputs: number of input frames in training.
        horizon: number of forecast frames in training.
        activation: ``"sigmoid"`` if the outputs of the model are logits.
        lowest, highest: bounds of valid values; None for no bound.
        floor, top, mean, std: constants of the encoding.
        variables: variables of the input channels, in their order; empty if all channels share one encoding.
        targets: names of the variables that the model forecasts, in the order of its outputs; all by default.
        static: variables of the static maps.
        future: variables of the inputs that are known for the forecast frames as well.

    Raises:
        ValueError: a field is out of range; a constant of the encoding is missing, or one of another encoding is set;
            a name occurs twice, or a target is not one of the variables.

    Example:
        >>> rain = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
        >>> rain.encode(torch.tensor([0.0, float("nan"), 100.0])).tolist()
        [0.0, 0.0, 1.0]
        >>> rain.decode(torch.tensor([-0.2, 0.0, 1.0])).round(decimals=3).tolist()
        [0.0, 0.0, 100.0]
        >>> Preprocessing.from_json(rain.to_json()) == rain
        True
        >>> air = Variable(name="t2m", unit="K", encoding="standardize", mean=(280.0,), std=(10.0,))
        >>> weather = Preprocessing(variables=(Variable(name="rain", unit="mm/h"), air), targets=("t2m",))
        >>> weather.encode(torch.full((2, 1, 1), 290.0)).flatten().tolist(), weather.target_channels
        ([290.0, 1.0], [1])
    """

    json_name: ClassVar = "preprocessing"
    step: Step | None = field(None, gt=0)  # noqa: RUF009 (immutable)
    pixel_km: float | None = field(None, gt=0)
    inputs: int | None = field(None, ge=1, le=MAX_FRAMES)
    horizon: int | None = field(None, ge=1, le=MAX_FRAMES)
    activation: Literal["none", "sigmoid"] = "none"
    variables: tuple[Variable, ...] = ()
    targets: tuple[str, ...] = ()
    static: tuple[Variable, ...] = ()
    future: tuple[Variable, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variables and (own := [f.name for f in fields(Encoding) if getattr(self, f.name) != f.default]):
            raise ValueError(f"{', '.join(own)}: each of the variables has its own; set them there")
        names = [v.name for v in (*self.variables, *self.static, *self.future)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variables, static and future must have unique names, got {', '.join(repeated)} twice")
        variables = [v.name for v in self.variables]
        check_names(self.targets, variables, "targets must be names of variables, got {!r}")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets must be unique, got {', '.join(self.targets)}")

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes frames ``(…, C, H, W)`` in the unit of the data; NaN becomes 0, or no rain with ``dbz``."""
        return by_variable(Encoding.encode, self.variables, frames) if self.variables else super().encode(frames)

    def encode_static(self, maps: Tensor) -> Tensor:
        """Encodes static maps ``(…, S, H, W)`` as `static` describes; without `static`, only replaces NaN by 0."""
        return by_variable(Encoding.encode, self.static, maps) if self.static else Encoding().encode(maps)

    def encode_future(self, inputs: Tensor) -> Tensor:
        """Encodes known inputs ``(…, F, H, W)`` as `future` describes; without `future`, only replaces NaN by 0."""
        return by_variable(Encoding.encode, self.future, inputs) if self.future else Encoding().encode(inputs)

    def decode(self, output: Tensor) -> Tensor:
        """Decodes outputs of the model, ``(…, C, H, W)``, to the units of the targets."""
        output = ACTIVATIONS[self.activation](output)
        if self.variables:
            return by_variable(Encoding.decode, self.target_variables, output)
        return super().decode(output)

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """Encodings of the input channels: the variables, or only this object if there are no variables."""
        return self.variables or (self,)

    @property
    def target_channels(self) -> list[int] | None:
        """Indices of the targets among the variables; None without variables."""
        names = [v.name for v in self.variables]
        return [names.index(t) for t in self.targets or names] if names else None

    @property
    def target_variables(self) -> tuple[Encoding, ...]:
        """Encodings of the outputs: the target variables, or only this object if there are no variables."""
        return tuple(self.variables[i] for i in self.target_channels) if self.target_channels else (self,)

    def select_targets(self, frames: Tensor) -> Tensor:
        """Returns the target channels of frames ``(…, C, H, W)``, or all channels if there are no variables."""
        return frames[..., self.target_channels, :, :] if self.variables else frames

    def check(self, frames: Tensor) -> None:
        """Raises ValueError if a variable of frames ``(…, C, H, W)`` is invalid; see :meth:`Variable.check`."""
        if self.variables:
            for variable, values in zip(self.variables, frames.unbind(-3), strict=True):
                variable.check(values)
        else:
            super().check(frames)

    def check_channels(self, in_chans: int, out_chans: int, static_chans: int, future_chans: int) -> None:
        """Raises ValueError unless a model has a channel for each variable, static map, future input and target."""
        for name, variables, channels in (
            ("variables", self.variables, in_chans),
            ("static", self.static, static_chans),
            ("future", self.future, future_chans),
            ("targets", self.target_variables if self.variables else (), out_chans),
        ):
            if variables and len(variables) != channels:
                raise ValueError(f"the preprocessing has {len(variables)} {name}, and the model {channels} channels")
        if len(self.mean) not in (0, 1, in_chans):
            raise ValueError(f"the preprocessing has {len(self.mean)} means, and the model {in_chans} channels")
        if len(self.mean) > 1 and out_chans != in_chans:
            raise ValueError(f"the model reads {in_chans} channels, forecasts {out_chans}: set variables and targets")


def _check_channels(frames: Tensor, count: int) -> None:
    if frames.dim() < 3 or frames.shape[-3] != count:
        raise ValueError(f"expected frames (…, {count}, H, W), got {tuple(frames.shape)}")


def by_variable(
    function: Callable[[Encoding, Tensor], Tensor], variables: Sequence[Encoding], frames: Tensor
) -> Tensor:
    """Applies a function to each variable and its channel of frames ``(…, C, H, W)``, and concatenates the results."""
    _check_channels(frames, len(variables))
    channels = zip(variables, frames.split(1, dim=-3), strict=True)
    return torch.cat([function(variable, values) for variable, values in channels], dim=-3)
