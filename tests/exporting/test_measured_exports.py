"""The recorded runs of the exports of the shipped weights: complete, and close to the models."""

import pytest

from tools.weight_exports import WAYS, names, recorded

CELLS = [(name, way) for name in names() for way in WAYS]


@pytest.mark.parametrize(("name", "way"), CELLS)
def test_every_cell_was_run(name, way):
    result = recorded()[name][way]
    if "error" in result:
        assert "has no step form" in result["error"]
        assert way.endswith("step")
    else:
        assert result["bytes"] > 0


@pytest.mark.parametrize(("name", "way"), [c for c in CELLS if c[1].startswith(("executorch", "browser"))])
def test_phones_and_browsers_compute_what_the_model_does(name, way):
    assert recorded()[name][way].get("difference", 0) <= 1e-5
