"""Baselines: forecasts without a trained model, for comparison."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._extras import need, need_pyproj, quiet
from ..data import CroppedSequences, Frames
from ..values.preprocessing import Encoding
from ..values.steps import Step, mean_minutes
from ..values.units import is_rain

logger = logging.getLogger(__name__)
Baseline = Callable[[Tensor, int], Tensor]
"""Forecasts frames ``(N, horizon, C, H, W)`` from frames ``(N, T, C, H, W)``, both in the unit of the data."""


def quiet_pysteps(module: str = "") -> Any:
    """Imports pysteps, or its submodule `module`, and suppresses the output of the import.

    Raises:
        ImportError: pysteps or OpenCV is not installed.
    """
    with quiet():
        if importlib.util.find_spec("pyproj"):  # which pysteps imports
            need_pyproj()
        pysteps = need("pysteps", "nowcast")
        need("cv2", "nowcast")
        return importlib.import_module(f"pysteps.{module}") if module else pysteps


def last_frame(inputs: Tensor, horizon: int) -> Tensor:
    """Repeats the last input frame.

    Example:
        >>> last_frame(torch.arange(3.0).reshape(1, 3, 1, 1, 1), 2).flatten().tolist()
        [2.0, 2.0]
    """
    return inputs[:, -1:].expand(-1, horizon, -1, -1, -1)


def zero(inputs: Tensor, horizon: int) -> Tensor:
    """Returns frames of zeros."""
    return torch.zeros_like(inputs[:, :1]).expand(-1, horizon, -1, -1, -1)


def extrapolation(inputs: Tensor, horizon: int) -> Tensor:
    """Extrapolates rain in mm/h with pysteps: the last input frame is moved by the motion of the input frames.

    The motion is estimated by the Lucas-Kanade method, and the advection is semi-Lagrangian, backward in time. Pixels
    whose rain would come from outside the frame keep the value of the last input frame. For these pixels, zero rain
    would have a higher error.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Pulkkinen, S. et al. (2019). Pysteps: an open-source Python library for probabilistic precipitation nowcasting
        (v1.0). https://doi.org/10.5194/gmd-12-4185-2019
    """
    pysteps = quiet_pysteps()
    with quiet():
        find_motion, extrapolate = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method("extrapolation")
        frames = inputs.double().movedim(2, 1).flatten(0, 1).numpy()  # (N·C, T, H, W)
        forecast = torch.stack([torch.from_numpy(extrapolate(x[-1], find_motion(x), horizon)) for x in frames])
    forecast = forecast.unflatten(0, (inputs.shape[0], inputs.shape[2])).movedim(1, 2).to(inputs.dtype)
    return torch.where(forecast.isnan(), last_frame(inputs, horizon), forecast)


class Climatology:
    """Forecasts the mean of the training frames of the same month, day of the year or time of the day, at each pixel.

    Frames at least 27 days apart are averaged by month, those at least a day apart by day, and others by time of day.
    """

    def __init__(self, train: CroppedSequences, test: CroppedSequences, step: Step) -> None:
        minutes, self.test = mean_minutes(step), test
        self.format = "%m" if minutes > 27 * 1440 else "%m-%d" if minutes > 1439 else "%H:%M"
        sums: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        for frames in train.files:
            for i, key in enumerate(self._keys(frames)):
                frame = frames.read(i, i + 1)[0].double()
                known = torch.isfinite(frame)
                sums[key] = sums.get(key, 0) + frame.where(known, 0)
                counts[key] = counts.get(key, 0) + known
        self.means = {key: (sums[key] / counts[key]).float() for key in sums}

    def _keys(self, frames: Frames) -> list[str]:
        keys = [date.strftime(self.format) for date in frames.dates]
        return ["02-28" if key == "02-29" else key for key in keys]  # leap days are rare

    def covers_test(self) -> bool:
        """Returns whether the training frames include all months, days or times of the test frames."""
        return all(key in self.means for frames in self.test.files for key in self._keys(frames))

    def __call__(self, sampled: Tensor, horizon: int) -> Tensor:
        """Returns the forecasts ``(N, horizon, C, H, W)`` of sequences that are sampled by their numbers."""
        forecasts, window = [], self.test.window
        for file, start, top, left in self.test.places[sampled].tolist():
            frames = self.test.files[file]
            first = start - frames.start + self.test.length - horizon
            maps = torch.stack([self.means[key] for key in self._keys(frames.between(first, first + horizon))])
            forecasts.append(maps[..., top : top + window.height, left : left + window.width])
        return torch.stack(forecasts)


def find_climatology(train: Any, test: Any) -> Climatology | None:
    """Returns the climatology of the training split, or None if it is not defined for the test split.

    It needs dated frames of one size in memory, and training frames of all months, days or times of the test split.
    """
    if not (isinstance(train, CroppedSequences) and isinstance(test, CroppedSequences)):
        return None
    files = [*train.files, *test.files]
    step = next((f.step for f in files if f.step), None)
    in_memory = all(f.is_loaded and f.is_dated for f in files)
    if step is None or not in_memory or len({f.size for f in files}) > 1:
        return None
    climatology = Climatology(train, test, step)
    return climatology if climatology.covers_test() else None


def choose_baselines(targets: Sequence[Encoding], sample: Tensor) -> dict[str, Baseline]:
    """Returns the baselines by name: ``"last frame"``, and those that apply to the encodings and units of the targets.

    ``"zero"`` needs targets in mm/h, or targets that have no unit and are not standardized. ``"extrapolation"`` needs
    targets in mm/h, and pysteps. It is tried on the input frames `sample`; without pysteps, a warning is logged.
    """
    baselines: dict[str, Baseline] = {"last frame": last_frame}
    if all(is_rain(t.unit) or (not t.unit and t.encoding != "standardize") for t in targets):
        baselines["zero"] = zero
    if all(is_rain(t.unit) for t in targets):
        try:
            extrapolation(sample, 1)
        except ImportError as e:
            logger.warning("the extrapolation is left out: %s", e)
        else:
            baselines["extrapolation"] = extrapolation
    return baselines
