"""Models with one answer for every pixel of an image, or of a series of them."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..models._sequences import valid_steps
from ..models._series import ImageSeriesModel
from ..models.bcdunet import BCDUNet
from ._errors import ExportError
from ._layers import loops_in_graph
from ._plan import BATCH, TIME, Part, Plan, Port, Run, Sizes, Tried, space

ImageModel = ImageSeriesModel | BCDUNet


class _Images(nn.Module):
    """The model, with the loops of its layers in the graph."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model: Any = loops_in_graph(copy.deepcopy(model))

    def forward(self, **inputs: Tensor) -> tuple[Tensor]:
        return (self.model(inputs["input"], **{k: v for k, v in inputs.items() if k != "input"}),)


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
    inputs = [Port("input", [BATCH, *([TIME] if series else []), model.in_chans, *frame], dtype)]
    if mask:
        inputs.append(Port("mask", [BATCH, TIME], torch.bool))
    elif series and lengths is not False:
        inputs.append(Port("lengths", [BATCH], torch.int64))
    outputs = [Port("output", [BATCH, model.num_classes or model.num_features, *frame], dtype)]

    def trial(runs: Mapping[str, Run], sizes: Sizes) -> Iterator[Tried]:
        given = {p.name: p.draw(sizes, i) for i, p in enumerate(inputs)}
        for port in inputs[1:]:  # dates that are missing must never be read
            given["input"] = torch.where(valid_steps(given["input"], given[port.name]), given["input"], 1e4)
        rest = {p.name: given[p.name] for p in inputs[1:]}
        yield "output", runs[""](given)["output"], model(given["input"], **rest)

    return Plan({"": Part(_Images(model), inputs, outputs)}, trial)
