"""Models with one answer for every pixel of an image, or of a series of them."""

import torch
from torch import Tensor

from ..models.bcdunet import BCDUNet
from ..models.utae import ImageSeriesModel
from ._errors import ExportError
from ._layers import Called
from ._plan import BATCH, TIME, Part, Plan, Port, space

ImageModel = ImageSeriesModel | BCDUNet


def plan(model: ImageModel, state: bool, lengths: bool | None, mask: bool) -> Plan:
    """What the sequence form of a model is.

    Raises:
        ExportError: not with these options.
    """
    owner, dtype = type(model).__name__, next(model.parameters()).dtype
    series = isinstance(model, ImageSeriesModel)
    if state:
        raise ExportError(f"a {owner} reads what it is given as a whole, and has no state to take or to give")
    if not series and (lengths or mask):
        raise ExportError(f"a {owner} reads single images, which have no lengths and no mask")
    if lengths and mask:
        raise ExportError("lengths and mask both say which dates there are; ask for one of the two")
    frame = space(2, model.reduction)
    inputs = [Port("input", [BATCH, *[TIME] * series, model.in_chans, *frame], dtype)]
    if mask:
        inputs.append(Port("mask", [BATCH, TIME], torch.bool))
    elif series and lengths is not False:
        inputs.append(Port("lengths", [BATCH], torch.int64))
    outputs = [Port("output", [BATCH, model.num_classes or model.num_features, *frame], dtype)]

    def says(input: Tensor, **dates: Tensor) -> list[Tensor]:
        return [model(input, **dates)]

    return Plan.of_sequence(Part(Called(model), inputs, outputs), says)
