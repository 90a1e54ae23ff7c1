"""Recorded checkpoints of other code bases, with their inputs and outputs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

HERE = Path(__file__).parents[2] / "interop"
REFERENCE, KERAS, LAYERS = HERE / "reference", HERE / "keras", HERE.parent / "layers" / "reference"
ASKED = {"padding": "same", "recurrent_activation": "sigmoid"}


class Recorded(NamedTuple):
    """State dict with the outputs of its original code, and the arguments of that code."""

    state: dict[str, Tensor]
    values: dict[str, Tensor]
    kwargs: dict[str, Any]
    dead: list[str] = []  # noqa: RUF012
    """Keys that its code never reads, if the recording lists them."""


def open_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}  # noqa: SIM118


def recorded(name: str) -> Recorded:
    tensors, about = open_file(REFERENCE / f"{name}.safetensors")
    state = {k.removeprefix("w."): v for k, v in tensors.items() if k.startswith("w.")}
    values = {k: v for k, v in tensors.items() if not k.startswith("w.")}
    return Recorded(state, values, json.loads(about["kwargs"]), json.loads(about.get("dead", "[]")))


def recorded_layer_cases() -> list[tuple[str, str]]:
    return [(f.stem, case) for f in sorted(LAYERS.glob("*.safetensors")) for case in sorted(open_file(f)[1])]


def recorded_layer(cls: str, case: str) -> tuple[Recorded, dict[str, Any]]:
    tensors, about = open_file(LAYERS / f"{cls}.safetensors")
    mine = {k.removeprefix(f"{case}/"): v for k, v in tensors.items() if k.startswith(f"{case}/")}
    metadata = json.loads(about[case])
    state = {k.removeprefix("w."): v for k, v in mine.items() if k.startswith("w.")}
    return Recorded(state, {k: v for k, v in mine.items() if k not in state}, metadata["kwargs"]), metadata


def channels_first(x: Tensor, axis: int) -> Tensor:
    return x.movedim(-1, axis)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def assert_agree(actual: Tensor, expected: Tensor, scale: Tensor | None = None) -> None:
    """Compares to 1e-5 of `scale`, by default the standard deviation of the expected values."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * (expected.std() if scale is None else scale)


def assert_identical(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compares keys in any order and values bit for bit: -0.0 differs from 0.0."""
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        a, b = torch.as_tensor(actual[key]), torch.as_tensor(value)
        assert a.dtype == b.dtype, key
        assert a.shape == b.shape, key
        assert a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes(), key
