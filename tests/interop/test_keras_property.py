"""Random layers of Keras on its torch backend: ours give their outputs and states."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from convrnn_zoo import interop
from tests.helpers.interop.recorded import assert_close, assert_identical, channels_first

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]
PROPERTY = settings(deadline=None, derandomize=True, database=None)


def keras() -> Any:
    """Keras itself, on torch: imported by the tests that run, for it takes seconds."""
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras", reason="Keras is an extra of the tests: pip install 'convrnn-zoo[dev]'")


@st.composite
def geometry(draw: st.DrawFn) -> dict[str, Any]:
    """Draws every option that changes the output of a layer of one, two or three dimensions."""
    ndim = draw(st.integers(1, 3))
    step = st.lists(st.integers(1, 2), min_size=ndim, max_size=ndim)
    which = draw(st.sampled_from(["strides", "dilation_rate"]))  # Keras takes one of the two beyond 1
    return {
        "ndim": ndim,
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)),
        "padding": draw(st.sampled_from(["same", "valid"])),
        which: draw(step),
        "activation": draw(st.sampled_from(["tanh", "relu", "linear", "softsign"])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
        "use_bias": draw(st.booleans()),
    }


def built(options: dict[str, Any], bidirectional: bool) -> Any:
    options = dict(options)
    layer = getattr(keras().layers, f"ConvLSTM{options.pop('ndim')}D")
    layer = layer(**options, return_sequences=True, return_state=True)
    return keras().layers.Bidirectional(layer) if bidirectional else layer


def randomised(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """The built layer's variables by path, with values of every sign, also in the biases."""
    layer.build(tuple(x.shape))
    state = {}
    for v in layer.weights:
        if "seed" not in v.path:
            v.assign(0.5 * torch.randn(*v.shape))
            state[v.path] = v.value.detach().clone()
    return state


def assert_as_close(ours: Tensor, theirs: Tensor, activation: str) -> None:
    """Without a bound on the activation by the largest value: a sum is rounded like its largest term."""
    largest = max(1.0, theirs.abs().max().item()) if activation in ("relu", "linear") else 1.0
    assert_close(ours / largest, theirs / largest)


@pytest.mark.parametrize("examples", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_random_layers(examples: int) -> None:
    settings(PROPERTY, max_examples=examples)(given(geometry(), st.booleans(), st.data())(check_layer))()


def check_layer(options: dict[str, Any], bidirectional: bool, data: st.DataObject) -> None:
    torch.manual_seed(0)
    channels, masked = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    size = [data.draw(st.integers(5, 7)) for _ in range(options["ndim"])]
    x = torch.randn(3, 4, *size, channels)
    lengths = torch.tensor([4, 1, 3])
    theirs = built(options, bidirectional)
    state = randomised(theirs, x)
    with torch.no_grad():
        y, *last = theirs(x, mask=torch.arange(4) < lengths[:, None] if masked else None)

    load_options = {k: v for k, v in options.items() if k not in ("ndim", "filters", "kernel_size", "use_bias")}
    ours = interop.load("keras", state, keras_version=keras().__version__, **load_options)
    into: Any = channels_first(x, 2)
    if masked:
        into = pack_padded_sequence(into, lengths, batch_first=True, enforce_sorted=False)
    out, (h, c) = ours(into)
    if masked:
        out = pad_packed_sequence(out, batch_first=True)[0]
    for n, length in enumerate(lengths if masked else [4] * 3):
        assert_as_close(out[n, :length], channels_first(y, 2)[n, :length], options["activation"])
    for s, expected in zip([s[d] for d in range(len(h)) for s in (h, c)], last, strict=True):
        assert_as_close(s, channels_first(expected, 1), options["activation"])

    arrays = interop.export(ours, "keras")
    tails = {path.split("/")[-1]: value for path, value in state.items()}
    assert {path.split("/")[-1] for path in arrays} == set(tails)
    if not bidirectional:
        assert_identical({path.split("/")[-1]: value for path, value in arrays.items()}, tails)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@given(options=geometry())
@settings(PROPERTY, max_examples=25)
def test_random_files(bidirectional: bool, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A .keras file also stores the options; a .h5 and a .weights.h5 file hold the same arrays."""
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("keras")
    x = torch.randn(2, 3, *[6] * options["ndim"], 2)
    inputs = keras().Input(tuple(x.shape[1:]))
    layer = built(options, bidirectional)
    model = keras().Model(inputs, layer(inputs)[0])
    randomised(layer, x)
    with torch.no_grad():
        y = model(x)
    load_options = {k: v for k, v in options.items() if k not in ("ndim", "filters", "kernel_size", "use_bias")}
    for name, save, kwargs in (
        ("x.keras", model.save, {}),
        ("x.h5", model.save, {}),
        ("x.weights.h5", model.save_weights, {**load_options, "keras_version": "3"}),
    ):
        save(folder / name)
        ours = interop.load("keras", folder / name, **kwargs)
        assert_close(ours(channels_first(x, 2))[0], channels_first(y, 2))


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_keras_loads_exported_layers(ndim: int, bidirectional: bool) -> None:
    from convrnn_zoo import layers

    ours = getattr(layers, f"Conv{ndim}dLSTM")(2, 3, 3, batch_first=True, bidirectional=bidirectional)
    options = {"ndim": ndim, "filters": 3, "kernel_size": 3, "padding": "same"}
    theirs = built(options, bidirectional)
    x = torch.randn(2, 4, *[5] * ndim, 2)
    theirs.build(tuple(x.shape))
    arrays = interop.export(
        ours, "keras", name=theirs.forward_layer.name.removeprefix("forward_") if bidirectional else None
    )
    for v in theirs.weights:
        values = [value for path, value in arrays.items() if v.path.endswith(path)]
        if "seed" not in v.path:
            v.assign(*values)
    with torch.no_grad():
        y = theirs(x)[0]
    assert_close(ours(channels_first(x, 2))[0], channels_first(y, 2))
