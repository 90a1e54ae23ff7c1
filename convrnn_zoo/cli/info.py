"""``convrnn-zoo info``."""

import dataclasses
import json
from typing import Any

import click
import torch

from ..layers import ConvRNNBase, ConvRNNCellBase
from ..layers._base import SPACE
from ..models import Forecaster, create_model
from ..models.factory import build_from_source, split_address
from ..pretrained.metadata import WEIGHTS, Metric
from ..pretrained.published import PUBLISHED
from ..pretrained.registry import weight_names
from ..pretrained.source import SOURCES_BY_SCHEME
from ._options import json_option
from ._text import columns, format_metric


@click.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Describe a model: parameters, input, unit of its values, metrics, source and licence.

    NAME is an architecture (convlstm2d_bi_2layer), weights of the zoo (architecture.tag), the directory or metadata
    file of a training run, or a repository of the Hugging Face Hub (hf-hub:OWNER/REPO).
    """
    fields = collect_metadata(name)
    if as_json:
        click.echo(json.dumps(fields, indent=2, ensure_ascii=False))
        return
    metrics = [Metric(**m) for m in fields.pop("metrics", [])]
    rows = []
    for key, value in fields.items():
        if isinstance(value, list):
            value = f"({', '.join(map(str, value))})" if key == "input" else ", ".join(map(str, value)) or "none"
        if key == "recipe" and "\n" in value:
            value = "a file of the user; see the model card, or --json"
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        rows.append((key, f"{value:,}" if isinstance(value, int) else str(value or "–")))
    for data in dict.fromkeys((m.dataset, m.split) for m in metrics):
        rows.append(("measured on", ", ".join(data)))
        rows += [
            ("metric", "; ".join(filter(None, (format_metric(m), m.note))))
            for m in metrics
            if (m.dataset, m.split) == data
        ]
    click.echo(columns(rows))


def collect_metadata(name: str) -> dict[str, Any]:
    """Returns what is known of an architecture, or of anything that :func:`~convrnn_zoo.from_pretrained` loads.

    Raises:
        ValueError: no architecture or weights have that name.
    """
    scheme, address = split_address(name)
    source = SOURCES_BY_SCHEME[scheme](address) if scheme else None
    with torch.device("meta"):  # not device="meta", which a registered network need not take
        model: Any = build_from_source(source, pretrained=False) if source else create_model(name)
    metadata = source.config.metadata if source else WEIGHTS.get(name)
    cfg = model.pretrained_cfg
    layers = [m for m in model.modules() if isinstance(m, ConvRNNBase | ConvRNNCellBase)]
    space = SPACE[2 if isinstance(model, Forecaster) or not layers else layers[0].ndim].split(", ")
    channels = getattr(model, "in_chans", None) or cfg["input_size"][0]
    shape = (getattr(model, "input_frames", None) or "T", channels, *space)
    fields: dict[str, Any] = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "input": ["N", *(metadata.input_shape if metadata else shape)],
        "features": getattr(model, "num_features", None),
        "classes": getattr(model, "num_classes", None),
        "licence": metadata.license if metadata else cfg.get("license"),
    }
    if getattr(model, "preprocessing", None) is not None:
        fields["values"] = model.preprocessing.to_json()
    if getattr(model, "front_end", None) is not None:
        fields["sound"] = model.front_end.to_json()
    if metadata is None:
        fields["architecture"] = cfg["architecture"]
        if name not in PUBLISHED:
            names = weight_names(name)
            fields["weights"] = sorted(n for n in names if n in WEIGHTS)
            fields["weights of other projects"] = [n for n in names if n in PUBLISHED]
            fields["default weights"] = next(iter(names), None)
        fields["labels"] = list(cfg.get("label_names") or ())
        fields["layers"] = [f"{type(layer).__name__}({layer.extra_repr()})" for layer in layers]
        fields |= PUBLISHED[name].describe() if name in PUBLISHED else {}
    else:
        fields |= {
            "trained on": metadata.trained_on,
            "source": metadata.dataset_url,
            "recipe": metadata.recipe,
            "description": metadata.description,
            "labels": list(metadata.label_names),
            "hub": metadata.hub_id,
            "sha256": metadata.sha256,
            "metrics": [dataclasses.asdict(m) for m in metadata.metrics],
        }
    return fields
