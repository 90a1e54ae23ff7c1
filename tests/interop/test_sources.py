"""Every source: recorded checkpoints give the recorded outputs and states, and are exported bit for bit."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from convrnn_zoo import interop, layers
from tests.helpers.interop.recorded import (
    ASKED,
    REFERENCE,
    assert_close,
    assert_identical,
    channels_first,
    recorded,
    recorded_layer,
    recorded_layer_cases,
)

KERAS_FILES = sorted(f.stem for f in REFERENCE.glob("keras_*.safetensors"))


def test_every_recorded_file_has_its_source_here() -> None:
    of_greenearthnet = {"convlstm_greenearthnet", "predrnn_greenearthnet"}
    names = {f.stem for f in REFERENCE.glob("*.safetensors")} - of_greenearthnet
    assert not [name for name in names if not name.startswith(tuple(interop.SOURCES))]


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("cls", "case"), recorded_layer_cases())
def test_pytorch_convolutional_rnn(cls: str, case: str) -> None:
    """Sizes follow from the weights; other options are arguments."""
    known, metadata = recorded_layer(cls, case)
    kind = getattr(layers, cls)
    hidden = ("stride", "dilation", "groups", "batch_first", "nonlinearity")
    options = {k: v for k, v in known.kwargs.items() if k in hidden}
    if "RNN" in cls:
        options.setdefault("nonlinearity", "tanh")
    module = interop.load("pytorch_convolutional_rnn", known.state, **options)
    assert type(module) is kind
    assert_identical(interop.export(module, "pytorch_convolutional_rnn"), known.state)
    module.double()  # as the values were computed: ReLU grows them large
    x, *hx = (known.values[k].double() for k in ("x", "hx.0", "hx.1") if k in known.values)
    state = None if not metadata["hx"] else tuple(hx) if len(hx) > 1 else hx[0]
    if cls.endswith("Cell"):
        final = module(x, state)
    else:
        lengths, first = metadata["lengths"], module.batch_first
        packed = pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=False) if lengths else x
        y, final = module(packed, state)
        y = pad_packed_sequence(y, first, total_length=x.shape[1 if first else 0])[0] if lengths else y
        assert_close(y, known.values["y"].double())
    for i, s in enumerate(final if isinstance(final, tuple) else (final,)):
        assert_close(s, known.values[f"h.{i}"].double())


@pytest.mark.parametrize(("name", "widths"), [("ndrplz_convlstm", "hidden_dim"), ("kimmel_convgru", "hidden_sizes")])
def test_layers_of_joint_convolutions(name: str, widths: str) -> None:
    known, source = recorded(name), name.partition("_")[0]
    module = interop.load(source, known.state, **({"batch_first": True} if source == "ndrplz" else {}))
    assert list(module.widths) == known.kwargs[widths]
    outputs, states = module.forward_layers(known.values["x"])
    for i, y in enumerate(outputs):
        assert_close(y, known.values[f"y.{i}"])
        if source == "kimmel":
            assert_close(states[i][0], known.values[f"y.{i}"][-1])
        else:
            for state, key in zip(states, "hc", strict=True):
                assert_close(state[i][0], known.values[f"{key}.{i}"])
    assert_identical(interop.export(module, source), known.state)


@pytest.mark.parametrize("name", KERAS_FILES)
def test_keras(name: str) -> None:
    known = recorded(name)
    module = interop.load("keras", known.state, **ASKED)
    y, (h, c) = module(channels_first(known.values["x"], 2))
    assert_close(y, channels_first(known.values["y"], 2))
    for ours, key in ((h, "h"), (c, "c")):
        if key in known.values:
            assert_close(ours[0], channels_first(known.values[key], 1))
    assert_identical(interop.export(module, "keras", name="conv_lstm2d_2"), known.state)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_torch(ndim: int, kind: str, num_layers: int, bias: bool, bidirectional: bool) -> None:
    theirs = getattr(nn, kind)(3, 4, num_layers, bias=bias, batch_first=True, bidirectional=bidirectional)
    options = {"nonlinearity": "tanh"} if kind == "RNN" else {}
    ours = interop.load("torch", theirs.state_dict(), ndim=ndim, batch_first=True, **options)
    x = torch.randn(2, 5, 3)
    (y, state), (expected, last) = ours(x[(...,) + (None,) * ndim]), theirs(x)
    assert_close(y.flatten(3).squeeze(3), expected)
    for s, e in zip(state, last, strict=True) if kind == "LSTM" else [(state, last)]:
        assert_close(s.reshape(e.shape), e)
    assert_identical(interop.export(ours, "torch"), theirs.state_dict())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_torch_cells(kind: str) -> None:
    theirs = getattr(nn, f"{kind}Cell")(3, 4)
    ours = interop.load("torch", theirs.state_dict(), **({"nonlinearity": "tanh"} if kind == "RNN" else {}))
    x = torch.randn(2, 3)
    state, expected = ours(x.unsqueeze(-1)), theirs(x)
    for s, e in zip(state, expected, strict=True) if kind == "LSTM" else [(state, expected)]:
        assert_close(s.squeeze(-1), e)
    assert_identical(interop.export(ours, "torch"), theirs.state_dict())


@pytest.mark.parametrize(
    ("source", "name"), [("ndrplz", "ndrplz_convlstm"), ("kimmel", "kimmel_convgru"), ("keras", "keras_convlstm2d")]
)
def test_zeros_of_either_sign_and_the_dtype_survive_the_round_trip(source: str, name: str) -> None:
    state = {k: v.double() for k, v in recorded(name).state.items()}
    for value in state.values():
        value.view(-1)[:2] = torch.tensor([0.0, -0.0])
    module = interop.load(source, state, **(ASKED if source == "keras" else {}))
    assert next(module.parameters()).dtype == torch.float64
    assert_identical(interop.export(module, source), state)
