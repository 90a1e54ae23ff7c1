"""Metadata of weights: those of the package, and one generated for the tests."""

import json
import shutil
from pathlib import Path

import safetensors.torch
import timm.models._registry as timm_registry
from timm.models import PretrainedCfg

import convrnn_zoo
from convrnn_zoo import WEIGHTS, Metric, WeightsMetadata
from convrnn_zoo.pretrained import metadata as _weights
from convrnn_zoo.pretrained.state_dict import file_sha256

NAME = "convgru1d_bi_2layer.example"


def example_record(**changes) -> WeightsMetadata:
    """Facts such as a real record states."""
    fields = {
        "name": NAME,
        "sha256": "f" * 64,
        "model_args": {"hidden_channels": [3, 4], "kernel_size": 3},
        "num_params": 1234,
        "input_shape": ("T", 2, "L"),
        "in_chans": 2,
        "num_classes": 3,
        "label_names": ("ah", "ee", "oh"),
        "mean": (0.5, 1.0),
        "std": (1.0, 2.0),
        "task": "audio classification",
        "dataset": "Vowels (CC BY 4.0)",
        "dataset_url": "https://example.org/vowels",
        "metrics": (
            Metric("accuracy", 97.3, "Vowels", "test (370)", mean=97.0, std=0.25, runs=5),
            Metric("accuracy, lengths withheld", 96.0, "Vowels", "test (370)", note="the padding read"),
        ),
        "recipe": "vowels",
        "license": "mit",
        "description": "Tells three vowels apart.",
    }
    return WeightsMetadata(**fields | changes)


def hold(record: WeightsMetadata, monkeypatch) -> WeightsMetadata:
    """The package and timm know of the record for the time of a test, as if its JSON had lain in the package."""
    plain = timm_registry.get_pretrained_cfg(record.architecture).to_dict(remove_source=True)
    cfg = {**plain, **record.cfg(), "architecture": record.architecture, "tag": record.name.split(".")[1]}
    monkeypatch.setitem(WEIGHTS, record.name, record)
    monkeypatch.setitem(timm_registry._model_pretrained_cfgs, record.name, PretrainedCfg(**cfg))
    return record


def carry(directory: Path, monkeypatch) -> dict[str, WeightsMetadata]:
    """A directory of weights in place of the package's: a copy of its shipped, and the example."""
    shipped = list(WEIGHTS.values())
    for record in shipped:
        shutil.copy(record.file, directory)
    monkeypatch.setattr(_weights, "DIRECTORY", directory)
    model = convrnn_zoo.create_model(NAME.split(".")[0], in_chans=2, num_classes=3, **example_record().model_args)
    path = directory / f"{NAME}.safetensors"
    safetensors.torch.save_file(model.state_dict(), path, {"format": "pt"})
    example = example_record(sha256=file_sha256(path), num_params=sum(p.numel() for p in model.parameters()))
    example = WeightsMetadata.from_json(json.dumps(json.loads(example.to_json())))  # as it comes from its file
    return {r.name: hold(r, monkeypatch) for r in [*shipped, example]}
