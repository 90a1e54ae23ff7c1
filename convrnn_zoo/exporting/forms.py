"""Creates the specifications of the two forms of an export: complete sequences, and single steps."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ..layers import _checks as check
from .forecasters import autoregressive_step, encoder_forecaster_step, forecaster_sequence, with_min_size
from .graph import check_version
from .images import image_sequence
from .nowcasts import nowcast_sequence
from .recurrent import LayerModel, recurrent_sequence, recurrent_step
from .spec import ExportError, ExportSpec, FrameSize


def make_spec(
    model: Any, form: str, *, state: bool = False, lengths: bool | None = None, mask: bool = False,
    horizon: int | None = None, size: FrameSize | None = None, encoded: bool = False,
) -> ExportSpec:  # fmt: skip
    """Returns the specification of an export in one form. Arguments are those of :func:`convrnn_zoo.export`."""
    owner, is_step = type(model).__name__, form == "step"
    if not hasattr(type(model), "export_forms"):
        hint = "; pass its module" if isinstance(getattr(model, "module", None), nn.Module) else ""
        raise ExportError(f"expected a ConvRNNModel or another model, layer or cell of this package, got {owner}{hint}")
    for module in model.modules():
        detail = getattr(module, "no_export_reason", "")
        if getattr(module, "export_forms", None) == ():
            raise ExportError(f"{owner}{detail} has no export yet; run it in PyTorch")
    forms = model.export_forms
    model = model if hasattr(model, "export_inputs") else LayerModel(model)
    inputs, has_size = model.export_inputs, model.has_frame_encoder or model.unrolled
    end = f"and this is a {owner}; leave it out"
    if size is not None and not has_size:
        raise ExportError(f"size is for models with an image encoder and nowcasts, {end}")
    size = None if size is None else check.ntuple("size", size, 2)
    if mask and "mask" not in inputs:
        raise ExportError(f"mask is for models of image series, {end}")
    if (horizon is not None or encoded) and "horizon" not in inputs:
        raise ExportError(f"{'encoded' if encoded else 'horizon'} is for forecasters, {end}")
    is_learned = any(getattr(m, "learn_initial_state", False) for m in model.modules())
    if (is_step or state) and is_learned:
        raise ExportError(
            "states of files start from zeros, and learn_initial_state is set; export a sequence without state"
        )
    if is_step:
        if lengths or mask:
            raise ExportError("lengths and mask are for the sequence form; leave them out, or take form='sequence'")
        if form not in forms:
            raise ExportError(f"{owner} reads complete sequences and has no step form; export the sequence form")
        if getattr(model, "known_chans", 0):
            raise ExportError("static and future inputs are for the sequence form; export that")
        if model.export_step == "recurrent":
            return recurrent_step(model, size)
        if model.export_step not in FORECASTER_STEPS:
            raise ExportError(
                f"{owner} has no step form; derive it from AutoregressiveForecaster or EncoderForecaster for one"
            )
        return with_min_size(FORECASTER_STEPS[model.export_step](model, horizon, encoded), model)
    check_version()
    if form not in forms:
        raise ExportError(f"a {owner} is a cell and has no sequence form; export a cell in the step form")
    if "horizon" in inputs:
        if state or lengths:
            raise ExportError("a forecaster starts from its input frames: it takes neither a state nor lengths")
        if model.unrolled:
            return nowcast_sequence(model, horizon, size, encoded)
        return with_min_size(forecaster_sequence(model, horizon, encoded), model)
    if "state" in inputs:
        return recurrent_sequence(model, state, lengths, size)
    return image_sequence(model, state, lengths, mask, "lengths" in inputs)


FORECASTER_STEPS: dict[str, Callable[..., ExportSpec]] = {
    "autoregressive": autoregressive_step,
    "encoder_forecaster": encoder_forecaster_step,
}
"""Functions that specify the step form of a forecaster, by its attribute ``export_step``."""


def streaming_form(model: Any, form: str | None, horizon: int | None) -> tuple[str, int | None]:
    """Returns the step form, or the sequence form of a model without one, and the horizon of a forecaster's files."""
    reads_both_ways = any(getattr(module, "num_directions", 1) > 1 for module in model.modules())
    has_step = "step" in getattr(model, "export_forms", ()) and not reads_both_ways
    has_horizon = hasattr(model, "horizon") and not getattr(model, "future_chans", 0)
    if horizon is None and has_horizon:
        horizon = model.horizon
    return form or ("step" if has_step else "sequence"), horizon
