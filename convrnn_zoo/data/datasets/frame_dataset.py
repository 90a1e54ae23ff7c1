"""Base class of datasets for forecasting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...values.preprocessing import Preprocessing, Variable
from ...values.steps import Step
from ..frames import FLOOR, ROLES, TOP, DataVariable
from ..readers import ReadOptions
from .checks import ValidRange
from .frame_sequences import FrameSequences
from .splits import RecipeDataset
from .variables import encoding_fields

RAIN_THRESHOLDS = (0.5, 2.0, 5.0, 10.0)
"""Default thresholds in mm/h of the scores of rain forecasts."""


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
        """Returns the sequences of ``"train"``, ``"validation"`` or ``"test"``.

        A sequence has `inputs` input frames, then `horizon` frames to forecast. No frame is forecast in two splits.

        Raises:
            FileNotFoundError: the path is None, does not exist, or contains no file of this dataset.
            ValueError: a file is damaged, a unit is not convertible, frame sizes differ, or no sequence is long enough.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement load")

    def load_splits(
        self, path: Path | None, splits: Sequence[str], inputs: int, horizon: int
    ) -> Sequence[FrameSequences]:
        """Returns the sequences of several splits; see :meth:`load`. Datasets in files read each file once for all."""
        return [self.load(path, split, inputs, horizon) for split in splits]

    def ranges(self, units: Sequence[str | None] = ()) -> list[ValidRange]:
        """Returns one valid range for all channels, or one for each variable; `units` are the units in the files."""
        variables = self.all_variables
        if not variables:
            return [ValidRange(self.unit, self.valid_min, self.valid_max)]
        return [
            ValidRange((unit if v.unit is None else v.unit) or "", v.valid_min, v.valid_max, v.name)
            for v, unit in zip(variables, units or [None] * len(variables), strict=True)
        ]

    def preprocessing(
        self, train: FrameSequences | None, inputs: int, horizon: int, activation: str = "none"
    ) -> Preprocessing:
        """Returns the preprocessing of the frames. Mean and standard deviation are computed from `train`.

        Raises:
            ValueError: an encoding is ``"standardize"``, and `train` is None or a channel is constant.
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
        rows = {}
        for i, (v, valid) in enumerate(zip(variables, ranges, strict=True)):
            constants = encoding_fields(v, v.name, mean[i : i + 1], std[i : i + 1])
            rows[v.name] = Variable(name=v.name, unit=valid.unit, **constants)
        roles: dict[str, Any] = {role: tuple(rows[v.name] for v in getattr(self, role)) for role in ROLES}
        return Preprocessing(**roles, **shared)


def mean_and_std(sequences: FrameSequences) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of each channel over 256 sequences, reading eight at a time."""

    def total(change: Any) -> Tensor:
        samples = sequences.fixed_samples(256).split(8)
        parts = (sequences.read(part).double().transpose(0, 2).flatten(1) for part in samples)
        return torch.stack([change(part).sum(1) for part in parts]).sum(0)

    count = total(torch.isfinite)
    mean = total(lambda x: x.nan_to_num(0)) / count
    return mean, (total(lambda x: (x - mean[:, None]).nan_to_num(0).square()) / count).sqrt()
