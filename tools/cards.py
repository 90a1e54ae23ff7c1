"""Model cards of the shipped weights. An image below the title and the text after a marker are not generated."""

import re

from benchmarks.tables import narrow
from convrnn_zoo import WeightsMetadata
from convrnn_zoo.hub import card_text

NOT_GENERATED = "<!-- not generated -->"


def shipped_card(metadata: WeightsMetadata, existing: str = "") -> str:
    """Returns the card of a set of weights, with the image and the text after the marker of the existing card."""
    card = narrow(card_text(metadata))
    if picture := re.search(r"^# .*\n\n(!\[.*\n\n)", existing, re.MULTILINE):
        card = card.replace(title := f"# {metadata.name}\n\n", title + picture[1], 1)
    _, marker, text = existing.partition(NOT_GENERATED)
    return card + (f"\n{marker}{text}" if marker else "")
