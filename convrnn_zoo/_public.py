"""The public names that are imported with the package. Importing them registers every architecture with timm."""
# ruff: noqa: F403, I001

from . import layers as layers, models as models
from .layers import *
from .layers.causallstm import CausalLSTMCell as CausalLSTMCell, GradientHighwayCell as GradientHighwayCell
from .layers.e3dlstm import E3DLSTMCell as E3DLSTMCell
from .layers.mau import MAUCell as MAUCell
from .layers.mim import MIMBlockCell as MIMBlockCell, MIMCell as MIMCell
from .layers.motiongru import MotionGRUCell as MotionGRUCell
from .layers.phycell import PhyCell as PhyCell
from .layers.saconvlstm import SAConvLSTMCell as SAConvLSTMCell
from .layers.stlstm import STLSTMCell as STLSTMCell
from .layers.trajgru import TrajGRUCell as TrajGRUCell
from .models import (
    WEIGHTS as WEIGHTS, AudioModel as AudioModel, AutoregressiveForecaster as AutoregressiveForecaster,
    ConvRNNForecaster as ConvRNNForecaster,
    ConvRNNHubError as ConvRNNHubError, ConvRNNModel as ConvRNNModel, EnsembleForecaster as EnsembleForecaster,
    Forecaster as Forecaster, HubAccessError as HubAccessError, LogMel as LogMel, Metric as Metric,
    Prediction as Prediction, Preprocessing as Preprocessing, Rollout as Rollout, Stream as Stream,
    Variable as Variable, VideoModel as VideoModel, Weights as Weights, WeightsError as WeightsError,
    ZooModel as ZooModel, create_model as create_model, from_pretrained as from_pretrained,
    list_models as list_models, load_weights as load_weights, size_limit as size_limit, video_model as video_model,
)  # fmt: skip
