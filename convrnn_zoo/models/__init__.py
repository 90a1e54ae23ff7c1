"""The architectures. Importing this registers each of them with timm; a file a family."""
# ruff: noqa: F401, I001

from . import bcdunet, convgru_advection, convlstm_shi, convrnn, dgmr, e3d_lstm, forecaster, forecaster_ef, hko7
from . import irene, mau, mim, openstl, phydnet, predrnn, predrnn_pp, rvm, utae, video
from ._autoregressive import AutoregressiveForecaster as AutoregressiveForecaster, Rollout as Rollout
from ._base import ZooModel as ZooModel
from ._classifying import Prediction as Prediction
from ._create import create_model as create_model, from_pretrained as from_pretrained
from ._ensemble import EnsembleForecaster as EnsembleForecaster
from ._errors import ConvRNNHubError as ConvRNNHubError, HubAccessError as HubAccessError, WeightsError as WeightsError
from ._forecasting import Forecaster as Forecaster
from ._loading import load_weights as load_weights
from ._log_mel import LogMel as LogMel
from ._meta import size_limit as size_limit
from ._network import ConvRNNModel as ConvRNNModel
from ._preprocessing import Preprocessing as Preprocessing
from ._registry import list_models as list_models
from ._stream import Stream as Stream
from ._video import VideoModel as VideoModel
from ._weights import WEIGHTS as WEIGHTS, Metric as Metric, Weights as Weights
from .forecaster import ConvRNNForecaster as ConvRNNForecaster
from .video import video_model as video_model
