"""``convrnn-zoo list`` and ``convrnn-zoo info``."""

import dataclasses
import json
import re
from typing import Any

import click

from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import WEIGHTS, Forecaster, Metric, Weights, create_model, list_models
from ..pretrained.factory import address_of
from ..pretrained.loading import OPENERS
from ..pretrained.published import PUBLISHED, unread_parameters
from ..pretrained.registry import build_stored, default_of
from ._text import columns

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a stranger's config may hold what a terminal would obey


@click.command("list")
@click.argument("filter", default="", metavar="[FILTER]")
@click.option("--pretrained", is_flag=True, help="Only sets of weights, with what they were trained on.")
def list_names(filter: str, pretrained: bool) -> None:
    """List the names of the zoo that match FILTER, a shell pattern such as 'convgru2d*'."""
    found = list_models(filter, pretrained=pretrained)
    if not found:
        raise click.ClickException(f"no name matches {filter!r}; quote patterns such as 'conv*2d*', or leave it out")
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
    return text if metric.std is None else f"{text} (mean {metric.mean:g} ± {metric.std:g}, {metric.runs} runs)"


def _length(model: Any) -> int | str:
    return getattr(model, "input_frames", None) or "T"


def described(name: str) -> tuple[Any, Weights | None]:
    """What a name names, built without memory for its weights, and its record: an architecture has none."""
    scheme, rest = address_of(name)
    if not scheme:
        return create_model(name, device="meta"), WEIGHTS.get(name)
    stored = OPENERS[scheme](rest)
    return build_stored(stored, pretrained=False, device="meta"), stored.said.record


def describe(name: str) -> dict[str, Any]:
    """The facts of whatever :func:`~convrnn_zoo.from_pretrained` takes, or of an architecture."""
    model, record = described(name)
    cfg = model.pretrained_cfg
    own = [w for w in WEIGHTS.values() if w.architecture == name]
    layers = [m for m in model.modules() if isinstance(m, ConvRNNBase | ConvRNNCellBase)]
    space = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}[2 if isinstance(model, Forecaster) else layers[0].ndim]
    facts: dict[str, Any] = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "input": ["N", *(record.input_shape if record else (_length(model), model.in_chans, *space))],
        "features": model.num_features,
        "classes": model.num_classes,
        "licence": record.license if record else cfg.get("license"),
    }
    if unread := unread_parameters(model):
        facts["read by nothing"] = unread
    if model.preprocessing is not None:
        facts["values"] = model.preprocessing.to_json()
    if model.front_end is not None:
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
