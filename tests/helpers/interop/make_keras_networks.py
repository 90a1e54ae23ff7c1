"""Makes tests/interop/keras/networks with Keras 3.15.1: ``KERAS_BACKEND=torch python make_keras_networks.py``.

Each is a network of Keras as a .keras or .h5 file, and its input and output, channels last.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parents[2] / "interop" / "keras" / "networks"
L = keras.layers


def classifier2d() -> Any:
    return keras.Sequential([
        keras.Input((4, 10, 9, 2)),
        L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, dropout=0.2),
        L.BatchNormalization(),
        L.MaxPooling3D((1, 2, 2), padding="same"),
        L.Bidirectional(L.ConvLSTM2D(2, (2, 3), recurrent_activation="hard_sigmoid")),
        L.SpatialDropout2D(0.3),
        L.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        L.Flatten(),
        L.Dropout(0.5),
        L.Dense(6, activation="tanh"),
        L.Dense(3, activation="softmax"),
    ])  # fmt: skip


def next_frame2d() -> Any:
    return keras.Sequential([
        keras.Input((None, 8, 7, 1)),
        L.ConvLSTM2D(3, 5, padding="same", return_sequences=True, activation="relu"),
        L.BatchNormalization(scale=False),
        L.Bidirectional(L.ConvLSTM2D(2, 3, padding="same", return_sequences=True), merge_mode="sum"),
        L.LayerNormalization(),
        L.Conv3D(1, 3, padding="same", activation="sigmoid"),
    ])  # fmt: skip


def sound1d() -> Any:
    return keras.Sequential([
        keras.Input((6, 12, 3)),
        L.TimeDistributed(L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="elu")),
        L.ConvLSTM1D(3, 3, go_backwards=True, return_sequences=True),
        L.TimeDistributed(L.Dropout(0.1)),
        L.TimeDistributed(L.AveragePooling1D(3, 3, padding="same")),
        L.TimeDistributed(L.Flatten()),
        L.TimeDistributed(L.Dense(5)),
        L.LeakyReLU(),
        L.Dense(2, activation="sigmoid", use_bias=False),
    ])  # fmt: skip


def volume3d() -> Any:
    return keras.Sequential([
        keras.Input((3, 6, 5, 4, 1)),
        L.ConvLSTM3D(2, 3, padding="same"),
        L.Conv3D(3, 2, activation="gelu"),
        L.GlobalAveragePooling3D(),
        L.Dense(4),
        L.Activation("softplus"),
    ])  # fmt: skip


def heads2d() -> Any:
    """Seven days ahead, each by its own head, plus the maximum of the inputs; one layer is not used."""
    x = keras.Input((3, 8, 8, 1), name="sst_input")
    y = L.ConvLSTM2D(3, 3, padding="same", name="lstm")(x)
    heads = [L.Conv2D(1, 1, name=f"out_{i}")(L.Activation("relu")(L.Conv2D(2, 3, padding="same")(y))) for i in (0, 1)]
    both = L.Concatenate()([L.Dropout(0.1)(h) for h in heads])
    peak = L.GlobalMaxPooling2D(keepdims=True)(L.Rescaling(0.5, 0.1)(y))
    gate = L.Conv2D(2, 1, activation="hard_sigmoid")(peak)
    return keras.Model(x, L.Add()([L.Multiply()([both, gate]), both]))


def decoder2d() -> Any:
    x = keras.Input((3, 8, 12, 2))
    y = L.TimeDistributed(L.Conv2D(3, 4, strides=2, padding="same"))(x)
    y = L.ConvLSTM2D(4, 3, padding="valid", return_sequences=True)(y)
    y = L.TimeDistributed(L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="silu"))(y)
    y = L.TimeDistributed(L.Conv2DTranspose(2, 2, strides=3))(y)
    y = L.TimeDistributed(L.ZeroPadding2D(((1, 0), (2, 1))))(y)
    y = L.TimeDistributed(L.ZeroPadding2D(1))(y)
    y = L.TimeDistributed(L.Cropping2D((2, 1)))(y)
    y = L.TimeDistributed(L.UpSampling2D(2))(y)
    return keras.Model(x, L.ReLU(max_value=0.5, negative_slope=0.1)(y))


def forecast2d() -> Any:
    return keras.Sequential([
        keras.Input((5, 24)),
        L.Reshape((5, 4, 3, 2)),
        L.ConvLSTM2D(2, 2, padding="same"),
        L.Flatten(),
        L.Dense(4 * 4 * 3),
        L.Reshape((4, 4, 3, 1)),
        L.Permute((1, 3, 2, 4)),
    ])  # fmt: skip


NETWORKS = (classifier2d, next_frame2d, sound1d, volume3d, heads2d, decoder2d, forecast2d)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for make in NETWORKS:
        keras.utils.set_random_seed(0)
        model = make()
        for v in model.weights:
            if "seed" not in v.path:
                v.assign(np.abs(rng.normal(0.5, 0.2, v.shape)) if "variance" in v.path else rng.normal(0, 0.4, v.shape))
        shape = [2, *(4 if n is None else n for n in model.input_shape[1:])]
        x = rng.normal(size=shape).astype("float32")
        with torch.no_grad():
            y = model(x, training=False)
        name = make.__name__
        model.save(HERE / f"{name}.keras")
        if name in ("classifier2d", "heads2d", "sound1d"):
            model.save(HERE / f"{name}.h5")
        save_file({"x": torch.from_numpy(x), "y": y.detach().contiguous()}, HERE / f"{name}.safetensors")


if __name__ == "__main__":
    main()
