"""The Hugging Face Hub: models saved, pushed and published, each with its card. Loading is in ``models``."""

from ..models import from_pretrained
from ._cards import card_text, check_card, model_card
from ._files import save_pretrained
from ._publish import Published, publish
from ._push import push_to_hub

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
