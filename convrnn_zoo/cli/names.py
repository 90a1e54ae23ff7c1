"""``convrnn-zoo list`` and ``convrnn-zoo info``."""

import dataclasses
import json
import re
from typing import Any

import click
import torch

from .._hints import suggest
from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import WEIGHTS, Forecaster, Metric, Weights, create_model, list_models
from ..pretrained.factory import build_from_source, split_address
from ..pretrained.published import PUBLISHED, unread_parameters
from ..pretrained.registry import default_of
from ..pretrained.source import SOURCES
from ._text import columns

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a stranger's config may hold what a terminal would obey


@click.command("list")
@click.argument("filter", default="", metavar="[FILTER]")
@click.option("--pretrained", is_flag=True, help="Only sets of weights, with what they were trained on.")
def list_names(filter: str, pretrained: bool) -> None:
    """List the names of the zoo that match FILTER, a shell pattern such as 'convgru2d*'."""
    found = list_models(filter, pretrained=pretrained)
    if not found:
        names = list_models(pretrained=pretrained)
        raise click.ClickException(f"no name matches {filter!r}; {suggest(filter, names, 5)}; quote patterns")
    if pretrained:
        rows = [(n, WEIGHTS[n].trained_on, figure(WEIGHTS[n].metrics[0])) for n in found]
        click.echo(columns(rows, header=("weights", "data", "figure")))
    else:
        click.echo("\n".join(found))


def figure(metric: Metric) -> str:
    """A metric in a few words, with its spread where several runs were made."""
    text = f"{metric.name} {metric.value:.4g} {metric.unit}".rstrip()
    if metric.summed is not None:
        text += f" a pixel, {metric.summed:.4g} summed over {metric.summed_over:,} pixels"
    if metric.std is None or metric.runs < 2:
        return text
    return f"{text} (mean {metric.mean:g} ± {metric.std:g}, {metric.runs} runs)"


def build_without_memory(name: str) -> tuple[Any, Weights | None]:
    """Builds a model on the meta device; returns it with the metadata of its weights, if `name` has weights."""
    scheme, rest = split_address(name)
    source = SOURCES[scheme](rest) if scheme else None
    with torch.device("meta"):  # not device="meta", which a registered network need not take
        if source is None:
            return create_model(name), WEIGHTS.get(name)
        return build_from_source(source, pretrained=False), source.config.record


def input_shape(model: Any, layers: list[Any]) -> list[int | str]:
    """Returns the shape of a model's input, such as ``["N", "T", 3, "H", "W"]``."""
    ndim = 2 if isinstance(model, Forecaster) or not layers else layers[0].ndim
    space = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}[ndim]
    channels = getattr(model, "in_chans", None) or model.pretrained_cfg["input_size"][0]
    return ["N", getattr(model, "input_frames", None) or "T", channels, *space]


def describe(name: str) -> dict[str, Any]:
    """Returns the metadata of an architecture, or of anything that :func:`~convrnn_zoo.from_pretrained` loads.

    Raises:
        ValueError: no architecture or weights have that name.
    """
    model, record = build_without_memory(name)
    cfg = model.pretrained_cfg
    own = [w for w in WEIGHTS.values() if w.architecture == name]
    layers = [m for m in model.modules() if isinstance(m, ConvRNNBase | ConvRNNCellBase)]
    facts: dict[str, Any] = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "input": ["N", *record.input_shape] if record else input_shape(model, layers),
        "features": getattr(model, "num_features", None),
        "classes": getattr(model, "num_classes", None),
        "licence": record.license if record else cfg.get("license"),
    }
    if unread := unread_parameters(model):
        facts["read by nothing"] = unread
    if getattr(model, "preprocessing", None) is not None:
        facts["values"] = model.preprocessing.to_json()
    if getattr(model, "front_end", None) is not None:
        facts["sound"] = model.front_end.to_json()
    if record is None:
        facts["architecture"] = cfg["architecture"]
        facts["weights"] = [w.name for w in own]
        facts["default weights"] = default_of(own).name if own else None
        facts["labels"] = list(cfg.get("label_names") or ())
        facts["layers"] = [f"{type(layer).__name__}({layer.extra_repr()})" for layer in layers]
        facts |= PUBLISHED[name].facts() if name in PUBLISHED else {}
    else:
        facts |= {
            "trained on": record.trained_on,
            "source": record.dataset_url,
            "recipe": record.recipe,
            "description": record.description,
            "labels": list(record.label_names),
            "hub": record.hub_id,
            "sha256": record.sha256,
            "metrics": [dataclasses.asdict(m) for m in record.metrics],
        }
    return facts


@click.command()
@click.argument("name", metavar="NAME|DIR|RECORD.json|hf-hub:OWNER/REPO")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(name: str, as_json: bool) -> None:
    """Tell what NAME is: parameters, input, what its values mean, metrics, source, licence.

    NAME is an architecture (convlstm2d_bi_2layer), a set of weights (architecture.tag), the directory or the record of
    a training run, or the address of a repository.
    """
    facts = describe(name)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    metrics = [Metric(**m) for m in facts.pop("metrics", [])]
    rows = []
    for key, value in facts.items():
        if isinstance(value, list):
            value = f"({', '.join(map(str, value))})" if key == "input" else ", ".join(map(str, value)) or "none"
        if key == "recipe" and "\n" in value:
            value = "its own, which the card shows and --json prints"
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        rows.append((key, f"{value:,}" if isinstance(value, int) else _UNSEEN.sub("\ufffd", str(value or "–"))))
    for data in dict.fromkeys((m.dataset, m.split) for m in metrics):
        rows.append(("measured on", ", ".join(data)))
        rows += [
            ("metric", "; ".join(filter(None, (figure(m), m.note)))) for m in metrics if (m.dataset, m.split) == data
        ]
    click.echo(columns(rows))
