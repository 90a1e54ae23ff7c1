"""FireNet and E2VID: recorded outputs and states of the authors' networks, and streams."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.layers._states import name_tensors
from tests.helpers.interop.recorded import assert_close, recorded

RECORDED = {"firenet": "firenet", "firenet_plus": "firenet", "e2vid": "e2vid", "e2vid_plus": "e2vid"}
"""Recordings with the name of the architecture. ``e2vid_plus`` has no norms, and bilinear upsampling."""


@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_outputs_and_states_are_those_of_the_original(name: str) -> None:
    known = recorded(name)
    options = known.kwargs if "e2vid" in name else {}
    model = interop.load("auto", known.state, **options).eval()
    assert model.pretrained_cfg["architecture"] == RECORDED[name]
    y, states = model.forward_sequence(known.values["x"])
    assert_close(model.forward_head(y), known.values["y"])
    for i, state in enumerate(states):
        for j, s in name_tensors(state):
            assert_close(s[0], known.values[f"state.{i}{j}"])
    weights = [v for key, v in known.state.items() if not key.endswith(("_mean", "_var", "_tracked"))]
    assert sum(p.numel() for p in model.parameters()) == sum(v.numel() for v in weights)


@pytest.mark.parametrize(
    ("name", "args", "count"),
    [
        ("firenet", {}, 37_777),
        ("e2vid", {}, 10_712_098),
        ("e2vid", {"upsampling": "transposed"}, 10_712_098),
        ("e2vid", {"norm": "none"}, 10_710_401),
    ],
)
def test_published_sizes(name: str, args: dict[str, str], count: int) -> None:
    assert sum(p.numel() for p in convrnn_zoo.create_model(name, device="meta", **args).parameters()) == count


@pytest.mark.parametrize("name", ["firenet", "e2vid"])
@torch.no_grad()
def test_a_stream_of_frames_gives_the_images_of_the_sequence(name: str) -> None:
    known = recorded(name)
    model = interop.load(name, known.state, **(known.kwargs if name == "e2vid" else {})).eval()
    grids, stream = known.values["x"], convrnn_zoo.Stream(model)
    images = torch.stack([stream(frame) for frame in grids.unbind(1)], 1)
    assert_close(images, model(grids))
    short = model(grids, lengths=[3, 2])
    assert_close(short[1, :2], model(grids)[1, :2])


@pytest.mark.parametrize("activation", [None, "relu"])
def test_the_activation_of_e2vid_must_be_given(activation: str | None) -> None:
    with pytest.raises(WeightsError, match=r"final_activation.*'sigmoid'.*'none'"):
        interop.load("e2vid", recorded("e2vid").state, final_activation=activation)
