"""The Hugging Face Hub: models saved and pushed, with their cards. Loading is in ``models``."""

from ..models import from_pretrained
from ._cards import card_text, check_card, model_card
from ._files import save_pretrained
from ._push import push_to_hub

__all__ = [
    "card_text",
    "check_card",
    "from_pretrained",
    "model_card",
    "push_to_hub",
    "save_pretrained",
]
