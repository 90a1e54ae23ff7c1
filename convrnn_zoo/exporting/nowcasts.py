"""Specification of nowcasts, whose files contain the motion estimate and the advection."""

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models.nowcast.decisions import THRESHOLDS
from ..models.nowcast.motion import smooth
from ..models.nowcast.network import MAX_EDGE
from .encoding import SequenceForecast, Units
from .graph import prepare_model
from .spec import BATCH, Axes, ExportError, ExportOptions, ExportSpec, GraphSpec, TensorSpec, Values, space


def nowcast_sequence(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a nowcast with a fixed number of input frames and a fixed horizon."""
    frames = (model.preprocessing.inputs if model.preprocessing else None) or 4
    steps, size = model.check_horizon(options.horizon), options.size
    maps: Axes = [*space(2, model.reduction)]
    if size is not None:
        if any(edge % model.reduction for edge in size):
            raise ExportError(f"size=(height, width) must be multiples of {model.reduction}, got {size}")
        maps = list(size)
    units = Units(model, options.encoded)
    fixed = model.fixed_arguments(steps)
    prepared = prepare_model(model)
    inputs = [TensorSpec("input", [BATCH, frames, model.in_chans, *maps], units.dtype, partial(_rain, units.values))]
    outputs = [TensorSpec("output", [BATCH, steps, model.out_chans, *maps], units.dtype)]
    max_size = dict.fromkeys(("height", "width"), MAX_EDGE // model.reduction)
    # The forecast decides by comparisons where rain occurs, and few pixels determine the motion at the edge of rain, so
    # that rounding may change single pixels: rounding the input once changes some probabilities of a model by 4e-4.
    limits: dict[str, Any] = {"max_size": max_size, "decided": frozenset({"output", "probabilities"})}
    if units.values is None:
        graph = GraphSpec(SequenceForecast(prepared, units, **fixed), inputs, outputs)
        return ExportSpec.for_sequences(
            graph, lambda values: (model(values["input"], **fixed),), metadata=units.metadata, **limits
        )
    probabilities = [BATCH, steps, model.out_chans, len(THRESHOLDS), *maps]
    outputs.append(TensorSpec("probabilities", probabilities, units.dtype))
    graph = GraphSpec(_Nowcast(prepared, units, **fixed), inputs, outputs)

    def reference(values: Values) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            likely = model.probabilities(values["input"], THRESHOLDS, steps, inputs="all")
        return units.forecast(values["input"], steps), likely

    metadata = {**units.metadata, "thresholds": list(THRESHOLDS)}
    return ExportSpec.for_sequences(graph, reference, metadata=metadata, **limits)


def _rain(values: Any, noise: Tensor) -> Tensor:
    """Converts noise to smooth rain rates, with unknown columns if values are in the unit of the data.

    The motion of noise is ill-conditioned.
    """
    rates = 20 * smooth(noise.float().flatten(0, 1), 9).unflatten(0, noise.shape[:2]).clamp_min(0)
    if values is not None:
        rates[..., :2] = torch.nan
    return rates


class _Nowcast(nn.Module):
    """Forecasts mean rates and probabilities; both are NaN where the last frame is unknown.

    They are also NaN for a sequence with a frame without any value: the number of frames is fixed, so that a file can
    neither leave out such a frame nor, without estimating the motion a second time, fill it as `model.forecast` does.
    """

    def __init__(self, model: Any, units: Units, **fixed: Any) -> None:
        super().__init__()
        self.model, self.units, self.fixed = model, units, fixed

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        is_missing = input.isnan().flatten(2).all(2).any(1)
        unknown = self.model.unknown_pixels(input) | is_missing.reshape(-1, 1, 1, 1, 1)
        nowcast = self.model.exceedance(self.units.encode(input), **self.fixed)
        likely = nowcast.probabilities().float().masked_fill(unknown.unsqueeze(3), torch.nan)
        return self.units.decode(nowcast.rates(), unknown), likely
