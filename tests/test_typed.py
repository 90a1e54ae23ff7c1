"""Dataclasses from tables: types are converted, and every wrong field is named."""

import dataclasses
import json

import pytest

from convrnn_zoo import WEIGHTS, WeightsMetadata
from convrnn_zoo._typed import field, read


@dataclasses.dataclass
class Point:
    at: tuple[float, ...]
    unit: str = field("m", choices=("m", "km"))
    weight: float = field(1.0, ge=0)


def test_read_converts_lists_and_whole_numbers():
    assert read(Point, {"at": [1, 2.5], "weight": 2}) == Point(at=(1.0, 2.5), weight=2.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "a point must be an object, got list"),
        ({}, "a point lacks the key at"),
        ({"at": [1, "2"]}, r"a point's at\[1\] must be a finite number, got '2'"),
        ({"at": [], "unit": "mm"}, "a point's unit must be one of 'm', 'km', got 'mm'.*did you mean m"),
        ({"at": [], "weight": -1}, "a point's weight must be at least 0, got -1"),
        (
            {"at": [], "units": "m", "weight": 1e999},
            "key units; did you mean unit.*\n.*weight must be a finite",
        ),
    ],
)
def test_read_names_wrong_fields(table, message):
    with pytest.raises(ValueError, match=message):
        read(Point, table, "a point")


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": ("T",)},
        {"mean": (0.0, 0.0)},
        {"name": "convgru_forecaster.../../x"},
        {"metrics": [{"interval": [1.0]}]},
        {"metrics": [{"mean": 1.0}]},
    ],
)
def test_metadata_that_contradict_themselves_are_rejected(change):
    plain = json.loads(WEIGHTS["convgru_forecaster.rain"].to_json())
    if "metrics" in change:
        change = {"metrics": [{**plain["metrics"][0], **more} for more in change["metrics"]]}
    with pytest.raises(ValueError, match=r"interval|mean|input_shape|name"):
        WeightsMetadata.from_plain({**plain, **change})
