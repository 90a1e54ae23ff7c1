"""Options that an architecture accepts work in its forward pass; the others are rejected when it is built."""

import functools
import math

import pytest
import timm
import torch

import convrnn_zoo
from convrnn_zoo.pretrained import builder
from convrnn_zoo.pretrained.registry import SMALL
from tests.helpers.models.forecasters import FULL, tiny

NAMES = [
    n
    for n in convrnn_zoo.list_models()
    if (n in FULL and "shi2015_mnist" not in n)
    or n.startswith(("utae", "bcdunet", "mobilenetv3", "rvm_mobilenetv3"))
    or n.endswith("2d_1layer")
    or n == "convlstm2d_bi_2layer"
]
OPTIONS = [
    {"bidirectional": True},
    {"num_layers": 2},
    {"num_layers": 3, "bidirectional": True},
    {"hidden_channels": [4, 5], "num_layers": 2},
    {"hidden_channels": [4, 4, 4]},
    {"batch_first": True},
    {"groups": 2},
    {"stride": 2},
    {"dilation": 2},
    {"dropout": 0.5, "num_layers": 2},
    {"kernel_size": 2},
    {"kernel_size": (3, 1)},
    {"padding_mode": "circular"},
    {"padding_mode": ("zeros", "circular")},
    {"bias": False},
    {"layer_norm": True},
    {"norm": "group"},
    {"img_size": (16, 8)},
    {"patch_size": 1},
]


def build(name, **options):
    if name in FULL:
        return tiny(name, **options).eval()
    return convrnn_zoo.create_model(name, **{"in_chans": 3, **SMALL[name], **options}).eval()


@pytest.mark.sampled("name")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_an_option_works_or_is_rejected_when_the_model_is_built(name, options):
    try:
        model = build(name, **options)
    except (TypeError, ValueError):
        return
    with torch.no_grad():
        if name in FULL:
            size = model.reduction * 2
            x = torch.rand(2, model.input_frames or 2, model.in_chans, size, size)
            assert model(x, 2).shape == (2, 2, *x.shape[2:])
        else:
            size = 64 if name.startswith("mobilenet") else 8
            assert len(model(torch.rand(2, 2, model.in_chans, size, size))) == 2


@pytest.mark.slow
def test_no_suggested_argument_is_one_that_the_class_sets_itself(monkeypatch):
    constructors, accepted_arguments = {}, builder.accepted_arguments

    def collect(constructor):
        cls = constructor.func if isinstance(constructor, functools.partial) else constructor
        constructors[cls] = constructor, accepted_arguments(constructor)
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(builder, "accepted_arguments", collect)
        for name in convrnn_zoo.list_models():
            with pytest.raises(KeyError):
                convrnn_zoo.create_model(name)
    assert len(constructors) > 30
    errors = []
    for constructor, accepted in constructors.values():
        for argument in accepted:
            try:
                constructor(**{"num_classes": 0, "device": "meta", argument: "a wrong value"})
            except (TypeError, ValueError, RuntimeError, AttributeError) as e:
                errors.append(str(e))
    assert len(errors) > 200
    assert not [error for error in errors if "multiple values" in error]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("convgru_pyramid", "reduction"),
        ("convlstm_ef", "num_features"),
        ("trajgru_hko7", "num_levels"),
        ("phydnet", "reduction"),
        ("gru_rcn_vgg16", "rnn"),
        ("utae_convgru", "kernel_size"),
    ],
)
def test_an_argument_that_a_class_sets_itself_is_unknown(name, argument):
    for misspelt in (argument, argument[:-1]):
        with pytest.raises(TypeError, match=rf"{name}\(\) .*'{misspelt}'") as caught:
            convrnn_zoo.create_model(name, **{misspelt: 2})
        assert not {argument} & {*str(caught.value).partition(";")[2].replace("?", "").replace(",", "").split()}


@pytest.mark.parametrize("rate", [math.nan, -0.1, 1.5, math.inf, "0.5", True])
@pytest.mark.parametrize("name", ["convgru1d_1layer", "resnet18_convgru2d", "bcdunet_d3"])
def test_a_drop_rate_that_is_no_probability_is_rejected(name, rate):
    with pytest.raises((TypeError, ValueError), match="drop_rate"):
        convrnn_zoo.create_model(name, drop_rate=rate, device="meta")


# ---- states --------------------------------------------------------------------------------------------------------
def test_a_state_with_too_few_or_too_many_levels_is_rejected():
    model = convrnn_zoo.video_model("mobilenetv3_small_100", "convgru", levels=(1, 3), hidden_channels=[4, 6]).eval()
    x = torch.rand(1, 2, 3, 32, 32)
    _, state = model.forward_sequence(x)
    for bad in (state[:1], [*state, state[0]], [], state[0], "ab"):
        with pytest.raises(ValueError, match=r"state.*list of"):
            model(x, bad)
        with pytest.raises(ValueError, match=r"state.*list of"):
            model(x, bad, lengths=[1])
    assert len(model(x, state)) == 2
    assert len(model(x, tuple(state))) == 2


def test_a_decoders_state_has_one_entry_for_each_scale():
    model = build("rvm_mobilenetv3")
    x = torch.rand(1, 2, 3, 64, 64)
    _, state = model.forward_sequence(x)
    for bad in (state[:3], [*state, state[0]], state[0][:1]):
        with pytest.raises(ValueError, match=r"state.*list of"):
            model(x, bad)


ENCODING = [n for n in NAMES if hasattr(FULL.get(n), "encode")]


@pytest.mark.parametrize("name", ENCODING)
def test_forecasters_reject_incomplete_states(name):
    model = tiny(name).eval()
    x = torch.rand(2, 2, 1, model.reduction * 2, model.reduction * 2)
    state = model.encode(x)
    for bad in (None, (), 3, "ab", state[:-1], (*state, state[0]), {}):
        with pytest.raises((TypeError, ValueError), match=r"state|h_0"):
            model.decode(bad)
        if bad is not None:
            with pytest.raises((TypeError, ValueError), match=r"state|h_0"):
                model.encode(x, bad)


@pytest.mark.parametrize("name", ENCODING)
def test_encode_and_decode_are_the_forward_pass(name):
    model = tiny(name).eval()
    x = torch.rand(2, 4, 1, model.reduction * 2, model.reduction * 2)
    expected = model(x, 3)
    torch.testing.assert_close(model.decode(model.encode(x), 3), expected, atol=1e-6, rtol=1e-5)
    pieces = model.encode(x[:, 1:], model.encode(x[:, :1]))
    torch.testing.assert_close(model.decode(pieces, 3), expected, atol=1e-6, rtol=1e-5)


# ---- encoders of timm ----------------------------------------------------------------------------------------------
def test_an_error_inside_timm_is_not_hidden_by_a_second_attempt(monkeypatch):
    calls, create, error = [], timm.create_model, TypeError("inner")

    def broken(name, **options):
        calls.append(name)
        if calls.count("resnet18") == 1 and name == "resnet18":
            raise error
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(TypeError) as caught:
        convrnn_zoo.video_model("resnet18")
    assert caught.value is error
    assert calls.count("resnet18") == 1


@pytest.mark.parametrize("name", ["predrnn_v2", "mim", "convlstm_openstl_s", "convgru_forecaster", "convlstm_ef"])
@pytest.mark.parametrize("width", [1e-30, 8.0, "8"])
def test_a_width_that_is_no_integer_is_an_error_by_name(name, width):
    with pytest.raises((TypeError, ValueError), match="hidden_channels"):
        convrnn_zoo.create_model(name, hidden_channels=width, device="meta")
