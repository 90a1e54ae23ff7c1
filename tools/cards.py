"""Cards of the shipped weights: generated, except for a picture and a last part."""

import re

from convrnn_zoo.hub import card_text
from convrnn_zoo.models import Weights

NOT_GENERATED = "<!-- not generated -->"


def shipped_card(weights: Weights, existing: str = "") -> str:
    """Returns the card of a set of weights, with a picture below its title and the text after the marker kept."""
    card = card_text(weights)
    if picture := re.search(r"^# .*\n\n(!\[.*\n\n)", existing, re.MULTILINE):
        card = card.replace(title := f"# {weights.name}\n\n", title + picture[1], 1)
    _, marker, text = existing.partition(NOT_GENERATED)
    return card + (f"\n{marker}{text}" if marker else "")
