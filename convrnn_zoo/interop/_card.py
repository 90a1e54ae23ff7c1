"""The card of a converted model: that of any model of the zoo, and where this one came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..hub import model_card
from ..models._safetensors import sha256_of
from ._source import Source


def card(model: nn.Module, name: str, source: Source, origin: Path | None, options: Mapping[str, Any]) -> str:
    """The Markdown of a card; `name` is ``owner/name`` where the repository is known, a title otherwise."""
    words = [f"Converted from a checkpoint of {source.title}"]
    if origin:
        words.append(f"the file `{origin.name}` of sha256 `{sha256_of(origin)}`")
    if options:
        told = " ".join(f"`{key}={json.dumps(value, default=str)}`" for key, value in options.items())
        words.append(f"with {told}, which its weights do not tell")
    description = (
        f"{', '.join(words)}. Its outputs are those of the original. The licence, the training data and the figures "
        "are the original's as well: name them here before this is published."
    )
    return str(model_card(model, name, description=description, tags=["converted"]))
