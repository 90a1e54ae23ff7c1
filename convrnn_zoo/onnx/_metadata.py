"""What a file says of itself: facts of the weights, of its states, and of what its numbers mean."""

import json
from collections.abc import Mapping
from typing import Any

from .._version import __version__
from ..models import WEIGHTS
from ._plan import Part, Plan


def metadata(model: Any, plan: Plan, which: str, form: str) -> dict[str, str]:
    """The metadata of a file; what is not a word is JSON.

    ``name``, ``description``, ``licence`` of the weights; ``classes``, the labels in order; ``mean`` and ``std`` of
    the input's channels, where it is to be standardised; ``encoding``, ``unit`` and ``step`` of a forecaster's frames;
    ``form``, ``part``, ``output`` and ``state`` of the file.
    """
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    tag = cfg.get("tag")
    name = f"{cfg['architecture']}.{tag}" if tag and "architecture" in cfg else cfg.get("architecture")
    record = WEIGHTS.get(name or "")
    facts: dict[str, Any] = {
        "name": name or type(model).__name__,
        "description": cfg.get("description"),
        "licence": cfg.get("license") if record else None,
        "data": record.dataset if record else None,
        "classes": _classes(model, cfg),
        **_frames(model, cfg),
        "form": form,
        "part": which,
        **plan.notes,
        "state": states(plan.parts[which]),
        "made_by": f"convrnn_zoo {__version__}",
    }
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in facts.items() if v}


def _classes(model: Any, cfg: Mapping[str, Any]) -> list[str] | int | None:
    count = getattr(model, "num_classes", 0)
    labels = cfg.get("label_names")
    return list(labels) if labels and len(labels) == count else count or None


def _frames(model: Any, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What must be done to the numbers before the file, and what they are."""
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
