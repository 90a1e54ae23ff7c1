"""Trained weights: their safetensors file and their record."""

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from .._whole import whole
from ..models import Metric, Weights
from .data import DataSet
from .recipe import Recipe


def write_tensors(model: nn.Module, path: Path) -> str:
    """Writes the state dict, whole or not at all, and gives the file's sha256; the same weights are the same bytes."""
    # One entry of metadata: with more, their order and so the checksum differ from run to run.
    content = safetensors.torch.save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, {"format": "pt"})
    with whole(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


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
        sha256=write_tensors(model, into / f"{recipe.weights}.safetensors"),
        num_params=sum(p.numel() for p in model.parameters()),
        task=data.task,
        dataset=f"{data.title} ({data.license})",
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
