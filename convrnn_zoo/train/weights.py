"""Trained weights: their safetensors file and their record."""

from pathlib import Path
from typing import Any

from torch import nn

from ..models import Metric, Weights
from ..models._safetensors import write_file
from .data import DataSet
from .recipe import Recipe


def write_weights(
    recipe: Recipe, model: nn.Module, data: DataSet, metrics: tuple[Metric, ...], into: Path, **facts: Any
) -> Weights:
    """Writes safetensors and record, each whole or not at all, the record last.

    Args:
        recipe: how the model was trained.
        model: whose weights they are.
        data: what it was trained on.
        metrics: what it reaches.
        into: the directory.
        **facts: what else the record holds, by the names of :class:`~convrnn_zoo.Weights`.
    """
    record = Weights(
        name=recipe.weights,
        sha256=write_file(model.state_dict(), into / f"{recipe.weights}.safetensors"),
        num_params=sum(p.numel() for p in model.parameters()),
        task=data.task,
        dataset=data.title,
        dataset_license=data.license,
        split=metrics[0].split,
        dataset_url=data.url,
        metrics=metrics,
        recipe=recipe.name,
        license=recipe.license,
        description=recipe.description,
        citation=recipe.citation,
        remarks=recipe.remarks,
        **facts,
    )
    record.save(into)
    return record
