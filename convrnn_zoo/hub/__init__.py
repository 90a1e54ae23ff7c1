"""Saving models, pushing them to the Hugging Face Hub, and their cards.

:func:`convrnn_zoo.from_pretrained` loads them.
"""

from ..models import from_pretrained
from .cards import card_text, check_card, model_card
from .push import push_to_hub
from .save import save_pretrained

__all__ = ["card_text", "check_card", "from_pretrained", "model_card", "push_to_hub", "save_pretrained"]
