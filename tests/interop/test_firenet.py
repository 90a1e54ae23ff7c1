"""FireNet: recorded outputs and states of the authors' network, the file that they publish, and streams."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from tests.helpers.interop.recorded import assert_close, recorded


@pytest.mark.parametrize("name", ["firenet", "firenet_plus"])
@torch.no_grad()
def test_outputs_and_states_are_those_of_the_original(name: str) -> None:
    known = recorded(name)
    model = interop.load("auto", known.state).eval()
    assert model.pretrained_cfg["architecture"] == "firenet"
    y, state = model.forward_sequence(known.values["x"])
    assert_close(model.forward_head(y), known.values["y"])
    for i, s in enumerate(state):
        assert_close(s[0], known.values[f"state.{i}"])
    assert sum(p.numel() for p in model.parameters()) == sum(v.numel() for v in known.state.values())


def test_the_published_size() -> None:
    assert sum(p.numel() for p in convrnn_zoo.create_model("firenet").parameters()) == 37_777


@torch.no_grad()
def test_a_stream_of_frames_gives_the_images_of_the_sequence() -> None:
    model = interop.load("firenet", recorded("firenet").state).eval()
    grids, stream = recorded("firenet").values["x"], convrnn_zoo.Stream(model)
    images = torch.stack([stream(frame) for frame in grids.unbind(1)], 1)
    assert_close(images, model(grids))
    short = model(grids, lengths=[4, 2])
    assert_close(short[1, :2], model(grids)[1, :2])


def test_errors_name_the_entries() -> None:
    state = recorded("firenet").state
    first = "net.head.conv.conv2d.weight"
    with pytest.raises(WeightsError, match=rf"missing: {first}.*unexpected: extra"):
        interop.load("firenet", {k: v for k, v in state.items() if k != first} | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        convrnn_zoo.create_model("firenet", kernel_size=2)
