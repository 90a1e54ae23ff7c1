"""The architectures, one paper or family per file. Importing this package registers them with timm."""
# ruff: noqa: F401, I001

from . import audio, bcdunet, convgru_advection, convrnn, dgmr, e3d_lstm, encoder_forecaster, irene, mau, mim, motionrnn
from . import openstl, phydnet, predrnn, pyramid_forecaster, rvm, sa_convlstm, utae, video
from .base.autoregressive import AutoregressiveForecaster as AutoregressiveForecaster, Rollout as Rollout
from .base.model import ZooModel as ZooModel
from .base.classifier import Prediction as Prediction
from ..pretrained.factory import create_model as create_model, from_pretrained as from_pretrained
from .base.forecaster import EnsembleForecaster as EnsembleForecaster
from ..pretrained.errors import (
    ConvRNNHubError as ConvRNNHubError,
    HubAccessError as HubAccessError,
    WeightsError as WeightsError,
)
from .base.forecaster import Forecaster as Forecaster
from ..pretrained.state_dict import load_weights as load_weights
from ..pretrained.log_mel import LogMel as LogMel
from ..pretrained.meta import size_limit as size_limit
from .convrnn import ConvRNNModel as ConvRNNModel
from ..pretrained.preprocessing import Preprocessing as Preprocessing, Variable as Variable
from ..pretrained.registry import list_models as list_models
from .base.stream import Stream as Stream
from .audio import AudioModel as AudioModel
from .video import VideoModel as VideoModel
from ..pretrained.weights import WEIGHTS as WEIGHTS, Metric as Metric, Weights as Weights
from .encoder_forecaster import ConvRNNForecaster as ConvRNNForecaster
from .video import video_model as video_model
