"""timm's contract, as its users meet it, for a model of every class that the registry has."""

import copy
import pickle
from functools import cache

import pytest
import timm
import torch
from timm.utils import freeze, unfreeze

import convrnn_zoo
from convrnn_zoo import AudioModel, ConvRNNModel, Forecaster
from convrnn_zoo.models.base.dense import DenseModel
from convrnn_zoo.models.base.encoder import FrameEncoder
from tests.helpers.hub.examples import sizes, weight
from tests.helpers.registry import on_meta, slow_unless

META = {n: on_meta(n) for n in convrnn_zoo.list_models()}
CORE = [n for n, m in META.items() if isinstance(m, ConvRNNModel) and n.endswith(("_bi_2layer", "_stack"))]
OTHERS = [n for n, m in META.items() if not isinstance(m, ConvRNNModel)]
LIGHTEST = {type(META[n]): n for n in sorted(OTHERS, key=lambda n: (-weight(n), n))}
NAMES = sorted([*CORE, *LIGHTEST.values()])
"""Of the core family every kind and dimension; of every other class its lightest."""
READERS = [n for n in NAMES if not isinstance(META[n], Forecaster)]
FORECASTERS = [n for n in NAMES if isinstance(META[n], Forecaster)]
LARGE = ("biconvlstm_vgg13", "gru_rcn_vgg16", "rvm_mobilenetv3", "trajgru_hko7")  # take as long as all others
every_name, every_reader = (
    pytest.mark.parametrize("name", slow_unless(lambda n: n not in LARGE, names)) for names in (NAMES, READERS)
)


@cache
def built(name):
    torch.manual_seed(0)
    return convrnn_zoo.create_model(name, **sizes(name))


def small(name):
    """A copy of a small model, with three classes where it can have any."""
    return copy.deepcopy(built(name))


def data(model):
    """A batch that the model can read."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(model, ConvRNNModel):
        return torch.rand(2, 3, model.in_chans, *(5, 4, 3)[: model.ndim], generator=generator)
    if isinstance(model, AudioModel):
        return torch.rand(2, 3, model.in_chans, 1, generator=generator)
    edge = model.reduction if isinstance(model, Forecaster) else 32
    return torch.rand(2, getattr(model, "input_frames", None) or 2, model.in_chans, edge, edge, generator=generator)


def run(model):
    """Its output for that batch."""
    x = data(model).to(next(model.parameters()).dtype)
    return model(x, horizon=2) if isinstance(model, Forecaster) else model(x)


def test_every_family_is_there():
    assert {type(m) for m in META.values()} == {type(META[n]) for n in NAMES}
    assert len(CORE) == 22
    assert FORECASTERS
    assert {DenseModel, FrameEncoder} <= {c for n in READERS for m in META[n].modules() for c in type(m).__mro__}


@every_reader
def test_intermediates_are_the_features_and_lead_to_the_output(name):
    model = small(name).eval()
    x = data(model)
    last, levels = model.forward_intermediates(x)
    torch.testing.assert_close(last, model.forward_features(x))
    torch.testing.assert_close(model.forward_head(last), model(x))
    (top,) = model.forward_intermediates(x, indices=[-1], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(top, levels[-1])
    arguments = {k: v for k, v in sizes(name).items() if k != "num_classes"}
    features = timm.create_model(name, features_only=True, **arguments).eval()
    features.model.load_state_dict(model.state_dict(), strict=False)
    maps = features(x)
    torch.testing.assert_close(maps, levels)
    assert features.feature_info.channels() == [y.shape[-1 - model.ndim] for y in levels]
    sum(y.sum() for y in maps).backward()
    assert not [n for n, p in features.named_parameters() if p.grad is None]  # nothing that the maps do not need
    with pytest.raises(ValueError, match=r"indices.*\[9\]"):
        model.forward_intermediates(x, indices=[9])
    with pytest.raises(ValueError, match=r"output_fmt.*'NHWC'"):
        model.forward_intermediates(x, output_fmt="NHWC")


@pytest.mark.parametrize("name", ["convgru1d_2layer", "utae_convgru"])
def test_lengths_are_passed_to_the_model_of_a_feature_extractor(name):
    features = timm.create_model(name, in_chans=2, hidden_channels=4, features_only=True).eval()
    x, lengths = torch.rand(2, 3, 2, *(8,) * features.model.ndim), [3, 2]
    with pytest.raises(TypeError, match=r"\bx\b.*lengths.*forward_intermediates"):
        features(x, lengths=lengths)
    with pytest.raises(TypeError, match="forward_intermediates"):
        features(x, None)
    maps = features.model.forward_intermediates(x, lengths=lengths, intermediates_only=True)
    torch.testing.assert_close([y[:1] for y in maps], features(x[:1]))
    torch.testing.assert_close(pickle.loads(pickle.dumps(features))(x=x[:1]), features(x[:1]))


@pytest.mark.parametrize(
    ("name", "reductions"),
    [
        ("utae_uconvlstm", [1, 2, 4, 8]),
        *slow_unless(lambda _: False, [("bcdunet_d3", [1, 2, 4, 8]), ("utae_buconvlstm", [1, 2, 4, 8])]),
        ("rvm_mobilenetv3", [1, 2, 4, 8, 16]),
        ("utae_convgru", [1]),
    ],
)
def test_features_only_gives_all_levels_of_a_unet(name, reductions):
    model = timm.create_model(name, features_only=True).eval()
    assert model.feature_info.reduction() == reductions
    x = torch.rand(2, 3, model.model.in_chans, 32, 48)
    with torch.no_grad():
        maps = model(x)
        assert [(y.shape[-3], 32 // y.shape[-2], 48 // y.shape[-1]) for y in maps] == list(
            zip(model.feature_info.channels(), reductions, reductions, strict=True)
        )
        torch.testing.assert_close(maps[0], model.model.forward_features(x))
        with pytest.raises(ValueError, match="indices"):
            model.model.prune_intermediate_layers([])
        if (levels := len(reductions)) > 1:
            pruned = timm.create_model(name, features_only=True, out_indices=(1, levels - 1)).eval()
            assert pruned.feature_info.reduction() == [reductions[1], reductions[-1]]
            assert pruned.load_state_dict(model.state_dict(), strict=False).missing_keys == []  # the names stay
            for y, full in zip(pruned(x), (maps[1], maps[-1]), strict=True):
                torch.testing.assert_close(y, full)
        lowest = model.model.prune_intermediate_layers([levels - 1])
        torch.testing.assert_close(model.model.forward_features(x), maps[-1])
        assert lowest == [0]


@pytest.mark.parametrize("name", FORECASTERS)
def test_forecasters_reject_features_and_classes(name):
    model = META[name]
    for method in ("forward_intermediates", "forward_features", "forward_head"):
        with pytest.raises(ValueError, match=f"{method} .*{type(model).__name__}"):
            getattr(model, method)(torch.rand(1, 3, 1, 8, 8))
    assert model.head_hidden_size == model.num_features
    with pytest.raises(ValueError, match=r"num_classes.* 3"):
        model.reset_classifier(3)
    with pytest.raises(ValueError, match=r"global_pool.*'avg'"):
        model.reset_classifier(0, "avg")
    model.reset_classifier(0)
    assert not list(model.get_classifier().parameters())


@every_reader
def test_reset_classifier_preserves_pool_device_mode_and_frozen_parameters(name):
    pools = not isinstance(META[name], DenseModel)
    model = small(name).double().eval().requires_grad_(False)
    model.reset_classifier(3, "max" if pools else None)
    model.pretrained_cfg["label_names"] = ("ah", "ee", "oh")
    model.reset_classifier(3)
    assert not model.pretrained_cfg.get("label_names")  # the old words are not those of the new classes
    model.reset_classifier(5)
    head = list(model.get_classifier().parameters())
    assert head
    assert {p.dtype for p in head} == {torch.float64}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        f"head.{n}" for n, _ in model.get_classifier().named_parameters()
    }
    assert not any(module.training for module in model.modules())
    assert model.num_classes == 5
    if pools:
        assert model.global_pool == "max"
        assert run(model).shape == (2, 5)
        model.reset_classifier(5, "avg")
        assert model.global_pool == "avg"
    else:
        assert run(model).shape[-3] == 5
    model.reset_classifier(0)
    assert not list(model.get_classifier().parameters())
    assert run(model).isfinite().all()
    model.to("meta").reset_classifier(2)
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.sampled("name")
@every_name
def test_frozen_encoder_is_fixed_saved_and_trainable_again(name, tmp_path):
    model = small(name)
    parts = [n for n, child in model.named_children() if list(child.parameters())]
    part = parts[0] if len(parts) > 1 else f"{parts[0]}.0"  # the encoder, or the first module or layer
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    freeze(model, [part])
    before = copy.deepcopy(model.get_submodule(part).state_dict())
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    run(model).square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(model.get_submodule(part).state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.get_submodule(part).parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    convrnn_zoo.save_pretrained(model.eval(), tmp_path)
    torch.testing.assert_close(run(convrnn_zoo.from_pretrained(tmp_path).eval()), run(model))
    unfreeze(model, [part])
    assert {n for n, p in model.named_parameters() if p.requires_grad} >= trained
    run(model.train()).square().mean().backward()
    assert any(p.grad is not None for p in model.get_submodule(part).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_timms_data_config_is_that_of_the_encoder_or_of_the_architecture(name):
    model = META[name]
    config = timm.data.resolve_data_config(model=model)
    encoders = [m.name for m in model.modules() if type(m) is FrameEncoder]  # MattingEncoder normalizes frames itself
    cfg = timm.get_pretrained_cfg(encoders[0]).to_dict() if encoders else model.pretrained_cfg
    assert {k: config[k] for k in ("mean", "std", "input_size")} == {k: cfg[k] for k in ("mean", "std", "input_size")}
    assert len(config["mean"]) == model.in_chans
    assert timm.data.create_transform(**config)
