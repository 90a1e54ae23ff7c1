"""What a file says of itself: facts of the weights, of its states, and of what its numbers mean."""

import json
from collections.abc import Mapping
from typing import Any

from .._version import __version__
from ._plan import Part, Plan


def metadata(model: Any, plan: Plan, which: str, form: str) -> dict[str, str]:
    """The metadata of a file; what is not a word is JSON.

    ``name``, ``description``, ``licence`` and ``data`` of the weights; ``classes``, the labels in order, or how many
    there are; ``mean`` and ``std`` of the input's channels, where it is to be standardised; ``encoding``, ``unit`` and
    ``step`` of a forecaster's frames, and all of its ``preprocessing``; ``front_end`` of a classifier of sound;
    ``form``, ``part``, ``output`` and ``state``
    of the file.
    """
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    record, values = getattr(model, "record", None), getattr(model, "preprocessing", None)
    facts: dict[str, Any] = {
        "name": record.name if record else cfg.get("architecture", type(model).__name__),
        "description": record.description if record else None,
        "licence": record.license if record else None,
        "data": record.trained_on if record else None,
        "classes": _classes(model, cfg),
        **_standardised(model, cfg),
        "form": form,
        "part": which,
        **plan.notes,
        "state": states(plan.parts[which]),
        "made_by": f"convrnn_zoo {__version__}",
    }
    if values is not None:
        facts |= {"encoding": values.encoding, "unit": values.unit, "step": values.step}
        facts["preprocessing"] = values.to_json()
    if (ear := getattr(model, "front_end", None)) is not None:
        facts["front_end"] = ear.to_json()
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in facts.items() if v}


def _classes(model: Any, cfg: Mapping[str, Any]) -> list[str] | int | None:
    count = getattr(model, "num_classes", 0)
    labels = cfg.get("label_names")
    return list(labels) if labels and len(labels) == count else count or None


def _standardised(model: Any, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What is taken off the input's channels and what they are divided by, if anything is."""
    channels = getattr(model, "in_chans", None)
    mean, std = cfg.get("mean"), cfg.get("std")
    if not mean or not std or len(mean) != channels or (set(mean) == {0.0} and set(std) == {1.0}):
        return {}
    return {"mean": list(mean), "std": list(std)}


def states(part: Part) -> list[dict[str, Any]]:
    """The states of a file: names, sizes by the names of the input's axes, and the value of the first one."""
    return [
        {
            "name": p.name.removesuffix("_in"),
            "shape": p.names,
            "dtype": str(p.dtype).removeprefix("torch."),
            "first": 0,
        }
        for p in part.inputs
        if p.name.endswith("_in")
    ]
