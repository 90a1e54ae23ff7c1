"""Forecast for the frames of a file: its times, errors, figures and output files."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from torch import Tensor

from .._atomic import check_suffix, write_text
from .._stores import find_place
from ..data import Frames
from ..values.labels.times import list_dates, valid_times
from ..values.steps import Step
from ..values.units import format_lead_time, plural
from ..verify import (
    Panels,
    animate,
    ensemble_strip,
    finite,
    probability_strip,
    save_images,
    strip,
)
from .labelled import COORDINATE_SUFFIXES, write_dataset, write_numpy
from .run import ForecastRun, Result

NUMBERS = (".npy", ".npz", ".json", *COORDINATE_SUFFIXES)
"""Suffixes of files of numbers that a forecast can be written to."""
SUFFIXES = (*NUMBERS, ".png", ".gif", ".mp4")
"""Suffixes of files that a forecast can be written to."""


class Forecast(NamedTuple):
    """Forecast for the frames of a file, ``(T, H, W)``, or ``(T, C, H, W)`` for several channels."""

    run: ForecastRun
    """The model, its options and the preprocessing of its frames."""
    file: str
    frames: Frames
    """The frames that the model read, with their times and coordinates."""
    first: int
    """Number of the first input frame in the file."""
    total: int
    """Number of frames in the file."""
    inputs: Tensor
    observed: Tensor | None
    step: Step | None
    notes: tuple[str, ...]
    """What was assumed or left out when the file was read."""
    result: Result

    @property
    def forecast(self) -> Tensor:
        """Frames, of which an ensemble has a first axis of members; or only probabilities, by threshold before H."""
        frames: Any = self.result.probabilities if self.result.forecast is None else self.result.forecast
        return frames

    @property
    def targets(self) -> tuple[Any, ...]:
        """Encodings of the variables of the forecast."""
        return self.run.values.target_variables

    @property
    def unit(self) -> str:
        """Unit of the forecast; ``""`` for targets of several units."""
        units = {v.unit for v in self.targets}
        return units.pop() if len(units) == 1 else ""

    @property
    def times(self) -> list[Any]:
        """Times of the input and the forecast frames; empty if the frames have no dates or no time step."""
        if not self.frames.is_dated or not self.step:
            return []
        return self.frames.dates + list_dates(valid_times(self.frames.times[-1:], self.step, self.run.horizon)[0])

    @property
    def labels(self) -> list[str]:
        """Titles of the input and the forecast frames; without a time step, only the titles that the file has."""
        count = len(self.inputs)
        labels = title_times(self.frames.dates) or list(self.frames.labels)
        if not self.step:
            return labels
        lead_times = [format_lead_time(i + 1 - count, self.step) for i in range(count + self.run.horizon)]
        return (labels[:count] or lead_times[:count]) + lead_times[count:]

    def by_target(self, *frames: Tensor) -> Iterator[tuple[Any, ...]]:
        """Yields the encoding of each target, followed by the channel ``(…, H, W)`` of the target in each of `frames`.

        `frames` are ``(…, H, W)`` for one target, and ``(…, C, H, W)`` for several targets.
        """
        return zip(self.targets, *(x.unbind(-3) if len(self.targets) > 1 else [x] for x in frames), strict=True)

    def errors(self) -> dict[str, dict[str, float]]:
        """Returns the mean squared errors of the forecast and of repeating the last input frame, for each target.

        The outer keys are those of the JSON output, and the inner keys are the names of the targets. The dictionary is
        empty if there are no observations.
        """
        if self.observed is None:
            return {}
        forecast = self.forecast.mean(0) if self.run.members else self.forecast
        methods = {
            "mean_squared_error": forecast[: len(self.observed)],
            "mean_squared_error_of_last_frame": self.inputs[-1],
        }
        return {
            key: {getattr(t, "name", ""): x.nanmean().item() for t, x in self.by_target((y - self.observed).square())}
            for key, y in methods.items()
        }

    def describe(self) -> dict[str, Any]:
        """Returns a description for JSON, without the forecast values; errors of several targets are given by name."""
        count, times = len(self.inputs), [t.isoformat() for t in self.times]
        read: dict[str, Any] = {"first": self.first, "last": self.first + count - 1, "frames_in_file": self.total}
        if times:
            read |= {"first_time": times[0], "last_time": times[count - 1]}
        return {
            "file": self.file,
            "model": self.run.weights,
            "unit": self.unit,
            "step": self.step,
            "inputs": count,
            "read": read,
            "horizon": self.run.horizon,
            "shape": list(self.forecast.shape),
            **({"times": times[count:]} if times else {}),
            **({"thresholds": list(self.run.options.thresholds)} if self.run.options.thresholds else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "observed": 0 if self.observed is None else len(self.observed),
            **{k: finite(e if len(e) > 1 else next(iter(e.values()))) for k, e in self.errors().items()},
        }

    def to_json(self) -> str:
        """Returns the description and the values of the forecast as JSON; unknown values are null."""
        arrays = {k: finite(x.tolist()) for k, x in self._arrays().items()}
        return json.dumps({**self.describe(), **arrays}, ensure_ascii=False)

    def _arrays(self) -> dict[str, Any]:
        """Returns the forecast, and the probabilities next to members, with rows and columns as in the file."""
        arrays = [x for x in (self.result.forecast, self.result.probabilities) if x is not None]
        turned = [axis for name, axis in (("y", -2), ("x", -1)) if name in self.frames.layout.turned]
        return {k: numpy.flip(x.numpy(), turned) for k, x in zip(("forecast", "probabilities"), arrays, strict=False)}

    def write(self, output: Any) -> None:
        """Writes the forecast atomically: as values in the unit of its data, as an image or as an animation.

        An image of an ensemble shows the probability that 1 is reached, if the forecast has no thresholds. Raises
        ValueError if the suffix of the file is not supported.
        """
        output = find_place(output)
        check_suffix(output, SUFFIXES)
        count = len(self.inputs)
        if output.suffix == ".json":
            write_text(output, self.to_json() + "\n")
        elif output.suffix in COORDINATE_SUFFIXES:
            write_dataset(self.run.label(self.result, self.frames, self.step), output)
        elif output.suffix in NUMBERS:
            optional = {
                "labels": self.labels[count : count + self.run.horizon],
                "thresholds": self.run.options.thresholds,
            }
            arrays = self._arrays() | {"unit": self.unit, "step": self.step or math.nan}
            write_numpy(output, arrays | {k: v for k, v in optional.items() if v})
        else:
            save_images(self._plot(output.suffix), output)

    def _heading(self) -> str:
        """Returns the name of the file, without its suffix, and the time of the last input frame."""
        where, dates = Path(self.file).stem, self.frames.dates
        if dates:
            *_, last = title_times(dates)
            return f"{where}, {last if '-' in last else f'{dates[-1]:%Y-%m-%d} {last}'}"
        last = self.labels[len(self.inputs) - 1] if self.frames.labels else ""
        return f"{where}, {last}" if last else where

    def _plot(self, suffix: str) -> list[Any]:
        """Returns one image of all frames, or the images of an animation."""
        values, count, heading = self.run.values, len(self.inputs), self._heading()
        thresholds = self.run.options.thresholds
        if self.run.members:
            truth = self.observed if self.observed is not None and len(self.observed) == self.run.horizon else None
            options: Any = {"truth": truth, "labels": self.labels[count:]}
            heading = f"{heading}, {plural(self.run.members, 'member')}"
            options["threshold"] = thresholds or (1.0,)
            return [ensemble_strip(self.forecast, values, heading=heading, **options)]
        if thresholds:
            return [probability_strip(self.forecast, values, thresholds, self.labels[count:], heading)]
        frames: Any = (self.inputs, self.forecast, self.observed)
        inputs, forecast, truth = (x[:, None] if x is not None and x.dim() == 3 else x for x in frames)
        panels = Panels(inputs, forecast, truth, self.labels)
        if suffix == ".png":
            return [strip(panels, values, heading)]
        images = animate(panels, values, heading)
        # A GIF starts again at its end, and its first frame is what readers see before it plays.
        return images[count:] + images[:count] if suffix == ".gif" else images


def title_times(times: Sequence[Any]) -> list[str]:
    """Returns titles of frames: their dates if they differ by days, else their times, and the date where it changes.

    Example:
        >>> from datetime import datetime
        >>> title_times([datetime(2020, 5, 1, 23, 50), datetime(2020, 5, 1, 23, 55), datetime(2020, 5, 2)])
        ['2020-05-01 23:50', '23:55', '2020-05-02 00:00']
        >>> title_times([datetime(2020, 5, 1), datetime(2020, 5, 2)])
        ['2020-05-01', '2020-05-02']
    """
    days, hours = [f"{t:%Y-%m-%d}" for t in times], [f"{t:%H:%M}" for t in times]
    if len(set(days)) == len(days) > 1 == len(set(hours)):
        return days
    return [hour if i and days[i - 1] == days[i] else f"{days[i]} {hour}" for i, hour in enumerate(hours)]
