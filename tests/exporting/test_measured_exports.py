"""The recorded runs of the exports of the shipped weights: complete, and close to the models."""

import pytest

from tools.weight_exports import WAYS, names, recorded

CELLS = [(name, way) for name in names() for way in WAYS]


@pytest.mark.parametrize(("name", "way"), CELLS)
def test_every_cell_was_run(name, way):
    result = recorded()[name][way]
    if "error" in result:
        assert "has no step form" in result["error"]
    else:
        assert result["bytes"] > 0


@pytest.mark.parametrize(("name", "way"), [(n, w) for n, w in CELLS if "difference" in recorded()[n][w]])
def test_files_compute_what_the_model_does(name, way):
    assert recorded()[name][way]["difference"] <= 1e-5


def test_differences_were_measured_in_the_browser_and_on_phones():
    ways = {way for _, way in CELLS for name in names() if "difference" in recorded()[name][way]}
    assert {"browser", "executorch step", "executorch sequence"} <= ways
