"""State-dict keys and their order are public API: checkpoints out in the world depend on them."""

import json
from pathlib import Path

import pytest

from convrnn_zoo import layers
from tests.helpers.layers.oracles import CLASSES, variants

GOLDEN = json.loads((Path(__file__).parent / "state_dict_keys.json").read_text())


def test_every_class_and_option_is_frozen() -> None:
    differing = GOLDEN.keys() ^ {cls.__name__ for cls in CLASSES}
    assert not differing, f"add the keys of {differing} to state_dict_keys.json: CONTRIBUTING.md, Add a cell"
    for cls in CLASSES:
        frozen = [entry["options"] for entry in GOLDEN[cls.__name__]]
        assert all(options in frozen for options in variants(cls)[1:]), f"{cls.__name__}: CONTRIBUTING.md, Add a cell"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_keys_and_their_order(name: str) -> None:
    for entry in GOLDEN[name]:
        module = getattr(layers, name)(in_channels=1, out_channels=1, kernel_size=1, **entry["options"])
        assert " ".join(module.state_dict()) == entry["keys"], entry["options"]
