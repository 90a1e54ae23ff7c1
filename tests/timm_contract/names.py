"""Pytest plugin that runs timm's model tests on a sample of the zoo and marks the tests that cannot pass."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import timm
from torch import nn

import convrnn_zoo
from convrnn_zoo import ConvRNNModel, Forecaster
from convrnn_zoo.models.base.classifier import Classifier
from convrnn_zoo.models.base.dense import DenseModel

MODELS: dict[str, nn.Module] = {n: convrnn_zoo.create_model(n, device="meta") for n in convrnn_zoo.list_models()}
"""Every architecture, without memory for its weights."""


def is_volume(model: nn.Module) -> bool:
    """Returns whether a model reads signals or volumes instead of images."""
    return isinstance(model, Classifier) and model.ndim != 2


def is_forecaster(model: nn.Module) -> bool:
    """Returns whether a model is a forecaster."""
    return isinstance(model, Forecaster)


def is_dense(model: nn.Module) -> bool:
    """Returns whether a model has an output per pixel."""
    return isinstance(model, DenseModel)


def has_levels(model: nn.Module) -> bool:
    """Returns whether the features of a model are several maps, each with a classifier."""
    return isinstance(model, convrnn_zoo.VideoModel) and len(model.rnns) > 1


def has_necks(model: nn.Module) -> bool:
    """Returns whether a model has hidden layers between its features and its classifier."""
    return model.num_features != getattr(model, "head_hidden_size", model.num_features)


def is_shallow(model: nn.Module) -> bool:
    """Returns whether a model has fewer levels than timm's feature tests require."""
    return not is_forecaster(model) and len(model.feature_info) < 3  # type: ignore[arg-type]


def is_one_group(model: nn.Module) -> bool:
    """Returns whether all parameters of a model read the input: one minimal layer without a head."""
    return isinstance(model, ConvRNNModel) and model.rnn.is_linear and model.rnn.num_layers == 1


def has_other_channels(model: nn.Module) -> bool:
    """Returns whether the weights of a model read other channels than a new model by default."""
    cfg = timm.get_pretrained_cfg(model.pretrained_cfg["architecture"])  # type: ignore[index]
    return bool(cfg and cfg.input_size) and cfg.input_size[0] != model.in_chans  # type: ignore[union-attr, index]


def family(name: str, model: nn.Module) -> str:
    """Returns the family of a model, of which the sample has one: layer and directions, dimensions or class."""
    if isinstance(model, ConvRNNModel):
        return f"{model.ndim}-d" if is_volume(model) else name.rsplit("_", 1)[0]
    return type(model).__name__ if is_forecaster(model) else name


def sample() -> list[str]:
    """Returns the smallest model of each family. The core family has three layers: timm needs three feature levels."""
    names = [n for n, m in MODELS.items() if not isinstance(m, ConvRNNModel) or m.rnn.num_layers == 3]
    heaviest_first = sorted(names, key=lambda n: (-sum(p.numel() for p in MODELS[n].parameters()), n))
    return sorted({family(n, MODELS[n]): n for n in heaviest_first}.values())


class LeftOut(NamedTuple):
    """Tests that cannot pass for some models."""

    tests: tuple[str, ...]
    of: Callable[[nn.Module], bool]
    reason: str


IMAGES = (
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_model_default_cfgs_non_std",
    "test_model_forward_features",
    "test_model_forward_intermediates_features",
    "test_model_forward_intermediates",
    "test_prune_intermediate_layers_contract",
)
"""Tests that generate an image."""
LEFT_OUT = [
    LeftOut(IMAGES, is_volume, "timm draws images (N, C, H, W), and these read signals or volumes: see parts.py"),
    LeftOut(IMAGES, is_forecaster, "timm draws images (N, C, H, W), and a forecaster reads clips: see parts.py"),
    LeftOut(
        ("test_model_load_pretrained", "test_model_features_pretrained"),
        is_forecaster,
        "they ask for 5 classes and for feature maps, and a forecaster rejects both",
    ),
    LeftOut(
        ("test_model_backward", "test_model_default_cfgs"),
        is_dense,
        "they want logits (N, K) and pooled features, and every pixel has an output; _non_std asks for neither",
    ),
    LeftOut(
        ("test_model_default_cfgs",),
        has_levels,
        "it wants one map of features, and several levels give a list; _non_std allows that",
    ),
    LeftOut(
        ("test_model_default_cfgs_non_std",),
        has_necks,
        "it wants features as wide as the classifier's input; test_model_default_cfgs distinguishes the two",
    ),
    LeftOut(
        ("test_model_forward_features",),
        has_levels,
        "the features in front of the encoder's classifier are of one pixel, which is no reduction of the image",
    ),
    LeftOut(
        ("test_model_forward_features", "test_model_forward_intermediates"),
        is_shallow,
        "they want three levels of features; test_model_forward_intermediates_features takes any number",
    ),
    LeftOut(
        ("test_model_backward",),
        has_other_channels,
        "it draws an image of the weights' channels for a new model; test_model_forward asks the model for its size",
    ),
    LeftOut(
        ("test_every_name_keeps_the_contract_that_needs_no_input",),
        is_one_group,
        "timm wants groups of parameters at two depths; those of two and three layers keep the rest of the contract",
    ),
]
"""Each test is run and must fail; a test that passes is an error."""


def list_models(*_: Any, pretrained: bool = False, **__: Any) -> list[str]:
    """Returns the names that timm's tests run on."""
    return sorted(convrnn_zoo.WEIGHTS) if pretrained else sample()


timm.list_models = list_models
timm.list_pretrained = lambda *_, **__: sorted(convrnn_zoo.WEIGHTS)


def pytest_configure(config: Any) -> None:
    """Registers timm's markers."""
    for marker in (
        "base",
        "cfg",
        "cfg_nonstd",
        "fxbackward",
        "forward",
        "backward",
        "features",
        "timeout",
        "torchscript",
        "fxforward",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Marks the tests that cannot pass."""
    used: Counter[int] = Counter()
    for item in items:
        name = item.callspec.params["model_name"]
        for i, left in enumerate(LEFT_OUT):
            if item.originalname in left.tests and left.of(MODELS[name.partition(".")[0]]):
                item.add_marker(pytest.mark.xfail(reason=left.reason, strict=True))
                used[i] += 1
    ran = {item.originalname for item in items}
    idle = [left.reason for i, left in enumerate(LEFT_OUT) if not used[i] and ran.issuperset(left.tests)]
    if idle:
        raise pytest.UsageError(f"these reasons leave nothing out; remove them: {'; '.join(idle)}")
