"""Makes the files of tests/interop/keras with Keras 3.15.1: ``KERAS_BACKEND=torch python make_keras_files.py``.

Each case is a model of one layer, as a .keras file, and its input, outputs and last states, channels last. With the
argument ``order``, it makes the files of the installed version whose layers are used in another order than created.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parents[2] / "interop" / "keras"
L = keras.layers
CASES: dict[str, tuple[Any, tuple[int, ...], list[int] | None]] = {
    "same2d": (L.ConvLSTM2D(3, (3, 2), padding="same"), (4, 5, 6, 2), None),
    "no_bias1d": (L.ConvLSTM1D(2, 4, padding="same", use_bias=False), (4, 7, 3), None),
    "valid3d": (L.ConvLSTM3D(2, 2), (3, 4, 3, 4, 1), None),
    "valid_strided2d": (L.ConvLSTM2D(2, 3, strides=(2, 1), recurrent_activation="hard_sigmoid"), (4, 8, 6, 2), None),
    "same_strided1d": (L.ConvLSTM1D(2, 3, strides=2, padding="same"), (4, 8, 2), None),
    "dilated2d": (L.ConvLSTM2D(2, 3, dilation_rate=2, padding="same", activation="softsign"), (4, 6, 7, 2), None),
    "hard1d": (L.ConvLSTM1D(3, 3, padding="same", recurrent_activation="hard_sigmoid"), (4, 7, 2), None),
    "masked2d": (L.ConvLSTM2D(3, 3, padding="same"), (5, 4, 5, 2), [5, 2, 3]),
    "bi_masked2d": (L.Bidirectional(L.ConvLSTM2D(3, 3, padding="same")), (5, 4, 5, 2), [5, 2, 3]),
    "bi_valid1d": (L.Bidirectional(L.ConvLSTM1D(3, 3)), (4, 7, 2), None),
}


def build(layer: Any, shape: tuple[int, ...]) -> keras.Model:
    config = layer.get_config()
    wrapped = (config.get(name, {}).get("config", {}) for name in ("layer", "backward_layer"))
    for options in (config, *wrapped):
        if "return_sequences" in options:
            options |= {"return_sequences": True, "return_state": True}
    layer = type(layer).from_config(config)
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


def main() -> None:
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    for name, (layer, shape, lengths) in CASES.items():
        model = build(layer, shape)
        for v in model.weights:
            if "seed" not in v.path:
                v.assign(rng.normal(0, 0.5, v.shape))
        x = rng.normal(size=(3, *shape)).astype("float32")
        mask = None if lengths is None else np.arange(shape[0]) < np.array(lengths)[:, None]
        with torch.no_grad():
            y, *state = model.layers[1](x, mask=mask)
        tensors = {"x": torch.from_numpy(x), "y": y, **{f"state.{i}": s for i, s in enumerate(state)}}
        if lengths is not None:
            tensors["lengths"] = torch.tensor(lengths)
        model.save(HERE / f"{name}.keras")
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, HERE / f"{name}.safetensors")

    model = keras.Sequential(
        [
            keras.Input((4, 5, 6, 2)),
            L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, dropout=0.1, name="first"),
            L.BatchNormalization(),
            L.Bidirectional(L.ConvLSTM2D(2, 3, padding="same", return_sequences=True), name="second"),
        ]
    )
    for v in model.weights:
        if "seed" not in v.path:
            v.assign(rng.normal(0, 0.5, v.shape))
    model.save(HERE / "stack.keras")
    model.save_weights(HERE / "stack.weights.h5")
    model.save(HERE / "stack.h5")


def make_order() -> None:
    """Saves layers of equal shapes, and the output of each for the same input, by the name of the layer."""
    keras.backend.clear_session()  # default names are numbered from here
    version = ".".join(keras.__version__.split(".")[:2])
    rng = np.random.default_rng(0)
    options = {"padding": "same", "return_sequences": True}
    second, first = (L.ConvLSTM2D(2, 3, activation=activation, **options) for activation in ("tanh", "relu"))
    fourth, third = (L.Bidirectional(L.ConvLSTM2D(2, 3, **options)) for _ in range(2))
    inputs = keras.Input((3, 5, 4, 2))
    outputs = [second(first(inputs)), fourth(L.Conv3D(2, 1)(third(inputs)))]
    model = keras.Model(inputs, outputs)
    for v in model.weights:
        if "seed" not in v.path:
            v.assign(rng.normal(0, 0.5, v.shape))
    x = torch.from_numpy(rng.normal(size=(2, 3, 5, 4, 2)).astype("float32"))
    with torch.no_grad():
        tensors = {layer.name: layer(x).contiguous() for layer in (first, second, third, fourth)}
    model.save(HERE / f"order_{version}.keras")
    save_file({"x": x, **tensors}, HERE / f"order_{version}.safetensors")
    model.save_weights(HERE / f"order_{version}.weights.h5")


if __name__ == "__main__":
    make_order() if "order" in sys.argv else main()
