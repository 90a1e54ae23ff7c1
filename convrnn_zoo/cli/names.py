"""``convrnn-zoo list`` and ``convrnn-zoo info``."""

import dataclasses
import json
from typing import Any

import click

from ..layers import ConvRNNBase, ConvRNNCellBase
from ..models import WEIGHTS, Metric, create_model, list_models
from ._text import columns


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
    text = f"{metric.name} {metric.value:g} {metric.unit}".rstrip()
    return text if metric.std is None else f"{text} (mean {metric.mean:g} ± {metric.std:g}, {metric.runs} runs)"


def describe(name: str) -> dict[str, Any]:
    """The facts of a name: of an architecture by building it on the meta device, of weights from their record."""
    record = WEIGHTS.get(name)
    model: Any = create_model(name, device="meta")
    cfg = model.pretrained_cfg
    layers = [m for m in model.modules() if isinstance(m, ConvRNNBase | ConvRNNCellBase)]
    space = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}[layers[0].ndim]
    facts: dict[str, Any] = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "input": ["N", *(record.input_shape if record else ("T", model.in_chans, *space))],
        "features": model.num_features,
        "classes": model.num_classes,
        "licence": record.license if record else cfg.get("license"),
    }
    if record is None:
        facts["weights"] = list_models(f"{name}.*", pretrained=True)
        facts["layers"] = [str(layer) for layer in layers]
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
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(name: str, as_json: bool) -> None:
    """Tell what NAME is: parameters, input, metrics, source, licence.

    NAME is an architecture (convlstm2d_bi_2layer) or a set of weights (architecture.tag).
    """
    facts = describe(name)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    metrics = [Metric(**m) for m in facts.pop("metrics", [])]
    rows = []
    for key, value in facts.items():
        if isinstance(value, list):
            value = f"({', '.join(map(str, value))})" if key == "input" else ", ".join(value) or "none"
        rows.append((key, f"{value:,}" if isinstance(value, int) else value or "–"))
    rows += [("metric", f"{figure(m)}; {m.dataset}, {m.split}{'; ' + m.note if m.note else ''}") for m in metrics]
    click.echo(columns(rows))
