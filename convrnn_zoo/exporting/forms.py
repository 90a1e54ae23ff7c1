"""What can be exported, by class, and the specification of an export in one form."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from .. import _checks as check
from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import Forecaster
from ..models.base.autoregressive import AutoregressiveForecaster
from ..models.base.classifier import Classifier
from ..models.base.dense import DenseModel, RecurrentDenseModel
from ..models.base.encoder_decoder import EncoderForecaster
from ..models.base.ensemble import EnsembleForecaster
from ..models.e3d_lstm import E3DLSTM
from ..models.greenearthnet import GreenEarthNetConvLSTM, GreenEarthNetPredRNN
from ..models.mau import MAU
from ..models.mim import MIM
from ..models.nowcast.network import ConvGRUAdvection
from ..models.phydnet import PhyDNet
from ..models.predrnn import PredRNNPP
from ..models.utae import ImageSeriesModel
from .forecasters import autoregressive_step, encoder_forecaster_step, forecaster_sequence
from .graph import check_version
from .images import image_sequence
from .nowcasts import nowcast_sequence
from .recurrent import LayerModel, recurrent_sequence, recurrent_step
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
    ImageSeriesModel: Support(image_sequence, inputs=("lengths", "mask")),
    Forecaster: Support(forecaster_sequence, inputs=HORIZON),
    EncoderForecaster: Support(forecaster_sequence, encoder_forecaster_step, HORIZON),
    AutoregressiveForecaster: Support(forecaster_sequence, autoregressive_step, HORIZON),
    GreenEarthNetPredRNN: Support(forecaster_sequence, inputs=HORIZON),
    PredRNNPP: Support(forecaster_sequence, inputs=HORIZON),
    ConvGRUAdvection: Support(nowcast_sequence, inputs=HORIZON),
    **dict.fromkeys((E3DLSTM, EnsembleForecaster, GreenEarthNetConvLSTM, MAU, MIM, PhyDNet), Support()),
}
"""Support of each class of models, layers and cells, and of the classes derived from it that have no entry."""


def find_support(model: nn.Module) -> Support:
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
    if support.step is autoregressive_step and not hasattr(model, "state_names"):
        support = support._replace(step=None)
    return support


def make_spec(model: Any, form: str, **options: Any) -> ExportSpec:
    """Returns the specification of an export in one form; options are those of :func:`convrnn_zoo.export`."""
    support, owner = find_support(model), type(model).__name__
    choices = ExportOptions(**options)
    end = f"and this is a {owner}; leave it out"
    if choices.size is not None:
        if not (getattr(model, "has_frame_encoder", False) or isinstance(model, ConvGRUAdvection)):
            raise ExportError(f"size is for models with an image encoder and nowcasts, {end}")
        choices = choices._replace(size=check.ntuple("size", choices.size, 2))
    if choices.mask and "mask" not in support.inputs:
        raise ExportError(f"mask is for models of image series, {end}")
    if (choices.horizon is not None or choices.encoded) and "horizon" not in support.inputs:
        raise ExportError(f"{'encoded' if choices.encoded else 'horizon'} is for forecasters, {end}")
    if choices.lengths and choices.mask:
        raise ExportError("lengths and mask both select dates; pass one of the two")
    if form == "step":
        return _make_step(model, support, choices)
    check_version()
    if support.sequence is None:
        raise ExportError(f"a {owner} is a cell and has no sequence form; export a cell in the step form")
    if choices.state and "state" not in support.inputs:
        starts = "starts from its input frames" if "horizon" in support.inputs else "reads its input as a whole"
        raise ExportError(f"a {owner} {starts} and has no state; leave state out")
    if choices.lengths and "lengths" not in support.inputs:
        hint = "; call the layer without padding" if "state" in support.inputs else ""
        raise ExportError(f"a {owner} takes no lengths in a graph; leave lengths out{hint}")
    if choices.state:
        _check_initial_state(model)
    return support.sequence(_as_model(model), choices)


def _make_step(model: Any, support: Support, options: ExportOptions) -> ExportSpec:
    if options.lengths or options.mask:
        raise ExportError("lengths and mask are for the sequence form; leave them out, or take form='sequence'")
    _check_initial_state(model)
    if support.step is None:
        raise ExportError(
            f"{type(model).__name__} reads complete sequences and has no step form; export the sequence form"
        )
    if getattr(model, "known_chans", 0):
        raise ExportError("static and future inputs are for the sequence form; export that")
    return support.step(_as_model(model), options)


def _check_initial_state(model: nn.Module) -> None:
    if any(getattr(m, "learn_initial_state", False) for m in model.modules()):
        raise ExportError(
            "states of files start from zeros, and learn_initial_state is set; export a sequence without state"
        )


def _as_model(model: Any) -> Any:
    return LayerModel(model) if isinstance(model, ConvRNNBase | ConvRNNCellBase) else model
