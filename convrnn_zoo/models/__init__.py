"""The architectures. Importing this registers each of them with timm; a file a family."""
# ruff: noqa: F401, I001

from . import bcdunet, convgru_advection, convlstm_shi, convrnn, dgmr, e3d_lstm, forecaster, forecaster_ef, hko7
from . import irene, mau, mim, openstl, phydnet, predrnn, predrnn_pp, rvm, utae, video
from .base.autoregressive import AutoregressiveForecaster as AutoregressiveForecaster, Rollout as Rollout
from .base.model import ZooModel as ZooModel
from .base.classifier import Prediction as Prediction
from ..pretrained.factory import create_model as create_model, from_pretrained as from_pretrained
from .base.ensemble import EnsembleForecaster as EnsembleForecaster
from ..pretrained.errors import (
    ConvRNNHubError as ConvRNNHubError,
    HubAccessError as HubAccessError,
    WeightsError as WeightsError,
)
from .base.forecaster import Forecaster as Forecaster
from ..pretrained.state_dict import load_weights as load_weights
from ..pretrained.log_mel import LogMel as LogMel
from ..pretrained.meta import size_limit as size_limit
from ._network import ConvRNNModel as ConvRNNModel
from ..pretrained.preprocessing import Preprocessing as Preprocessing
from ..pretrained.registry import list_models as list_models
from .base.stream import Stream as Stream
from ._video import VideoModel as VideoModel
from ..pretrained.weights import WEIGHTS as WEIGHTS, Metric as Metric, Weights as Weights
from .forecaster import ConvRNNForecaster as ConvRNNForecaster
from .video import video_model as video_model
