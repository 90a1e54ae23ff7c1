"""The network: its forms of input and output, pooling, streaming, and timm's methods."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

import convrnn_zoo
from convrnn_zoo.models.base.lengths import POOLS

KINDS = ("convrnn", "convlstm", "convpeepholelstm", "convgru", "minconvgru", "minconvlstm", "minconvexplstm")
SPACE = {1: (5,), 2: (5, 4), 3: (4, 3, 2)}


def build(name, **kwargs):
    return convrnn_zoo.create_model(name, in_chans=2, hidden_channels=4, **kwargs).eval()


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_four_forms_of_output(kind, ndim):
    space, name = SPACE[ndim], f"{kind}{ndim}d_bi_1layer"
    x = torch.randn(3, 6, 2, *space)
    assert build(name)(x).shape == (3, 6, 8, *space)
    assert build(name, global_pool="")(x).shape == (3, 6, 8, *space)
    assert build(name, num_classes=5)(x).shape == (3, 5)
    assert build(name, num_classes=5, global_pool="")(x).shape == (3, 6, 5, *space)
    for pool in POOLS:
        assert build(name, global_pool=pool)(x).shape == (3, 8)
        assert build(name, num_classes=5, global_pool=pool)(x).shape == (3, 5)
    frame = x[:, 0]
    assert build(name, global_pool="")(frame).shape == (3, 8, *space)
    assert build(name)(frame).shape == (3, 8)  # as timm's image models
    assert build(name, num_classes=5, global_pool="")(frame).shape == (3, 5, *space)


def test_options_of_states_are_passed_on_and_saved(tmp_path):
    options = {"learn_initial_state": True, "zoneout": [0.05, 0.5], "variational_dropout": 0.1}
    model = build("convlstm2d_bi_2layer", num_classes=5, **options)
    assert model.rnn.zoneout == (0.05, 0.5)
    assert model.rnn.variational_dropout == (0.1, 0.1)
    with torch.no_grad():
        model.rnn.initial_c_l1_reverse.fill_(1.0)
    convrnn_zoo.save_pretrained(model, tmp_path)
    again, x = convrnn_zoo.from_pretrained(tmp_path).eval(), torch.randn(2, 3, 2, 5, 4)
    torch.testing.assert_close(again(x), model(x))
    torch.testing.assert_close(model(x, lengths=[3, 2])[1:], model(x[1:, :2]))


@pytest.mark.parametrize("name", ["convlstm2d_bi_2layer", "convgru_forecaster", "video_convrnn"])
def test_learned_initial_states_have_no_weight_decay(name):
    model = convrnn_zoo.create_model(name, learn_initial_state=True)
    learned = {n for n, _ in model.named_parameters() if ".initial_" in n}
    assert learned
    assert learned <= model.no_weight_decay()


lengths_of_batches = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(lengths_of_batches, st.sampled_from(sorted(POOLS)), st.booleans(), st.sampled_from(KINDS))
def test_pools_never_read_padding(lengths, pool, bidirectional, kind):
    torch.manual_seed(0)
    model = build(f"{kind}1d{'_bi' if bidirectional else ''}_2layer", num_classes=3, global_pool=pool)
    x = torch.randn(len(lengths), 6, 2, 5)
    alone = torch.cat([model(x[i : i + 1, :n]) for i, n in enumerate(lengths)])
    dirty = x.clone()
    for i, n in enumerate(lengths):
        dirty[i, n:] = 1e6
    packed = pack_padded_sequence(dirty, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    torch.testing.assert_close(model(dirty, lengths=lengths), alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(packed), alone, atol=1e-5, rtol=1e-5)
    features = model.forward_features(dirty, lengths=lengths)
    assert all((features[i, n:] == 0).all() for i, n in enumerate(lengths))
    features = torch.where(features == 0, torch.nan, features)  # padded features may have any value
    torch.testing.assert_close(model.forward_head(features, lengths=lengths), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_pruned_and_checkpointed(kind):
    model = build(f"{kind}2d_3layer", num_classes=3)
    x = torch.randn(2, 5, 2, 6, 5)
    last, all_layers = model.forward_intermediates(x)
    assert model.forward_head(last, pre_logits=True).shape == (2, model.head_hidden_size)
    (second,) = model.forward_intermediates(x, indices=[1], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(second, all_layers[1])
    expected = model(x)
    model.set_grad_checkpointing()
    model.train()
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    model.eval()
    assert model.prune_intermediate_layers([1]) == [1]
    torch.testing.assert_close(model(x), all_layers[1])
    assert not [k for k in model.state_dict() if "_l2" in k or k.startswith("head")]
    model.requires_grad_(False)
    model.reset_classifier(7, "max")
    assert model(x).shape == (2, 7)
    assert model.rnn.weight_ih_l0.requires_grad is False


@pytest.mark.parametrize(("indices", "error"), [(0, ValueError), ([], ValueError), (True, TypeError)])
def test_errors_name_empty_indices(indices, error):
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=2, hidden_channels=3)
    with pytest.raises(error, match="indices"):
        model.prune_intermediate_layers(indices)
    for stop_early in (False, True):
        with pytest.raises(error, match="indices"):
            model.forward_intermediates(torch.randn(2, 3, 2, 6), indices, stop_early=stop_early)


def test_arguments_of_the_feature_extractor_are_used_or_rejected():
    options = {"in_chans": 2, "hidden_channels": 4, "features_only": True}
    model = timm.create_model("convgru2d_3layer", **options, feature_cls="getter").eval()
    default = timm.create_model("convgru2d_3layer", **options).eval()
    default.load_state_dict(model.state_dict())
    x = torch.randn(1, 2, 2, 8, 8)
    torch.testing.assert_close(model(x), default(x))
    with pytest.raises(ValueError, match=r"feature_cls .*hook"):
        timm.create_model("convgru2d_3layer", **options, feature_cls="hook")
    for name, value in (("out_indices", (0,)), ("feature_cls", "getter")):
        with pytest.raises(TypeError, match=rf"{name}.* features_only"):
            timm.create_model("convgru2d_3layer", **{name: value})


def test_normalize_standardises_each_channel():
    overlay = {"mean": (1.0, 2.0), "std": (2.0, 4.0)}
    model = build("convgru2d_1layer", pretrained_cfg_overlay=overlay)
    x = torch.tensor([3.0, 6.0]).reshape(1, 1, 2, 1, 1)
    assert torch.equal(model.normalize(x), torch.ones_like(x))
    with pytest.raises(ValueError, match=r"\b2 channels.*\b3\b"):
        convrnn_zoo.create_model("convgru2d_1layer", pretrained_cfg_overlay=overlay).normalize(
            torch.randn(1, 1, 3, 2, 2)
        )


X = torch.randn(2, 5, 2, 4, 4)
BAD = {
    "rank": (lambda m: m(torch.randn(2, 2)), ValueError, r"\(2, 2\)"),
    "no tensor": (lambda m: m([1, 2]), TypeError, r"\[1, 2\]"),
    "channels": (lambda m: m(torch.randn(2, 5, 3, 4, 4)), ValueError, r"\b2 .*channels.*axis 2 of x.*\b3\b"),
    "lengths with a PackedSequence": (
        lambda m: m(pack_padded_sequence(X, [5, 5], batch_first=True), lengths=[5, 5]),
        ValueError,
        "lengths.*PackedSequence",
    ),
    "lengths of frames": (lambda m: m(X[:, 0], lengths=[1, 1]), ValueError, r"lengths.*\(2, 2, 4, 4\)"),
    "too few lengths": (lambda m: m(X, lengths=[5]), ValueError, r"lengths.*\b2\b.*\(1,\)"),
    "zero length": (lambda m: m(X, lengths=[5, 0]), ValueError, r"lengths.*\b5\b.*\[5, 0\]"),
    "length too long": (lambda m: m(X, lengths=[5, 6]), ValueError, r"lengths.*\b5\b.*\[5, 6\]"),
    "float lengths": (lambda m: m(X, lengths=torch.tensor([5.0, 1.0])), TypeError, "lengths.*torch.float32"),
    "word lengths": (lambda m: m(X, lengths=["5", "1"]), TypeError, r"lengths.*\['5', '1'\]"),
    "pool": (lambda m: m.reset_classifier(3, "mean"), ValueError, "global_pool.*'avg'.*'mean'"),
    "classes": (lambda m: m.reset_classifier(-1), ValueError, "num_classes.* -1"),
    "format": (lambda m: m.forward_intermediates(X, output_fmt="NHWC"), ValueError, "output_fmt.*'NCHW'.*'NHWC'"),
    "state": (lambda m: m(X, torch.zeros(1, 2, 4, 4, 5)), ValueError, r"h_0.*\(1, 2, 4, 4, 5\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_state_expectation_input_and_fix(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call(build("convgru2d_1layer", num_classes=3))
