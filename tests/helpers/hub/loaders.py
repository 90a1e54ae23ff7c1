"""The loaders of a repository, and checks that all rejections have in common."""

import re
import time

import pytest
import timm

import convrnn_zoo
from convrnn_zoo import from_pretrained
from tests.helpers.hub.client import PATIENCE

REPO, WEIGHTS = "alice/model", "model.safetensors"
OURS = {
    "from_pretrained": from_pretrained,
    "create_model": lambda repo, **options: convrnn_zoo.create_model(f"hf-hub:{repo}", pretrained=True, **options),
}
LOADERS = {**OURS, "timm": lambda repo: timm.create_model(f"hf-hub:{repo}", pretrained=True)}
BIG = {"hidden_channels": 40}  # so that a transfer can be cut in the middle


def assert_rejected(loader, error, *words: str, repo: str = REPO) -> str:
    """The message of the error, which names the repository and holds the words; nothing took long."""
    start = time.monotonic()
    with pytest.raises(error) as caught:
        loader(repo)
    assert time.monotonic() - start < PATIENCE
    message = str(caught.value)
    assert isinstance(caught.value, convrnn_zoo.ConvRNNHubError)
    for word in (repo.split("@")[0], *words):
        assert re.search(word, message), f"{word!r} is not in {message!r}"
    return message
