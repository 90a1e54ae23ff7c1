"""Specification of models of images and of image series."""

from typing import Any

import torch
from torch import Tensor, nn

from .graph import prepare_model
from .spec import BATCH, TIME, ExportError, ExportSpec, GraphSpec, TensorSpec, space


def image_sequence(model: Any, state: bool, lengths: bool | None, mask: bool, is_series: bool) -> ExportSpec:
    """Returns the specification of a model of images, or of image series."""
    owner, dtype = type(model).__name__, next(model.parameters()).dtype
    if state:
        raise ExportError(f"a {owner} reads its input as a whole and has no state")
    if not is_series and (lengths or mask):
        raise ExportError(f"a {owner} reads single images, which have no lengths and no mask")
    if lengths and mask:
        raise ExportError("lengths and mask both select dates; pass one of the two")
    frame = space(2, model.reduction)
    inputs = [TensorSpec("input", [BATCH, *[TIME] * is_series, model.in_chans, *frame], dtype)]
    if mask:
        inputs.append(TensorSpec("mask", [BATCH, TIME], torch.bool))
    elif is_series and lengths is not False:
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
