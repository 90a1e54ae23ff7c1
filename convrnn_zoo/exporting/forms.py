"""What can be exported, by class, and the specification of an export in one form."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from .. import _checks as check
from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import e3d_lstm, earthnet, mau, mim, phydnet, predrnn, utae
from ..models.base import (
    AutoregressiveForecaster,
    Classifier,
    DenseModel,
    EncoderForecaster,
    EnsembleForecaster,
    Forecaster,
    RecurrentDenseModel,
)
from ..models.nowcast.network import ConvGRUAdvection
from .forecasters import autoregressive_step, encoder_forecaster_step, forecaster_sequence, nowcast_sequence
from .graph import check_version
from .recurrent import LayerModel, image_sequence, recurrent_sequence, recurrent_step
from .spec import ExportError, ExportOptions, ExportSpec

Specify = Callable[[Any, ExportOptions], ExportSpec]


class Support(NamedTuple):
    """Functions that specify the forms in which a class is exported, and inputs that its sequence form may have."""

    sequence: Specify | None = None
    step: Specify | None = None
    inputs: tuple[str, ...] = ()


HORIZON = ("horizon",)
RECURRENT = Support(recurrent_sequence, recurrent_step, ("state", "lengths"))
SUPPORT: dict[type, Support] = {
    ConvRNNCellBase: Support(step=recurrent_step, inputs=("state",)),
    ConvRNNBase: Support(recurrent_sequence, recurrent_step, ("state",)),
    Classifier: RECURRENT,
    DenseModel: Support(image_sequence),
    RecurrentDenseModel: RECURRENT,
    utae.ImageSeriesModel: Support(image_sequence, inputs=("lengths", "mask")),
    Forecaster: Support(forecaster_sequence, inputs=HORIZON),
    EncoderForecaster: Support(forecaster_sequence, encoder_forecaster_step, HORIZON),
    AutoregressiveForecaster: Support(forecaster_sequence, autoregressive_step, HORIZON),
    earthnet.GreenEarthNetPredRNN: Support(forecaster_sequence, inputs=HORIZON),
    predrnn.PredRNNPP: Support(forecaster_sequence, inputs=HORIZON),
    ConvGRUAdvection: Support(nowcast_sequence, inputs=HORIZON),
    **dict.fromkeys((e3d_lstm.E3DLSTM, EnsembleForecaster, earthnet.GreenEarthNetConvLSTM), Support()),
    **dict.fromkeys((mau.MAU, mim.MIM, phydnet.PhyDNet), Support()),
}
"""Support of each class of models, layers and cells, and of the classes derived from it that have no entry."""


def find_support(model: Any) -> Support:
    """Returns the entry of the nearest class in :data:`SUPPORT`; ExportError if there is none, or it has no form."""
    owner = type(model).__name__
    support = next((SUPPORT[cls] for cls in type(model).__mro__ if cls in SUPPORT), None)
    if support is None:
        hint = "; pass its module" if isinstance(getattr(model, "module", None), nn.Module) else ""
        raise ExportError(f"expected a ConvRNNModel or another model, layer or cell of this package, got {owner}{hint}")
    if not (support.sequence or support.step):
        raise ExportError(f"{owner} has no export yet; run it in PyTorch")
    if any(getattr(module, "norm_size", None) is not None for module in model.modules()):
        raise ExportError(f"{owner} with norms of one map's size has no export yet; run it in PyTorch")
    if support.step is autoregressive_step and type(model).state_sizes is AutoregressiveForecaster.state_sizes:
        support = support._replace(step=None)
    return support


def make_spec(model: Any, form: str, **options: Any) -> ExportSpec:
    """Returns the specification of an export in one form; options are those of :func:`convrnn_zoo.export`."""
    support, owner, choices = find_support(model), type(model).__name__, ExportOptions(**options)
    inputs, is_step = support.inputs, form == "step"
    end = f"and this is a {owner}; leave it out"
    has_size = bool(getattr(model, "has_frame_encoder", False)) or isinstance(model, ConvGRUAdvection)
    is_learned = any(getattr(module, "learn_initial_state", False) for module in model.modules())
    starts = "starts from its input frames" if "horizon" in inputs else "reads its input as a whole"
    hint = "; call the layer without padding" if "state" in inputs else ""
    for is_met, problem in (
        (choices.size is not None and not has_size, f"size is for models with an image encoder and nowcasts, {end}"),
        (choices.mask and "mask" not in inputs, f"mask is for models of image series, {end}"),
        (choices.encoded and "horizon" not in inputs, f"encoded is for forecasters, {end}"),
        (choices.horizon is not None and "horizon" not in inputs, f"horizon is for forecasters, {end}"),
        (choices.lengths and choices.mask, "lengths and mask both select dates; pass one of the two"),
        (
            is_step and (choices.lengths or choices.mask),
            "lengths and mask are for the sequence form; leave them out, or take form='sequence'",
        ),
        (
            is_learned and (is_step or choices.state),
            "states of files start from zeros, and learn_initial_state is set; export a sequence without state",
        ),
        (
            is_step and support.step is None,
            f"{owner} reads complete sequences and has no step form; export the sequence form",
        ),
        (
            is_step and getattr(model, "known_chans", 0) > 0,
            "static and future inputs are for the sequence form; export that",
        ),
        (
            not is_step and support.sequence is None,
            f"a {owner} is a cell and has no sequence form; export a cell in the step form",
        ),
        (
            choices.state and not is_step and "state" not in inputs,
            f"a {owner} {starts} and has no state; leave state out",
        ),
        (
            choices.lengths and "lengths" not in inputs,
            f"a {owner} takes no lengths in a graph; leave lengths out{hint}",
        ),
    ):
        if is_met:
            raise ExportError(problem)
    if choices.size is not None:
        choices = choices._replace(size=check.ntuple("size", choices.size, 2))
    if not is_step:
        check_version()
    specify: Any = support.step if is_step else support.sequence
    return specify(LayerModel(model) if isinstance(model, ConvRNNBase | ConvRNNCellBase) else model, choices)
