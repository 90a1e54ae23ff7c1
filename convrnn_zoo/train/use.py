"""Models by whatever names them."""

from pathlib import Path
from typing import Any

from ..models import WEIGHTS, create_model, from_pretrained


def model_of(name: str) -> Any:
    """A model with its weights: a name of the zoo, a directory, or an address of the Hub."""
    if name in WEIGHTS:
        return create_model(name, pretrained=True)
    return from_pretrained(Path(name) if Path(name).is_dir() else name)
