"""Large tensors of a file are mapped, and parameters that it has are not initialized first."""

from pathlib import Path

import pytest
import torch

import convrnn_zoo
from convrnn_zoo.pretrained.state_dict import LARGE, file_sha256


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    model = convrnn_zoo.create_model("convlstm2d_1layer", in_chans=3, hidden_channels=96, num_classes=4)
    convrnn_zoo.save_pretrained(model, tmp_path)
    state = model.state_dict()
    assert {v.nbytes >= LARGE for v in state.values()} == {True, False}
    return tmp_path, state


def test_training_changes_the_model_and_not_the_file(saved: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = saved
    before = file_sha256(path / "model.safetensors")
    model = convrnn_zoo.create_model(f"local-dir:{path}", pretrained=True)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.untyped_storage().nbytes() == p.nbytes for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.rand(2, 3, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not any(torch.equal(v, state[k]) for k, v in model.named_parameters() if v.grad is not None and v.grad.any())
    assert file_sha256(path / "model.safetensors") == before


def test_another_dtype_is_a_copy(saved: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = saved
    model = convrnn_zoo.create_model(f"local-dir:{path}", pretrained=True, dtype=torch.float64)
    assert all(torch.equal(v, state[k].double()) for k, v in model.state_dict().items())


def test_a_head_that_the_file_lacks_is_initialized(saved: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = saved
    torch.manual_seed(0)
    model = convrnn_zoo.create_model(f"local-dir:{path}", pretrained=True, num_classes=7)
    assert 0 < model.head.weight.std() < 1


def test_loading_leaves_the_random_numbers_alone(saved: tuple[Path, dict[str, torch.Tensor]]) -> None:
    torch.manual_seed(0)
    convrnn_zoo.create_model(f"local-dir:{saved[0]}", pretrained=True)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
