"""Conversion between the unit of the data and the values of a forecaster, inside exported files."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models import Forecaster
from ..values.preprocessing import Encoding, Variable, by_variable
from .spec import BATCH, Axes, Axis, ExportError, TensorSpec


class Units:
    """Encodes the inputs of a forecaster's files and decodes their outputs, as :meth:`Forecaster.forecast` does.

    Without preprocessing, and with `encoded`, inputs and outputs are the values of the network.
    """

    def __init__(self, model: Forecaster, encoded: bool) -> None:
        self.model, self.values = model, None if encoded else model.preprocessing
        self.net_dtype = next(model.parameters()).dtype
        self.dtype = self.net_dtype if self.values is None else torch.float32
        if self.values is not None:
            try:
                self.values.check_channels(model.in_chans, model.out_chans, model.static_chans, model.future_chans)
            except ValueError as e:
                raise ExportError(f"{e}; correct model.preprocessing, or pass encoded=True") from e

    # ---- tensors of the graph ----------------------------------------------------------------------------------
    def encode(self, frames: Tensor) -> Tensor:
        """Encodes frames ``(…, C, H, W)``."""
        return frames if self.values is None else self.model.preprocess(frames).to(self.net_dtype)

    def encode_known(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encodes the static and the future inputs among the inputs of a file."""
        known = {name: inputs[name] for name in ("static", "future") if name in inputs}
        if self.values is None:
            return known
        return {name: getattr(self.values, f"encode_{name}")(x).to(self.net_dtype) for name, x in known.items()}

    def decode(self, frames: Tensor, unknown: Tensor) -> Tensor:
        """Decodes outputs of the network; the result is NaN in `unknown` pixels."""
        return frames if self.values is None else self.values.decode(frames.float()).masked_fill(unknown, torch.nan)

    # ---- specifications ----------------------------------------------------------------------------------------
    def input(self, name: str, axes: Axes) -> TensorSpec:
        """Returns the specification of an input of frames or maps, whose samples are in the unit of the data."""
        if self.values is None:
            return TensorSpec(name, axes, self.dtype)
        variables: Any = self.values.variables if name == "input" else getattr(self.values, name)
        encoding = self.values if name == "input" else Encoding()
        return TensorSpec(name, axes, self.dtype, partial(_in_unit, encoding, variables))

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata that state whether inputs and outputs are in the unit of the data."""
        if self.model.preprocessing is None:
            return {}
        return {"values": "encoded" if self.values is None else "in the unit of the data, NaN where unknown"}

    def forecast(self, frames: Tensor, horizon: int, **known: Tensor) -> Tensor:
        """Returns the model's forecast in the unit of the files."""
        if self.values is None:
            return self.model(frames, horizon=horizon, **known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # random frames have values out of the expected range
            options: Any = {"inputs": "all", **known}
            return self.model.forecast(frames, horizon, **options)


def _in_unit(encoding: Encoding, variables: tuple[Variable, ...], noise: Tensor) -> Tensor:
    """Converts noise to values in the unit of the data, of which some are NaN, a corner of the map in all frames."""
    noise = noise.float()
    values = by_variable(Encoding.decode, variables, noise) if variables else Encoding.decode(encoding, noise)
    hidden = torch.rand(values.shape, generator=torch.Generator().manual_seed(values.numel())) < 0.1
    hidden[..., 0, 0] = True
    return values.masked_fill(hidden, torch.nan)


class Seen:
    """State of the step form that marks the pixels with a value in a frame so far; none for encoded values."""

    def __init__(self, units: Units, axes: Axes) -> None:
        self.units = units
        self.axes: dict[str, Axes] = {} if units.values is None else {"seen": axes}

    def update(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the next state from the input frame and the state among the inputs of a file."""
        if not self.axes:
            return []
        return [torch.maximum(inputs["seen_in"], (~inputs["input"].isnan()).to(inputs["seen_in"].dtype))]

    def decode(self, frames: Tensor, seen: list[Tensor]) -> Tensor:
        """Decodes forecasts ``(N, C, H, W)`` or ``(N, horizon, C, H, W)``; NaN in pixels that were never seen."""
        if not seen:
            return frames
        unknown = self.units.model.unknown_targets(seen[0] == 0)
        return self.units.decode(frames, unknown if frames.dim() == 4 else unknown.unsqueeze(1))


class SequenceForecast(nn.Module):
    """Forecasts from complete sequences, in the unit of the file."""

    def __init__(self, model: Any, units: Units, **fixed: Any) -> None:
        super().__init__()
        self.model, self.units, self.fixed = model, units, fixed

    def forward(self, input: Tensor, **inputs: Any) -> tuple[Tensor, ...]:
        """Returns the outputs of the file; `fixed` are arguments of the model that are not inputs of the graph."""
        known = self.units.encode_known(inputs)
        horizon = inputs["future"].shape[1] - input.shape[1] if "future" in inputs else inputs.get("horizon")
        fixed = self.fixed if horizon is None else {"horizon": horizon}
        forecast = self.model(self.units.encode(input), **fixed, **known)
        if self.units.values is None:
            return (forecast,)
        return (self.units.decode(forecast, self.model.unknown_pixels(input)),)


def known_specs(units: Units, maps: Axes) -> list[TensorSpec]:
    """Returns the specifications of the static and of the future inputs of a forecaster."""
    model, specs = units.model, []
    if model.static_chans:
        specs.append(units.input("static", [BATCH, model.static_chans, *maps]))
    if model.future_chans:
        every = Axis("time+horizon", "time", plus="horizon", inferred=True)
        specs.append(units.input("future", [BATCH, every, model.future_chans, *maps]))
    return specs
