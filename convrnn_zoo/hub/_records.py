"""What is claimed of a model's weights, as long as it holds of them, and the card that says so."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard
from torch import nn

from ..models import WEIGHTS, Weights
from ._cards import BEGIN, END, card_text, model_card


def record_of(model: nn.Module, config: Mapping[str, Any]) -> Weights | None:
    """The record that a model came with, if the config is of the same network with the same weights and labels."""
    record: Weights | None = getattr(model, "record", None)
    if record is None:
        return None
    said = json.loads(json.dumps([record.architecture, record.args, record.sha256, list(record.label_names)]))
    said += [values and values.to_json() for values in (record.preprocessing, record.front_end)]
    keys = ("architecture", "model_args", "weights_sha256")
    has = [*(config[k] for k in keys), config.get("label_names", [])]
    same = said == [*has, *(config.get(k) for k in ("preprocessing", "front_end"))]
    return record if same else None


def card_of(
    model: nn.Module, record: Weights | None, existing: str | None, address: str, hub_id: str | None = None
) -> str | None:
    """The card of a model: of its record, with the words of an existing one around the facts.

    None where there is nothing to write: no record, and no card or one that someone else wrote. Where the facts of an
    existing card no longer hold, what the model itself tells takes their place.

    Args:
        model: the model.
        record: what holds of its weights.
        existing: the card that is there.
        address: by which :func:`~convrnn_zoo.from_pretrained` finds the model.
        hub_id: its repository.
    """
    ours = existing is not None and BEGIN in existing and END in existing
    if record is not None and (ours or existing is None):
        shown = dataclasses.replace(record, hub_id=hub_id or record.hub_id)
        return card_text(shown, existing, None if record.name in WEIGHTS else address)
    if not ours:
        return None
    old = ModelCard(str(existing), ignore_metadata_errors=True)
    licence = {key: word for key in ("license", "license_name") if (word := old.data.get(key))}
    new = model_card(model, address, **licence)
    before, _, rest = old.text.partition(BEGIN)
    facts = new.text[new.text.index("```python") :].strip()
    new.text = f"{before.lstrip()}{BEGIN}\n{facts}\n{END}{rest.partition(END)[2]}"
    return f"---\n{new.data.to_yaml()}\n---\n\n{new.text}"
