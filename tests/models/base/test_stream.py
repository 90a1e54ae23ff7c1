"""Streams: pieces equal one call for every registered model; resets, waiting, memory, and saved states."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import AudioModel, Stream, models
from convrnn_zoo.layers import KINDS
from convrnn_zoo.pretrained.registry import SMALL
from tests.helpers.hub.examples import representatives
from tests.helpers.registry import on_meta, slow_unless, without_known_inputs

NAMES = convrnn_zoo.list_models()
REFUSED_KINDS = (
    convrnn_zoo.EnsembleForecaster,
    models.utae.ImageSeriesModel,
    models.bcdunet.BCDUNet,
    models.nowcast.network.ConvGRUAdvection,
    models.earthnet.GreenEarthNetConvLSTM,
    models.digital_typhoon.WindowedConvLSTM,
)
CLIP_KINDS = (convrnn_zoo.VideoModel, models.rvm.RecurrentDecoderModel)
ON_META = {n: on_meta(n) for n in NAMES}
REFUSED = {n for n in NAMES if isinstance(ON_META[n], REFUSED_KINDS)}
"""Networks that read noise, or no frames in turn."""
CLIPS = {n for n in NAMES if isinstance(ON_META[n], CLIP_KINDS)}
EDGE = {"convgru_hko7": 30, "trajgru_hko7": 30}


def build(name, **kwargs):
    sizes = {"in_chans": 1, **SMALL[name], **without_known_inputs(name), **kwargs}
    return convrnn_zoo.create_model(name, **sizes).eval()


def make_input(name, model, batch=2, steps=5):
    if isinstance(model, convrnn_zoo.Forecaster):
        return torch.rand(batch, steps, 1, *(EDGE.get(name, 8),) * 2)
    size = (1,) if isinstance(model, AudioModel) else (4, 3, 2)[: model.ndim]
    return torch.randn(batch, steps, 1, *(getattr(model, "reduction", 1) * n for n in size))


@pytest.mark.filterwarnings("ignore:E3DLSTM keeps a memory")
@pytest.mark.parametrize("name", slow_unless(representatives().__contains__, NAMES))
def test_pieces_equal_complete_sequences_or_raise(name):
    if name in REFUSED:
        with pytest.raises(ValueError, match=type(ON_META[name]).__name__):
            Stream(ON_META[name])
        return
    if name in CLIPS and not any(getattr(m, "bidirectional", False) for m in ON_META[name].modules()):
        stream = Stream(ON_META[name])  # as large as their encoders; small ones are compared below
        assert stream(torch.rand(1, 2, 3, 64, 64, device="meta")) is not None
        return
    model = ON_META[name] if name in CLIPS else build(name)
    if "_bi_" in name or name in CLIPS:
        with pytest.raises(ValueError, match="both directions"):
            Stream(model)
        return
    x = make_input(name, model)
    stream = Stream(model)
    if isinstance(model, convrnn_zoo.Forecaster):
        for t in range(5):  # frame by frame, each forecast from all frames so far
            forecast = stream(x[:, t], horizon=2)
            assert not forecast.requires_grad
            torch.testing.assert_close(forecast, model(x[:, : t + 1], horizon=2), atol=1e-5, rtol=1e-5)
    else:
        observed = [stream(piece) for piece in x.split([2, 1, 2], dim=1)]
        torch.testing.assert_close(torch.cat(observed, 1), model(x), atol=1e-5, rtol=1e-5)
        assert not observed[0].requires_grad
    assert stream.steps.tolist() == [5, 5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_stream_runs_a_layer(kind, batch_first):
    layer = KINDS[kind][2](1, [3, 4], 3, num_layers=2, batch_first=batch_first).eval()
    x, stream = torch.randn(2, 5, 1, 4, 3), Stream(layer)
    observed = torch.cat([stream(x[:, :3]), stream(x[:, 3]).unsqueeze(1), stream(x[:, 4:])], 1)
    full, last = layer(x if batch_first else x.transpose(0, 1))
    torch.testing.assert_close(observed, full if batch_first else full.transpose(0, 1))
    torch.testing.assert_close(stream.state, last)


@pytest.mark.parametrize("pool", ["", "avg", "max", "last"])
def test_sequences_of_unequal_length_and_those_that_wait(pool):
    """The output of a sequence does not depend on others that are ahead, skipped or restarted."""
    model = build("convgru2d_2layer", num_classes=3, global_pool=pool)
    x = torch.randn(3, 8, 1, 4, 3)
    stream, alone = Stream(model), [Stream(model) for _ in range(3)]
    read = [0, 0, 0]
    for lengths in ([3, 1, 0], [0, 2, 2], [1, 0, 0], [2, 2, 2]):
        piece = torch.stack([x[i, read[i] : read[i] + 3] for i in range(3)])
        piece = torch.where(
            torch.arange(3).reshape(1, 3, 1, 1, 1) < torch.tensor(lengths).reshape(3, 1, 1, 1, 1), piece, torch.inf
        )
        together = stream(piece, lengths)
        for i, n in enumerate(lengths):
            if n:
                expected = alone[i](piece[i : i + 1, :n])
                observed = together[i : i + 1, :n] if pool == "" else together[i : i + 1]
                torch.testing.assert_close(observed, expected, atol=1e-5, rtol=1e-5)
            elif pool and not read[i]:
                assert together[i].isnan().all()  # it has returned no output yet
            read[i] += n
        assert stream.steps.tolist() == read
        if lengths == [1, 0, 0]:
            stream.reset([1])
            alone[1].reset()
            read[1] = 0
            assert stream.steps.tolist() == [4, 0, 2]
    torch.testing.assert_close(stream.state, torch.cat([one.state for one in alone], 1), atol=1e-5, rtol=1e-5)


STREAMING = [
    n
    for n in NAMES
    if n not in {*REFUSED, *CLIPS, "e3d_lstm"} and "_bi_" not in n and not n.startswith("convlstm_shi2015_mnist")
]
SOME = ("convgru_forecaster", "convgru_pyramid", "convlstm_openstl_s", "predrnn")


@pytest.mark.parametrize("name", slow_unless(lambda n: n.endswith("2d_2layer") or n in SOME, STREAMING))
def test_a_restarted_sequence_forgets_and_the_others_do_not(name):
    model = build(name)
    before, after = make_input(name, model, batch=4, steps=2), make_input(name, model, batch=4, steps=3)
    stream, undisturbed, new = Stream(model), Stream(model), Stream(model)
    stream(before)
    undisturbed(before)
    stream.reset(torch.tensor([False, True, False, True]))
    for t in range(3):
        observed, unchanged, fresh = stream(after[:, t]), undisturbed(after[:, t]), new(after[:, t])
        torch.testing.assert_close(observed[[0, 2]], unchanged[[0, 2]], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(observed[[1, 3]], fresh[[1, 3]], atol=1e-6, rtol=1e-5)
        assert t or not torch.allclose(observed[[1, 3]], unchanged[[1, 3]], atol=0, rtol=1e-4)
    assert stream.steps.tolist() == [5, 3, 5, 3]
    stream.reset([0])
    torch.testing.assert_close(stream(before)[0], Stream(model)(before)[0], atol=1e-6, rtol=1e-5)
    stream.reset()
    torch.testing.assert_close(stream(after[:, 0]), Stream(model)(after[:, 0]))


TWO = {"levels": (1, 3), "hidden_channels": [4, 6]}
CLIP_MODELS = {
    "two levels, pooled": {**TWO, "num_classes": 3, "global_pool": "max"},
    "two levels, features": TWO,
    "two layers, mean": {"rnn": "convlstm", "hidden_channels": 4, "num_layers": 2, "num_classes": 3},
    "every pixel": {"hidden_channels": 4, "num_classes": 3, "global_pool": ""},
    "decoder": {},
}


def clip_model(case):
    torch.manual_seed(0)
    if case == "decoder":
        name = "rvm_mobilenetv3"
        return convrnn_zoo.create_model(name, num_classes=2, aspp_channels=4, widths=(4, 4, 4, 4)).eval()
    return convrnn_zoo.video_model("mobilenetv3_small_100", **{"rnn": "convgru", **CLIP_MODELS[case]}).eval()


def listed(reported):
    return reported if isinstance(reported, list) else [reported]


@pytest.mark.sampled("case")
@pytest.mark.parametrize("case", CLIP_MODELS)
def test_streamed_clips_equal_complete_clips_with_pauses_resets_and_files(case, tmp_path):
    model = clip_model(case)
    x, stream = torch.randn(2, 6, 3, 32, 40), Stream(model)
    pieces = [listed(stream(piece)) for piece in (x[:, :2], x[:, 2], x[:, 3:])]
    pieces[1] = [y if y.dim() == 2 else y.unsqueeze(1) for y in pieces[1]]
    for full, *observed in zip(listed(model(x)), *pieces, strict=True):
        got = observed[-1] if full.dim() == 2 else torch.cat(observed, 1)
        torch.testing.assert_close(got, full, atol=1e-5, rtol=1e-5)
        assert not got.requires_grad

    stream.reset([1])  # and the first goes on with one frame while the second reads none, then two
    last = stream(torch.where(torch.tensor([True, False]).reshape(2, 1, 1, 1, 1), x[:, :1], torch.nan), [1, 0])
    assert stream.steps.tolist() == [7, 0]
    for y in listed(last):
        assert y[1].isnan().all() if y.dim() == 2 else y[1].isfinite().all()
    stream.save(tmp_path / "state.safetensors")
    again = Stream(model)
    again.load(tmp_path / "state.safetensors")
    ends = [listed(s(x[:, :3], [3, 2])) for s in (stream, again)]
    fresh, long = listed(model(x[1:, :2])), listed(model(torch.cat([x[:1], x[:1, :1], x[:1, :3]], 1)))
    for got, same, new, old in zip(*ends, fresh, long, strict=True):
        assert torch.equal(got, same)
        pooled = got.dim() == 2
        torch.testing.assert_close(got[1:] if pooled else got[1:, :2], new, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got[:1], old if pooled else old[:, -3:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("convlstm2d_2layer", {"num_classes": 3}),
        ("convgru1d_1layer", {}),
        ("convlstm_forecaster", {}),
        ("convlstm_ef", {}),
        ("predrnn", {}),
        ("convlstm2d_2layer", {"num_classes": 3, "dtype": torch.bfloat16}),
    ],
)
def test_restored_state_continues_exactly(name, kwargs, tmp_path):
    model = build(name, **kwargs)
    x = make_input(name, model).to(kwargs.get("dtype", torch.float32))
    stream, other = Stream(model), Stream(model)
    stream(x[:, :3])
    stream.save(tmp_path / "state.safetensors")
    other.load(tmp_path / "state.safetensors")
    assert other.steps.tolist() == [3, 3]
    assert torch.equal(other(x[:, 3:]), stream(x[:, 3:]))


def test_rejects_a_state_of_other_weights(tmp_path):
    stream = Stream(build("convgru1d_1layer"))
    stream(torch.randn(1, 1, 4))
    stream.save(tmp_path / "state.safetensors")
    with pytest.raises(convrnn_zoo.WeightsError, match=r"state\.safetensors.*other weights"):
        Stream(build("convgru1d_1layer")).load(tmp_path / "state.safetensors")
    convrnn_zoo.save_pretrained(stream.model, tmp_path)
    with pytest.raises(convrnn_zoo.WeightsError, match=r"model\.safetensors.*state"):
        stream.load(tmp_path / "model.safetensors")
    with pytest.raises(OSError, match=r"nothing\.safetensors"):
        stream.load(tmp_path / "nothing.safetensors")


X = torch.randn(2, 3, 1, 4)
BAD = {
    "training": (lambda: Stream(build("convgru1d_1layer").train()), ValueError, r"ConvRNNModel.*training"),
    "kind": (lambda: Stream(torch.nn.Linear(1, 1).eval()), ValueError, "Linear"),
    "no tensor": (lambda: running()([1]), ValueError, r"piece.*\[1\]"),
    "rank": (lambda: running()(X[0, 0]), ValueError, r"piece.*\(1, 4\)"),
    "channels": (lambda: running()(X.expand(2, 3, 2, 4)), ValueError, r"\b1 .*channels.*axis 2 of x.*\b2\b"),
    "map": (lambda: running()(X[..., :3]), ValueError, r"h_0.*\(1, 2, 4, 3\)"),
    "batch": (lambda: running()(X[:1]), ValueError, r"\b2 sequences.*piece.*\b1\b"),
    "lengths of frames": (lambda: running()(X[:, 0], [1, 1]), ValueError, r"lengths.*\(2, 1, 4\)"),
    "length too long": (lambda: running()(X, [4, 1]), ValueError, r"lengths.*\b3\b.*\[4, 1\]"),
    "negative length": (lambda: running()(X, [-1, 1]), ValueError, r"lengths.*\b3\b.*\[-1, 1\]"),
    "too few lengths": (lambda: running()(X, [1]), ValueError, r"lengths.*\b2\b.*\(1,\)"),
    "horizon": (lambda: running()(X, horizon=2), ValueError, "horizon.*ConvRNNModel"),
    "lengths of a forecaster": (
        lambda: Stream(build("predrnn"))(torch.rand(1, 2, 1, 8, 8), [1]),
        ValueError,
        "lengths.*forecaster",
    ),
    "lengths of a layer": (lambda: Stream(running().model.rnn)(X, [1, 1]), ValueError, "lengths.*Conv1dGRU"),
    "horizon of none": (
        lambda: Stream(build("predrnn"))(torch.rand(1, 2, 1, 8, 8), horizon=0),
        ValueError,
        "horizon.* 0",
    ),
    "a float": (lambda: running().reset([0.5]), TypeError, r"reset.*\[0.5\]"),
    "words": (lambda: running().reset(["a"]), TypeError, r"reset.*\['a'\]"),
    "one number": (lambda: running().reset(1), TypeError, r"reset.* 1 \(int\)"),
    "too few booleans": (lambda: running().reset([True]), IndexError, r"reset.*\b2\b.* 1"),
    "item": (lambda: running().reset([2]), IndexError, r"reset.*\[2\]"),
    "item from behind": (lambda: running().reset([-1]), IndexError, r"reset.*\[-1\]"),
    "item too early": (lambda: Stream(build("convgru1d_1layer")).reset([0]), ValueError, "^reset"),
    "name of a file": (lambda: running().save("x.txt"), ValueError, r"x\.txt.*safetensors"),
    "save too early": (lambda: Stream(build("convgru1d_1layer")).save("x"), ValueError, "^save"),
}


def running():
    stream = Stream(build("convgru1d_1layer", num_classes=2))
    stream(X)
    return stream


@pytest.mark.parametrize("case", BAD)
def test_errors_state_expectation_input_and_fix(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_rejected_piece_does_not_change_the_state():
    stream = running()
    before, steps = stream.state.clone(), stream.steps.tolist()
    with pytest.raises(ValueError, match=r"\b1 .*channels.*axis 2 of x.*\b2\b"):
        stream(X.expand(2, 3, 2, 4))
    assert torch.equal(stream.state, before)
    assert stream.steps.tolist() == steps
    stream.model.train()
    with pytest.raises(ValueError, match=r"ConvRNNModel.*training"):
        stream(X)


def compile_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("compiled", [lambda m: torch.compile(m, backend="eager"), compile_in_place])
@pytest.mark.parametrize(
    ("name", "method"), [("convgru1d_1layer", "forward_sequence"), ("convgru_forecaster", "encode")]
)
def test_a_compiled_model_is_rejected_since_its_forward_is_not_called(name, method, compiled):
    with pytest.raises(ValueError, match=rf"compile.*model\.{method} = "):
        Stream(compiled(build(name)))
