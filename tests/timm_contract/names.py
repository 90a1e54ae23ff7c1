"""A pytest plugin that puts the zoo's names where timm's tests list timm's."""

from typing import Any

import timm

import convrnn_zoo

# Three layers: timm's feature tests expect at least three levels.
NAMES = convrnn_zoo.list_models("conv*2d*_3layer")


def list_models(*_: Any, pretrained: bool = False, **__: Any) -> list[str]:
    return convrnn_zoo.list_models(pretrained=True) if pretrained else NAMES


timm.list_models = list_models
timm.list_pretrained = lambda *_, **__: convrnn_zoo.list_models(pretrained=True)


def pytest_configure(config: Any) -> None:
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
