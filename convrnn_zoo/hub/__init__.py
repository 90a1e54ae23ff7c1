"""The Hugging Face Hub: models pushed to it, and loaded from it or from a directory so that they can be trusted.

Importing this lets ``"hf-hub:owner/name"`` and ``"local-dir:path"`` go through this package's loader, also when they
are asked of timm.
"""

from ..models._loading import SOURCES
from ..models._registry import OPENERS
from ._cards import card_text, check_card, model_card
from ._files import find_in_directory, open_directory, save_pretrained
from ._publish import Published, publish
from ._pull import find_on_hub, from_pretrained, open_repository
from ._push import push_to_hub

SOURCES.update({"hf-hub": find_on_hub, "local-dir": find_in_directory})
OPENERS.update({"hf-hub": open_repository, "local-dir": open_directory})

__all__ = [
    "Published",
    "card_text",
    "check_card",
    "from_pretrained",
    "model_card",
    "publish",
    "push_to_hub",
    "save_pretrained",
]
