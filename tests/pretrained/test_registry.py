"""Every registered name, and the rules of registering."""

import inspect
import re

import pytest
import timm
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import convrnn_zoo
from convrnn_zoo.models import Forecaster, convrnn
from convrnn_zoo.models.base.classifier import Classifier
from convrnn_zoo.pretrained.published import PUBLISHED
from convrnn_zoo.pretrained.registry import entry_points, register_model, weight_names
from tests.helpers.hub.examples import representatives
from tests.helpers.registry import slow_unless

NAMES = convrnn_zoo.list_models()
CORE = [n for n in NAMES if entry_points()[n].__module__ == convrnn.__name__ and n != "recurrent_stack"]
SMALL = {"in_chans": 2, "hidden_channels": 4}


def small_input(model, batch=2, steps=3):
    return torch.randn(batch, steps, 2, *(5, 4, 3)[: model.rnn.ndim])


def test_the_core_names_are_the_126_of_the_family():
    kinds = ("convrnn", "convlstm", "convpeepholelstm", "convgru", "minconvgru", "minconvlstm", "minconvexplstm")
    expected = {f"{k}{d}d{b}_{n}layer" for k in kinds for d in (1, 2, 3) for b in ("", "_bi") for n in (1, 2, 3)}
    assert not set(CORE) ^ expected, "register a model of another cell in its own file: CONTRIBUTING.md, Add a cell"


@pytest.mark.parametrize("name", slow_unless(lambda n: "2d_bi_2" in n, CORE))
def test_builds_runs_and_trains_padded_and_packed(name):
    model = convrnn_zoo.create_model(name, **SMALL, num_classes=3)
    x = small_input(model)
    packed = pack_padded_sequence(x, torch.tensor([2, 3]), batch_first=True, enforce_sorted=False)
    for batch_input in (x, packed):
        model.zero_grad()
        out = model(batch_input)
        assert out.shape == (2, 3)
        out.square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", slow_unless(representatives().__contains__, NAMES))
def test_an_unknown_argument_is_a_type_error(name):
    for build in (convrnn_zoo.create_model, timm.create_model):
        with pytest.raises(TypeError, match=rf"{name}\(\) .*'not_an_argument'.*in_chans"):
            build(name, device="meta", not_an_argument=1)
        with pytest.raises(TypeError, match=r"'in_channel'.*in_chans"):
            build(name, device="meta", in_channel=1)


CALLS = [
    {"filter": ["convgru2d_*", "*lstm1d_1layer"]},
    {"filter": "convgru2d_*", "exclude_filters": "*_bi_*"},
    {"exclude_filters": ["*1d*", "*2d*", "*3d*"]},
    {"module": "predrnn"},
    {"module": ["predrnn", "mim"]},
    {"filter": "convgru_forecaster", "pretrained": True},
    {"filter": "convgru_forecaster.r*", "pretrained": True},
    {"filter": "*fsdd", "pretrained": True},
    {"filter": ("nothing",)},
    *(
        pytest.param({"pretrained": True, **call}, marks=pytest.mark.needs("exclude_filters"))
        for call in (
            {"filter": "conv*1d*", "exclude_filters": "*.vowels"},
            {"filter": "convgru*", "exclude_filters": "convgru_forecaster"},
        )
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_list_models_lists_what_timm_lists(call):
    listed = convrnn_zoo.list_models(**call)
    ours = {*convrnn_zoo.WEIGHTS, *PUBLISHED} if call.get("pretrained") else set(NAMES)
    assert listed == sorted(ours.intersection(timm.list_models(**call)))
    assert bool(listed) == (call != {"filter": ("nothing",)})


def test_a_name_of_timm_is_none_of_the_zoo():
    with pytest.raises(ValueError, match="efficientnet_b0"):
        convrnn_zoo.create_model("efficientnet_b0")


def test_a_taken_name_is_rejected_and_stays_its_owners():
    before = timm.models.model_entrypoint("resnet18")
    for name, owner in (("resnet18", "timm.models.resnet"), ("convlstm2d_1layer", "convrnn_zoo.models.convrnn")):

        def function(pretrained=False, **kwargs):
            return torch.nn.Identity()

        function.__name__ = name
        with pytest.raises(ValueError, match=f"'{name}'.* {owner}"):
            register_model(cfg={"input_size": (1, 8, 8)})(function)
    assert timm.models.model_entrypoint("resnet18") is before
    assert isinstance(timm.create_model("convlstm2d_1layer", device="meta"), convrnn_zoo.ConvRNNModel)


def test_an_architecture_does_not_take_on_the_sizes_of_its_weights():
    for record in convrnn_zoo.WEIGHTS.values():
        model = convrnn_zoo.create_model(record.architecture, device="meta")
        assert model.in_chans == inspect.signature(type(model)).parameters["in_chans"].default
        assert model.num_classes == 0
        assert sum(p.numel() for p in model.parameters()) != record.num_params


@pytest.mark.parametrize(("name", "in_chans"), [("convgru_forecaster", 1), ("convgru1d_1layer", 3)])
def test_a_cfg_of_a_few_fields_keeps_those_of_the_architecture(name, in_chans):
    model = timm.create_model(name, pretrained_cfg={"license": "cc-by-4.0"})
    assert (model.num_classes, model.in_chans) == (0, in_chans)
    assert model.pretrained_cfg["license"] == "cc-by-4.0"


def test_list_models_takes_the_module_second_as_timm_does():
    assert convrnn_zoo.list_models("*", "predrnn") == convrnn_zoo.list_models(module="predrnn")
    with pytest.raises(ValueError, match=r"'predrn'.*predrnn"):
        convrnn_zoo.list_models(module="predrn")
    with pytest.raises(TypeError, match="pretrained=True"):
        convrnn_zoo.list_models("*", True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_address_is_pinned(name):
    """A commit, a tag of a release or a number of a record states the version; of a branch, only a checksum does."""
    published = PUBLISHED[name]
    states_version = r"[/@][0-9a-f]{40}/|/releases/download/[^/]+/|zenodo\.org/records/\d+/"
    assert re.search(states_version, published.address) or published.is_pinned


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("convlstm2d_3layer", "convlstm2d_bi_2layer.digit_motion"),
        ("motionrnn_predrnn", "predrnn.openstl_mmnist_ep2000"),
        ("convgru_hko7", "convgru_pyramid.moving_mnist"),
        ("gru_rcn_vgg16", "video_convrnn.digit_motion"),
    ],
)
def test_a_name_without_weights_lists_relatives_and_a_recipe(name, nearest):
    with pytest.raises(convrnn_zoo.WeightsError, match=rf"recipe {name} .*nearest that have: {re.escape(nearest)}"):
        convrnn_zoo.create_model(name, pretrained=True)


def test_only_models_that_a_recipe_trains_name_one():
    for name in entry_points():
        if not weight_names(name):
            with pytest.raises(convrnn_zoo.WeightsError) as caught:
                convrnn_zoo.create_model(name, pretrained=True)
            model = convrnn_zoo.create_model(name, device="meta")
            has_recipe = isinstance(model, Forecaster | Classifier)
            assert (f"recipe {name} " in str(caught.value)) == has_recipe
