"""Every layer of Keras's networks with its options, against Keras itself on its torch backend."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from convrnn_zoo import interop
from convrnn_zoo.models.base.keras_layers import LAYERS
from tests.helpers.interop.recorded import assert_close

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]
BY_DIMENSION: list[tuple[str, dict[str, Any]]] = [
    ("Conv", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "selu"}),
    ("Conv", {"filters": 4, "kernel_size": 2, "dilation_rate": 2, "use_bias": False, "activation": "exponential"}),
    ("Conv{}Transpose", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
    ("Conv{}Transpose", {"filters": 2, "kernel_size": 2, "strides": 3, "activation": "mish"}),
    ("MaxPooling", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("MaxPooling", {"pool_size": 2}),
    ("AveragePooling", {"pool_size": 3, "strides": 1, "padding": "same"}),
    ("AveragePooling", {"pool_size": 2, "strides": 3}),
    ("GlobalMaxPooling", {}),
    ("GlobalAveragePooling", {"keepdims": True}),
    ("UpSampling", {"size": 3}),
    ("UpSampling", {}),
    ("ZeroPadding", {}),
    ("ZeroPadding", {"padding": 2}),
    ("Cropping", {"cropping": 1}),
    ("Cropping", {}),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("BatchNormalization", {"epsilon": 0.1, "center": False}),
    ("LayerNormalization", {"scale": False}),
    ("Dense", {"units": 3, "activation": "relu6"}),
    ("Reshape", {"target_shape": (-1, 3)}),
    ("Permute", {"dims": (2, 1, 3)}),
    ("Activation", {"activation": "leaky_relu"}),
    ("Activation", {"activation": "log_softmax"}),
    ("ReLU", {"max_value": 0.3}),
    ("LeakyReLU", {"negative_slope": 0.4}),
    ("LeakyReLU", {}),
    ("ELU", {}),
    ("Softmax", {}),
    ("Rescaling", {"scale": 2.0, "offset": -1.0}),
    ("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}),
    ("ZeroPadding2D", {"padding": ((1, 0), (0, 2))}),
    ("GaussianNoise", {"stddev": 1.0}),
]


def name(layer: str, ndim: int) -> str:
    return layer.format(f"{ndim}D") if "{}" in layer else f"{layer}{ndim}D"


CASES = [(2, layer, options) for layer, options in OTHERS]
CASES += [(ndim, name(layer, ndim), options) for ndim in (1, 2, 3) for layer, options in BY_DIMENSION]


def test_every_layer_is_tested() -> None:
    tested = {layer for _, layer, _ in CASES}
    elsewhere = {"Bidirectional", "TimeDistributed", "Flatten", "RepeatVector", "LastFrame", "Concatenate",
                 "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}  # fmt: skip
    assert {layer for layer in LAYERS if not layer.startswith("ConvLSTM")} <= tested | elsewhere


@pytest.mark.parametrize(("ndim", "layer", "options"), CASES)
@torch.no_grad()
def test_a_layer_with_its_options(ndim: int, layer: str, options: dict[str, Any], tmp_path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    keras: Any = pytest.importorskip("keras", reason="pip install 'convrnn-zoo[dev]'")
    torch.manual_seed(0)
    size = [7, 9, 6][:ndim]
    model = keras.Sequential([
        keras.Input((2, *size, 1)),
        getattr(keras.layers, f"ConvLSTM{ndim}D")(3, 1),
        getattr(keras.layers, layer)(**options),
    ])  # fmt: skip
    for v in model.weights:
        v.assign(torch.rand(v.shape) + 0.1 if "variance" in v.path else torch.randn(v.shape))
    x = torch.randn(2, 2, *size, 1)
    y = model(x, training=False)
    y = y.movedim(-1, 1) if y.dim() > 3 or (y.dim() == 3 and layer != "Reshape") else y
    for end in (".keras", ".h5"):
        model.save(tmp_path / f"x{end}")
        assert_close(interop.load("keras", tmp_path / f"x{end}").eval()(x.movedim(-1, 2)), y)


@pytest.mark.parametrize("layer", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"])
@torch.no_grad()
def test_merges(layer: str, tmp_path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    keras: Any = pytest.importorskip("keras", reason="pip install 'convrnn-zoo[dev]'")
    a = keras.Input((2, 5, 4, 1))
    b, c = (keras.layers.ConvLSTM2D(2, 1, return_sequences=True, activation=f)(a) for f in ("tanh", "relu"))
    merged = getattr(keras.layers, layer)()([b, c])
    model = keras.Model(a, keras.layers.RepeatVector(3)(keras.layers.Flatten()(merged)))
    model.save(tmp_path / "x.keras")
    x = torch.randn(2, 2, 5, 4, 1)
    assert_close(interop.load("keras", tmp_path / "x.keras").eval()(x.movedim(-1, 2)), model(x))
