"""What the architectures share: base classes, building blocks and the functions that register and build a model."""
# ruff: noqa: F401

from ...pretrained.builder import build_model
from ...pretrained.registry import register_model
from .autoregressive import AutoregressiveForecaster, Delta, Rollout, StackedCells, shared_options
from .blocks import (
    Shuffle,
    Unroll,
    Unshuffle,
    constants,
    conv_norm_relu,
    feature_size,
    framewise,
    layer_widths,
    odd_kernel,
    recompute,
    recurrent_layers,
    stage,
    unroll_loop,
)
from .classification import Prediction
from .classifier import Classifier, RecurrentClassifier
from .dense import DenseModel, RecurrentDenseModel
from .encoder import FrameEncoder
from .forecaster import FRAME_CFG, EncoderForecaster, Ensemble, EnsembleForecaster, Forecaster
from .lengths import (
    Lengths,
    check_pool,
    map_frames,
    mask_steps,
    pack,
    step_mask,
    unpack,
    valid_steps,
    with_padding,
    without_padding,
)
from .model import ZooModel, reference_tensor
from .spotter import Spot, Spotter
from .stream import Stream
