"""Training on the device of ``make test-device``: updates with every optimizer and option, and resumed runs.

Two processes on two cards are in tests/train/test_parallel.py, which `make test-device` runs as well.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convrnn_zoo.train import classifier, forecaster
from convrnn_zoo.train.launch import Processes
from tests.helpers.device import TOLERANCES
from tests.helpers.registry import slow_unless
from tests.helpers.simulated import watched
from tests.helpers.train.runs import interrupted, train_model
from tests.helpers.train.tiny_recipes import PLAIN, TINY
from tests.train.test_loop import CLASSIFIER, ramps
from tests.train.test_loop_validation import moving

OPTIMIZERS = (
    "sgd momentum adam adamw nadamw muon lamb lion adafactor adafactorbv adabelief adan adopt laprop mars radam "
    "rmsprop madgrad"
)
WIDE = {"hidden_channels": [16, 16], "kernel_size": 3}
VARIANTS: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.9},
    "float16": {"fp16": True},
    "bfloat16": {"bf16": True},
    "checkpointing": {"grad_checkpointing": True},
    "accumulation": {"grad_accum_steps": 2},
    **{name: {"optimizer": name, "model": WIDE if name == "muon" else PLAIN.model} for name in OPTIMIZERS.split()},
}
ALLOWED = {
    "loop.py": "the loss, the norm of the gradient and the flags of signals are read once an update",
    "forecaster.py": "whether all pixels are known decides how the loss is computed",
    "lengths.py": "torch packs sequences by an order that it computes on the host",
}
"""Files of the package that read a value in an update, or copy one, and why."""


def start(device: torch.device, **fields: Any) -> tuple[Any, Callable[[], Any]]:
    """Returns the trainer of a forecaster, and a function that makes its next update."""
    recipe, processes = dataclasses.replace(PLAIN, **fields), Processes(device=device)
    trainer = forecaster.ForecasterTrainer(recipe, moving(), progress=False, seed=0, processes=processes)
    trainer.model.train()
    batches = iter(trainer.batches(0, 0))
    return trainer, lambda: trainer.update(next(batches))


def assert_allowed(events: list[str]) -> None:
    assert {event.rpartition(" at ")[2].partition(":")[0] for event in events} <= ALLOWED.keys(), events


@pytest.mark.parametrize("variant", slow_unless(lambda v: v in ("ema", "adamw"), VARIANTS))
def test_updates_equal_those_on_the_host(variant: str, device: torch.device) -> None:
    weights = []
    for place in (torch.device("cpu"), device):
        torch.manual_seed(0)
        trainer, update = start(place, **VARIANTS[variant])
        update()
        with watched() as found:
            update()
        assert_allowed(found)
        assert {p.device.type for p in trainer.model.parameters()} == {place.type}
        weights.append({k: v.cpu() for k, v in trainer.model.state_dict().items()})
    # The first steps of most optimizers are signs of gradients, which rounding changes where these are nearly zero.
    tolerance = 50 * TOLERANCES[device.type][variant if variant in TOLERANCES[device.type] else "float32"]
    for key, expected in weights[0].items():
        torch.testing.assert_close(weights[1][key], expected, atol=tolerance, rtol=0)


def test_an_update_of_a_classifier_reads_no_value_before_its_end(device: torch.device) -> None:
    trainer = classifier.ClassifierTrainer(CLASSIFIER, 0, ramps(0), progress=False, processes=Processes(device=device))
    trainer.model.train()
    batches = iter(trainer.batches(0, 0))
    trainer.update(next(batches))
    with watched() as found:
        trainer.update(next(batches))
    assert_allowed(found)
    assert sum("wait" in event for event in found) <= 1


@pytest.mark.parametrize("recipe", [PLAIN, TINY, dataclasses.replace(PLAIN, fp16=True, ema=0.9)])
def test_a_resumed_run_ends_with_the_same_weights(recipe: Any, device: torch.device, tmp_path: Path) -> None:
    def train(out: Path, steps: int) -> Any:
        short = dataclasses.replace(recipe, schedule="cosine", max_steps=steps)
        return train_model(short, moving(), out=out, progress=False, processes=Processes(device=device))[0]

    whole = train(tmp_path / "whole", 4)
    interrupted(lambda: train(tmp_path / "parts", 4), saves=1)
    resumed = train(tmp_path / "parts", 4)
    assert {p.device.type for p in resumed.parameters()} == {device.type}
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), atol=TOLERANCES[device.type]["float32"], rtol=0)
