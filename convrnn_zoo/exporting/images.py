"""Specification of models of images and of image series."""

from typing import Any

import torch
from torch import Tensor, nn

from ..models.utae import ImageSeriesModel
from .graph import prepare_model
from .spec import BATCH, TIME, ExportOptions, ExportSpec, GraphSpec, TensorSpec, space


def image_sequence(model: Any, options: ExportOptions) -> ExportSpec:
    """Returns the specification of a model of images, or of image series."""
    dtype, is_series = next(model.parameters()).dtype, isinstance(model, ImageSeriesModel)
    frame = space(2, model.reduction)
    inputs = [TensorSpec("input", [BATCH, *[TIME] * is_series, model.in_chans, *frame], dtype)]
    if options.mask:
        inputs.append(TensorSpec("mask", [BATCH, TIME], torch.bool))
    elif is_series and options.lengths is not False:
        inputs.append(TensorSpec("lengths", [BATCH], torch.int64))
    outputs = [TensorSpec("output", [BATCH, model.num_classes or model.num_features, *frame], dtype)]
    graph, call = GraphSpec(_Call(prepare_model(model)), inputs, outputs), _Call(model)
    return ExportSpec.for_sequences(graph, lambda values: call(**values))


class _Call(nn.Module):
    """Calls a model with its inputs by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: Tensor, **inputs: Tensor) -> tuple[Tensor]:
        return (self.model(input, **inputs),)
