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
    AudioModel as AudioModel, AutoregressiveForecaster as AutoregressiveForecaster,
    ConvRNNForecaster as ConvRNNForecaster, ConvRNNModel as ConvRNNModel, EnsembleForecaster as EnsembleForecaster,
    Forecaster as Forecaster, Prediction as Prediction, Rollout as Rollout, Spot as Spot, Spotter as Spotter,
    Stream as Stream, VideoModel as VideoModel,
    ZooModel as ZooModel, create_model as create_model, from_pretrained as from_pretrained, list_models as list_models,
    video_model as video_model,
)  # fmt: skip
from .pretrained.errors import ConvRNNHubError as ConvRNNHubError, HubAccessError as HubAccessError
from .pretrained.errors import WeightsError as WeightsError
from .values.log_mel import LogMel as LogMel
from .pretrained.limits import size_limit as size_limit
from .values.preprocessing import Preprocessing as Preprocessing, Variable as Variable
from .pretrained.state_dict import load_weights as load_weights
from .pretrained.metadata import WEIGHTS as WEIGHTS, Metric as Metric, WeightsMetadata as WeightsMetadata
