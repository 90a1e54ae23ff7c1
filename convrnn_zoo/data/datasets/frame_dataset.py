"""Base class of datasets for forecasting, the channels of their frames, and checks of their values."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import _checks as check
from ...values.preprocessing import Encoding, Preprocessing, Variable, find_marker
from ...values.steps import Step, describe_step, mean_minutes
from ...values.units import is_rain
from ..frames import FLOOR, ROLES, TOP, DataVariable
from ..readers import FileError, Frames, ReadOptions
from .frame_sequences import FrameSequences
from .splits import RecipeDataset

RAIN_THRESHOLDS = (0.5, 2.0, 5.0, 10.0)
"""Default thresholds in mm/h of the scores of rain forecasts."""
WET, WET_STRIDE = 0.1, 7
"""Lowest rain rate in mm/h (or brightness) of a wet pixel. Every seventh wet pixel is checked for values in dBZ."""
MAX_READ = 64
"""Number of equally spaced frames that are checked in a file that is not in memory."""


class FrameDataset(RecipeDataset):
    """Base class of datasets for forecasting. Defines how frames are read and split, and how forecasts are scored."""

    unit: str = ""
    step: Step | None = None
    """Minutes between frames, ``"month"`` or ``"year"``."""
    pixel_km: float | None = None
    """Edge of a pixel in km; None if it is stated by the files, or does not matter."""
    encoding: str = "none"
    floor: float = FLOOR
    top: float = TOP
    valid_min: float | None = None
    valid_max: float | None = None
    thresholds: tuple[float, ...] = ()
    """Lowest values of an event in CSI, POD and FAR; one score for each value."""
    variables: tuple[str | DataVariable, ...] = ()
    """Variables that a model reads, if each channel has its own unit and encoding; see :class:`ArrayFrames`."""
    targets: tuple[str, ...] = ()
    static: tuple[str | DataVariable, ...] = ()
    future: tuple[str | DataVariable, ...] = ()
    summed_over: int | None = None
    """Number of pixels of a frame, if publications report errors summed over the pixels."""

    @property
    def all_variables(self) -> tuple[DataVariable, ...]:
        """The variables in the order of the channels; empty if all channels share one unit and encoding."""
        return tuple(v for role in ROLES for v in getattr(self, role))

    def read_options(self) -> ReadOptions:
        """Returns the options for reading files, in training and in `predict`."""
        return ReadOptions(unit=self.unit)

    def load(self, path: Path | None, split: str, inputs: int, horizon: int) -> FrameSequences:
        """Returns the sequences of one split; see :meth:`load_splits`."""
        check.choice("split", split, ("train", "validation", "test"))
        return self.load_splits(path, [split], inputs, horizon)[0]

    def load_splits(
        self, path: Path | None, splits: Sequence[str], inputs: int, horizon: int
    ) -> Sequence[FrameSequences]:
        """Returns the sequences of each of `splits`, which are ``"train"``, ``"validation"`` or ``"test"``.

        A sequence has `inputs` input frames, then `horizon` frames to forecast. No frame is forecast in two splits.
        Datasets in files read each file once for all splits.

        Raises:
            FileNotFoundError: the path is None, does not exist, or contains no file of this dataset.
            ValueError: a file is damaged, a unit is not convertible, frame sizes differ, or no sequence is long enough.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement load_splits")

    def ranges(self, units: Sequence[str | None] = ()) -> list[Encoding]:
        """Returns unit and valid range of all channels, or of each variable; `units` are the units in the files."""
        variables = self.all_variables
        if not variables:
            return [Encoding(unit=self.unit, lowest=self.valid_min, highest=self.valid_max)]
        return [
            Variable(name=v.name, unit=(u if v.unit is None else v.unit) or "", lowest=v.valid_min, highest=v.valid_max)
            for v, u in zip(variables, units or [None] * len(variables), strict=True)
        ]

    def preprocessing(
        self, train: FrameSequences | None, inputs: int, horizon: int, activation: str = "none"
    ) -> Preprocessing:
        """Returns the preprocessing of the frames. Mean and standard deviation are computed from `train`.

        Raises ValueError if an encoding is ``"standardize"``, and `train` is None or a channel is constant.
        """
        variables, mean, std = self.all_variables, [], []
        stated = (f.pixel_km for f in getattr(train, "files", []))
        pixel_km = self.pixel_km or next((round(p, 4) for p in stated if p), None)
        if any(source.encoding == "standardize" for source in variables or (self,)):
            if train is None:
                raise ValueError(f"{self.title}: mean and std are computed from the training split; pass it")
            mean, std = (x.tolist() for x in mean_and_std(train))
        shared: dict[str, Any] = {
            "step": self.step,
            "pixel_km": pixel_km,
            "inputs": inputs,
            "horizon": horizon,
            "activation": activation,
            "targets": self.targets,
        }
        if not variables:
            return Preprocessing(unit=self.unit, **encoding_fields(self, self.title, mean, std), **shared)
        if mean and len(mean) != len(variables):
            names = ", ".join(v.name for v in variables)
            raise ValueError(f"{self.title}: expected {len(variables)} channels ({names}), got {len(mean)}")
        ranges = self.ranges(next((f.units for f in getattr(train, "files", [])), ()))
        rows = {
            v.name: Variable(name=v.name, unit=r.unit, **encoding_fields(v, v.name, mean[i : i + 1], std[i : i + 1]))
            for i, (v, r) in enumerate(zip(variables, ranges, strict=True))
        }
        shared |= {role: tuple(rows[v.name] for v in getattr(self, role)) for role in ROLES}
        return Preprocessing(**shared)


def mean_and_std(sequences: FrameSequences) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of each channel over 256 sequences, reading eight at a time."""

    def total(change: Any) -> Tensor:
        samples = sequences.fixed_samples(256).split(8)
        parts = (sequences.read(part).double().transpose(0, 2).flatten(1) for part in samples)
        return torch.stack([change(part).sum(1) for part in parts]).sum(0)

    count = total(torch.isfinite)
    mean = total(lambda x: x.nan_to_num(0)) / count
    return mean, (total(lambda x: (x - mean[:, None]).nan_to_num(0).square()) / count).sqrt()


# ---- channels ----------------------------------------------------------------------------------------------------
def encoding_fields(source: Any, name: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Returns the preprocessing fields that describe the encoding of `source`, a :class:`DataVariable` or a dataset.

    `mean` and `std` are the statistics of the channels in the training split. `name` appears in error messages.
    """
    fields = {"encoding": source.encoding, "lowest": source.valid_min, "highest": source.valid_max}
    if source.encoding == "log":
        lowest = 0.0 if source.valid_min is None else source.valid_min
        return fields | {"floor": source.floor, "top": source.top, "lowest": lowest}
    if source.encoding == "standardize":
        if not all(s > 0 for s in std):
            raise ValueError(f'{name} is constant in the training split; use encoding = "none", or leave it out')
        return fields | {"mean": tuple(mean), "std": tuple(std)}
    return fields


def split_channels(frames: Tensor, values: Preprocessing | None) -> tuple[Tensor, dict[str, Any]]:
    """Splits the channels of frames into observed variables ``(…, T, V, H, W)`` and a dictionary of the known inputs.

    These are the maps `static` ``(…, S, H, W)`` and the inputs `future` ``(…, T, F, H, W)``, which are also known at
    the times to forecast, if there are any.

    Args:
        frames: ``(…, T, C, H, W)``, whose channels are the variables, then the future inputs, then the static maps.
        values: preprocessing that lists the variables of each role. If it lists none, all channels are observed.

    Example:
        >>> import torch
        >>> from convrnn_zoo import Variable
        >>> values = Preprocessing(variables=(Variable(name="rain"),), static=(Variable(name="elevation"),))
        >>> observed, known = split_channels(torch.zeros(2, 5, 2, 8, 8), values)
        >>> tuple(observed.shape), {name: tuple(x.shape) for name, x in known.items()}
        ((2, 5, 1, 8, 8), {'static': (2, 1, 8, 8)})
    """
    if values is None or not values.variables:
        return frames, {}
    names = [v.name for v in (*values.variables, *values.future, *values.static)]
    if frames.shape[-3] != len(names):
        raise ValueError(f"expected {len(names)} channels ({', '.join(names)}), got {frames.shape[-3]}")
    observed, future, static = frames.split([len(values.variables), len(values.future), len(values.static)], dim=-3)
    known = {"static": static.select(-4, 0)} if values.static else {}
    return observed, known | ({"future": future} if values.future else {})


def variable_options(values: Preprocessing, options: ReadOptions) -> dict[str, Any]:
    """Returns fields of :class:`ReadOptions` with the variables of a model and the fill values in `options`."""
    fills = {v.name: v.fill_value for v in options.all_variables}
    return {
        role: tuple(
            DataVariable(name=v.name, unit=v.unit or None, fill_value=fills.get(v.name)) for v in getattr(values, role)
        )
        for role in ROLES
    }


# ---- checks --------------------------------------------------------------------------------------------------------
def check_values(parts: Iterable[Tensor], name: object, ranges: Sequence[Encoding]) -> None:
    """Raises FileError if values cannot be in their unit. The message names the key of ``[data]`` to correct.

    `parts` are tensors of frames ``(T, C, H, W)``, NaN where values are missing. `ranges` has one item for each
    channel, or one for all. Rain rates are also rejected if they look like dBZ, unless their range has a `highest`.
    """
    wet: list[list[Tensor]] = [[] for _ in ranges]
    labels = [f"{name}: {r.name}" if isinstance(r, Variable) else str(name) for r in ranges]
    for part in parts:
        for i, valid in enumerate(ranges):
            values = part[:, i] if len(ranges) > 1 else part
            _check_range(values, labels[i], valid)
            if is_rain(valid.unit) and valid.highest is None:
                wet[i].append(values[values > WET][::WET_STRIDE])
    for label, rates in zip(labels, wet, strict=True):
        rain = torch.cat([torch.empty(0), *rates])
        if len(rain) and rain.median() >= 10 and 20 < rain.max() <= 80:
            reason = f"half of the wet values exceed {rain.median():g}, as those in dBZ do"
            raise FileError(f"{label}: {reason}; convert them, correct data.unit, or set data.valid_max of rain rates")


def check_files(files: Sequence[Frames], ranges: Sequence[Encoding]) -> None:
    """Applies :func:`check_values` to all frames in memory, and to :data:`MAX_READ` frames of each file on disk."""
    for frames in files:
        starts: Sequence[int] = range(0, len(frames), MAX_READ)
        count = MAX_READ
        if not frames.is_loaded:  # the first and the last frame are among those that are read
            numbers = torch.linspace(0, len(frames) - 1, min(MAX_READ, len(frames)), dtype=torch.float64)
            starts, count = numbers.long().tolist(), 1
        check_values((frames.read(t, t + count) for t in starts), frames.path, ranges)


def check_steps(files: Sequence[Frames], step: Step | None) -> None:
    """Raises FileError if files state different steps of time and there is no `step` of the recipe to compare with.

    The minutes of the most frequent steps may differ by 15 %, since months have 28 to 31 days.
    """
    stated = [f for f in files if f.step] if step is None else []
    for frames in stated[1:]:
        steps = [f.step or 0.0 for f in (stated[0], frames)]
        first, other = map(mean_minutes, steps)
        if not first / 1.15 < other < first * 1.15:
            words = list(map(describe_step, steps))
            raise FileError(
                f"{stated[0].path} has a step of {words[0]}, and {frames.path} of {words[1]}; set data.step in the "
                "recipe, and leave out the files with another step"
            )


def _check_range(values: Tensor, name: str, valid: Encoding) -> None:
    """Raises FileError if values are infinite, out of the valid range, or look like markers of missing values."""
    unit, valid_min, valid_max = valid.unit, valid.lowest, valid.highest
    values = values[~values.isnan()]
    if not len(values):
        return
    low, high = values.min().item(), values.max().item()
    summary = f"{name}: values from {low:g} to {high:g}"
    if math.isinf(low) or math.isinf(high):
        raise FileError(f"{summary}, expected finite ones; replace infinite values by NaN")
    if (value := find_marker(values, unit)) is not None:
        raise FileError(
            f"{summary}; write data.fill_value = {value:.9g}, or the number that the file stores for it, if it "
            "marks missing values, or correct them"
        )
    rain = is_rain(unit)
    valid_min = 0.0 if rain and valid_min is None else valid_min
    span = 0.0 if valid_min is None or valid_max is None else valid_max - valid_min
    fix = "or set data.fill_value if it marks missing values"
    if valid_min is not None and low < valid_min - (1e-2 if rain else max(0.1 * span, 1e-2)):
        hint = "convert dBZ to mm/h, or state data.unit" if rain else "correct data.valid_min or data.unit"
        raise FileError(f"{summary}, and data.unit = {unit!r} expects {valid_min:g} or more; {hint}, {fix}")
    if valid_max is not None and high > valid_max + max(0.1 * span, 1e-2 * abs(valid_max)):
        raise FileError(f"{summary}, above data.valid_max = {valid_max:g}; correct it or data.unit, {fix}")
