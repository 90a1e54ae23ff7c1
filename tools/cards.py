"""Model cards of the shipped weights. An image below the title and the text after a marker are not generated."""

import re

from convrnn_zoo import Weights
from convrnn_zoo.hub import card_text

NOT_GENERATED = "<!-- not generated -->"


def shipped_card(weights: Weights, existing: str = "") -> str:
    """Returns the card of a set of weights, with the image and the text after the marker of the existing card."""
    card = card_text(weights)
    if picture := re.search(r"^# .*\n\n(!\[.*\n\n)", existing, re.MULTILINE):
        card = card.replace(title := f"# {weights.name}\n\n", title + picture[1], 1)
    _, marker, text = existing.partition(NOT_GENERATED)
    return card + (f"\n{marker}{text}" if marker else "")
