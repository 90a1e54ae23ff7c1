"""The architectures, one paper or family per file, and ``create_model``, which builds one and loads its weights.

Importing this package registers them with timm. To add an architecture, write its file here and import it below;
:mod:`convrnn_zoo.models.base` has the base classes and parts that it needs.
"""
# ruff: noqa: F401, I001

from . import audio, bcdunet, convrnn, dgmr, digital_typhoon, e2vid, e3d_lstm, earthnet, encoder_forecaster, irene
from . import mau, mim, motionrnn, openstl, phydnet, prednet, predrnn, pyramid_forecaster, rvm, sa_convlstm, utae, video
from .nowcast import network

# These functions need the registered names.
from .factory import create_model as create_model, from_pretrained as from_pretrained
from ..pretrained.registry import list_models as list_models
from .audio import AudioModel as AudioModel
from .base import (
    AutoregressiveForecaster as AutoregressiveForecaster,
    Ensemble as Ensemble,
    EnsembleForecaster as EnsembleForecaster,
    Forecaster as Forecaster,
    Prediction as Prediction,
    Rollout as Rollout,
    Spot as Spot,
    Spotter as Spotter,
    Stream as Stream,
    ZooModel as ZooModel,
)
from .convrnn import ConvRNNModel as ConvRNNModel
from .encoder_forecaster import ConvRNNForecaster as ConvRNNForecaster
from .video import VideoModel as VideoModel, video_model as video_model
