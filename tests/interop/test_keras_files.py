"""Files of Keras, read without Keras: options of a layer are honoured or rejected with the reason."""

import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from convrnn_zoo import WeightsError, interop
from convrnn_zoo.layers import ConvLSTM
from tests.helpers.interop.recorded import (
    ASKED,
    KERAS,
    assert_close,
    assert_identical,
    channels_first,
    open_file,
    recorded,
)

CASES = sorted(f.stem for f in KERAS.glob("*.safetensors") if not f.stem.startswith("order"))


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_states_are_those_of_keras(name: str) -> None:
    values, _ = open_file(KERAS / f"{name}.safetensors")
    layer = interop.load("keras", KERAS / f"{name}.keras")
    x, expected = (channels_first(values[k], 2) for k in ("x", "y"))
    if "lengths" in values:  # a mask in Keras, packed here
        packed, (h, c) = layer(pack_padded_sequence(x, values["lengths"], batch_first=True, enforce_sorted=False))
        y = pad_packed_sequence(packed, batch_first=True)[0]
        for i, length in enumerate(values["lengths"]):
            assert_close(y[i, :length], expected[i, :length])
    else:
        y, (h, c) = layer(x)
        assert_close(y, expected)
    ours = [s[direction] for direction in range(len(h)) for s in (h, c)]  # Keras: h, c of each direction in turn
    for i, state in enumerate(ours):
        assert_close(state, channels_first(values[f"state.{i}"], 1))


def test_a_layer_of_a_network_is_selected_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WeightsError, match=r"first, second.*layer="):
        interop.load("keras", KERAS / "stack.weights.h5", **ASKED)  # which has no configuration
    with pytest.raises(WeightsError, match=r"'third'.*first, second"):
        interop.load("keras", KERAS / "stack.keras", layer="third")
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        interop.load("keras", KERAS / "stack.keras", layer="first")
    assert all(name in caplog.text for name in ("second", "layers/batch_normalization/vars/0", "'dropout': 0.1"))


@pytest.mark.parametrize("version", ["3.0", "3.5", "3.15"])
def test_layers_are_found_by_name_in_whatever_order_they_were_created(version: str) -> None:
    """Versions up to 3.5 number the layers in the file in the order of their use."""
    values, _ = open_file(KERAS / f"order_{version}.safetensors")
    x = channels_first(values.pop("x"), 2)
    assert len(values) == 4
    for name, expected in values.items():
        layer = interop.load("keras", KERAS / f"order_{version}.keras", layer=name)
        assert_close(layer(x)[0], channels_first(expected, 2))


def test_weights_without_names_are_selected_by_their_path() -> None:
    """Files of arrays of Keras up to 3.5 contain no names, and ``conv_lstm2d`` would be that of another layer."""
    path = KERAS / "order_3.5.weights.h5"
    with pytest.raises(WeightsError, match=r"layers/conv_lstm2d/cell, layers/conv_lstm2d_1/cell"):
        interop.load("keras", path, layer="conv_lstm2d", **ASKED)
    layer = interop.load("keras", path, layer="layers/conv_lstm2d_1/cell", **ASKED)
    expected = interop.load("keras", KERAS / "order_3.5.keras", layer="conv_lstm2d")
    assert_identical(layer.state_dict(), expected.state_dict())


def test_arrays_require_options() -> None:
    state = recorded("keras_convlstm2d").state
    with pytest.raises(WeightsError, match=r"padding=.*recurrent_activation="):
        interop.load("keras", state)
    with pytest.raises(WeightsError, match=r"padding=(?!.*recurrent_activation=)"):
        interop.load("keras", state, recurrent_activation="sigmoid")
    with pytest.raises(WeightsError, match=r"hard_sigmoid.*keras_version="):
        interop.load("keras", state, padding="same", recurrent_activation="hard_sigmoid")
    with pytest.raises(TypeError, match=r"stride.*layer, padding"):
        interop.load("keras", state, stride=2, **ASKED)


REFUSED = [
    ({"go_backwards": True}, "go_backwards"),
    ({"merge_mode": "sum"}, "merge_mode"),
    ({"padding": "causal"}, "padding.*causal"),
    ({"activation": "swish"}, "'swish'"),
    ({"recurrent_activation": "my_own"}, "'my_own'"),
]


@pytest.mark.parametrize(("option", "message"), REFUSED)
def test_rejects_unsupported_options(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interop.load("keras", recorded("keras_convlstm2d_bi").state, **{**ASKED, **option})


def by_hand(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Keras's ConvLSTM1D with padding "same" and a hard sigmoid, by its documentation; channels last throughout."""

    def conv(x: Tensor, k: Tensor) -> Tensor:
        return torch.nn.functional.conv1d(x.mT, k.permute(2, 1, 0), padding="same").mT

    def gate(a: Tensor) -> Tensor:
        return torch.clamp(slope * a + 0.5, 0, 1)

    h = c = x.new_zeros(*x.shape[:1], x.shape[2], recurrent.shape[1])
    for frame in x.unbind(1):
        i, f, g, o = (conv(frame, kernel) + conv(h, recurrent) + bias).chunk(4, -1)
        c = gate(f) * c + gate(i) * g.tanh()
        h = gate(o) * c.tanh()
    return h


@pytest.mark.parametrize(("version", "slope"), [("2.2.4", 1 / 5), ("2.15.0", 1 / 5), ("3.0.0", 1 / 6)])
def test_the_hard_sigmoid_of_old_files_has_the_slope_of_their_version(
    version: str, slope: float, tmp_path: Path
) -> None:
    """The layout and names of Keras 2's whole-model files, with the gates' default of its time."""
    rng = np.random.default_rng(0)
    arrays = {"kernel": (3, 2, 12), "recurrent_kernel": (3, 3, 12), "bias": (12,)}
    arrays = {k: rng.normal(size=s).astype("float32") for k, s in arrays.items()}
    layer = {
        "class_name": "ConvLSTM1D",
        "config": {
            "name": "conv_lst_m1d",
            "padding": "same",
            "recurrent_activation": "hard_sigmoid",
            "activation": "tanh",
            "strides": [1],
            "dilation_rate": [1],
            "go_backwards": False,
        },
    }
    with h5py.File(tmp_path / "old.h5", "w") as f:
        f.attrs["keras_version"] = version.encode()
        f.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer]}).encode()
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv_lst_m1d"]
        for name, value in arrays.items():
            group[f"conv_lst_m1d/conv_lst_m1d/{name}:0"] = value
        f["optimizer_weights/iterations:0"] = 3
    loaded = interop.load("keras", tmp_path / "old.h5")
    assert not isinstance(loaded, ConvLSTM)  # that one's gates are sigmoids
    x = 3 * torch.randn(2, 4, 7, 2)
    expected = by_hand(x, *map(torch.from_numpy, arrays.values()), slope)
    assert_close(loaded(channels_first(x, 2))[0][:, -1], channels_first(expected, 1))


def test_unnamed_groups_are_matched_to_the_only_description(tmp_path: Path) -> None:
    """tf.keras 2 wrote only the names of the groups, which differ from those of the layers."""
    unnamed = tmp_path / "unnamed.keras"
    with zipfile.ZipFile(KERAS / "same_strided1d.keras") as old, zipfile.ZipFile(unnamed, "w") as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))
        weights = io.BytesIO(old.read("model.weights.h5"))
        with h5py.File(weights, "r+") as f:
            f.visititems(lambda _, node: node.attrs.pop("name", None) and None)
        new.writestr("model.weights.h5", weights.getvalue())
    expected = interop.load("keras", KERAS / "same_strided1d.keras")
    assert_identical(interop.load("keras", unnamed).state_dict(), expected.state_dict())


def test_layers_of_other_kinds_are_not_taken_for_convlstms(caplog: pytest.LogCaptureFixture) -> None:
    state = {f"conv/{k}": v for k, v in recorded("keras_convlstm2d").state.items()}
    lstm = {"lstm/lstm_cell/kernel": torch.zeros(3, 8), "lstm/lstm_cell/recurrent_kernel": torch.zeros(2, 8)}
    dense = {"dense/kernel": torch.zeros(2, 2), "seed_generator/seed_generator_state": torch.zeros(2).int()}
    with pytest.raises(WeightsError, match=r"lstm/lstm_cell/kernel, .*layer='conv'"):
        interop.load("keras", {**lstm, **state, **dense}, **ASKED)
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        interop.load("keras", {**lstm, **state, **dense}, layer="conv", **ASKED)
    assert "lstm/lstm_cell/kernel, lstm/lstm_cell/recurrent_kernel, dense/kernel" in caplog.text


@pytest.mark.parametrize("side", ["forward", "backward"])
def test_a_bidirectional_layer_of_one_direction_is_broken(side: str) -> None:
    state = {k: v for k, v in recorded("keras_convlstm2d_bi").state.items() if k.startswith(side)}
    other = "backward" if side == "forward" else "forward"
    missing = f"missing: {other}_conv_lstm2d_2/conv_lstm_cell/kernel, {other}_conv_lstm2d_2/conv_lstm_cell/recurrent_k"
    with pytest.raises(WeightsError, match=missing):
        interop.load("keras", state, **ASKED)


def test_rejects_different_directions(tmp_path: Path) -> None:
    config = {
        "class_name": "Bidirectional",
        "config": {
            "name": "both",
            "merge_mode": "concat",
            "layer": {"class_name": "ConvLSTM1D", "config": {"name": "forward_a", "padding": "same"}},
            "backward_layer": {"class_name": "ConvLSTM1D", "config": {"name": "backward_a", "padding": "valid"}},
        },
    }
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.attrs["model_config"] = json.dumps(config)
        for side in ("forward", "backward"):
            f[f"model_weights/both/both/{side}_a/conv_lstm_cell/kernel:0"] = np.zeros((3, 2, 12))
            f[f"model_weights/both/both/{side}_a/conv_lstm_cell/recurrent_kernel:0"] = np.zeros((3, 3, 12))
    with pytest.raises(ValueError, match=r"both.*padding"):
        interop.load("keras", tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[", "model_config"),
        ('{"class_name": "ConvLSTM1D"}', r"x\.h5.* a "),
        ('{"class_name": "Bidirectional", "config": 3}', r"x\.h5.* a "),
    ],
)
def test_rejects_invalid_descriptions(config: str, message: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.attrs["model_config"] = config
        f["model_weights/a/a/kernel"], f["model_weights/a/a/recurrent_kernel"] = (
            np.zeros((3, 2, 4)),
            np.zeros((3, 1, 4)),
        )
    with pytest.raises(WeightsError, match=message):
        interop.load("keras", tmp_path / "x.h5")


def test_links_out_of_a_file_and_round_in_it_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "out.h5", "w") as f:
        f["layers/a"] = h5py.ExternalLink(str(KERAS / "stack.h5"), "/model_weights")
    with h5py.File(tmp_path / "legacy.h5", "w") as f:
        f["model_weights"] = h5py.ExternalLink(str(KERAS / "stack.h5"), "/model_weights")
    with h5py.File(tmp_path / "round.h5", "w") as f:
        f.create_group("layers")["again"] = f["/"]
    for name in ("out.h5", "legacy.h5", "round.h5"):
        with pytest.raises(WeightsError, match=r"\.h5.*[Ll]ink"):
            interop.load("keras", tmp_path / name)


def test_without_h5py_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'convrnn-zoo\[interop\]'"):
        interop.load("keras", KERAS / "stack.h5")


def nested(path: Path) -> Path:
    """An .h5 file of a model of two models, each with a ConvLSTM of the same name."""
    shared = {"name": "rnn", "recurrent_activation": "sigmoid"}
    layers = [{"class_name": "ConvLSTM1D", "config": {**shared, "padding": padding}} for padding in ("same", "valid")]
    with h5py.File(path, "w") as f:
        f.attrs["model_config"] = json.dumps({"layers": layers})
        for value, model in enumerate(("encoder", "decoder")):
            f[f"model_weights/{model}/rnn/conv_lstm_cell/kernel"] = np.full((3, 2, 12), value, "float32")
            f[f"model_weights/{model}/rnn/conv_lstm_cell/recurrent_kernel"] = np.zeros((3, 3, 12), "float32")
        f["model_weights/encoder/rnn/conv_lstm_cell/bias"] = np.ones(12, "float32")
    return path


def test_layers_of_one_name_in_nested_models_are_chosen_by_their_path(tmp_path: Path) -> None:
    path = nested(tmp_path / "x.h5")
    with pytest.raises(WeightsError, match=r"decoder/rnn, encoder/rnn.*layer="):
        interop.load("keras", path)
    with pytest.raises(WeightsError, match=r"2 layers.*padding=.*activation="):
        interop.load("keras", path, layer="decoder/rnn", **ASKED)
    options = {"strides": 1, "dilation_rate": 1, "activation": "tanh", "go_backwards": False, "merge_mode": "concat"}
    for value, layer in enumerate(("encoder/rnn", "decoder/rnn")):
        loaded = interop.load("keras", path, layer=layer, **ASKED, **options)
        assert loaded.weight_ih_l0.unique().tolist() == [value]
        assert loaded.bias == (layer == "encoder/rnn")
