"""The architectures, one paper or family per file, and ``create_model``, which builds one and loads its weights.

Importing this package registers them with timm. :mod:`convrnn_zoo.models.base` has their shared parts.
"""
# ruff: noqa: F401, I001

from . import (
    audio,
    bcdunet,
    convrnn,
    dgmr,
    digital_typhoon,
    e2vid,
    e3d_lstm,
    earthnet,
    encoder_forecaster,
)
from . import (
    firenet,
    greenearthnet,
    irene,
    mau,
    mim,
    motionrnn,
    openstl,
    phydnet,
    prednet,
    predrnn,
    pyramid_forecaster,
    rvm,
    sa_convlstm,
    utae,
    vgg_video,
)
from . import video
from .nowcast import network

# These functions need the registered names.
from .factory import create_model as create_model, from_pretrained as from_pretrained
from ..pretrained.registry import list_models as list_models
from .audio import AudioModel as AudioModel
from .base.autoregressive import AutoregressiveForecaster as AutoregressiveForecaster, Rollout as Rollout
from .base.classification import Prediction as Prediction
from .base.ensemble import Ensemble as Ensemble, EnsembleForecaster as EnsembleForecaster
from .base.forecaster import Forecaster as Forecaster
from .base.model import ZooModel as ZooModel
from .base.spotter import Spot as Spot, Spotter as Spotter
from .base.stream import Stream as Stream
from .convrnn import ConvRNNModel as ConvRNNModel
from .encoder_forecaster import ConvRNNForecaster as ConvRNNForecaster
from .video import VideoModel as VideoModel, video_model as video_model
