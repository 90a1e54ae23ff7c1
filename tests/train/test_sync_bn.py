"""Batch norms of two processes that share their statistics, as the key `sync_bn` of a recipe asks."""

import pytest
import torch

from convrnn_zoo.train.launch import Processes, launch
from tests.helpers.device import ON_HOST
from tests.helpers.train import synchronized
from tests.helpers.train.runs import run_together


@pytest.mark.slow
@pytest.mark.skipif(not ON_HOST, reason="the operations are replaced on a CPU")
def test_two_processes_with_shared_statistics_reach_the_weights_of_one(tmp_path):
    expected = synchronized.train(Processes(device=torch.device("cpu")), sync_bn=True)
    reached = {}
    for key in ("true", "false"):
        run_together(*[["-m", "tests.helpers.train.synchronized", key, tmp_path / f"{key}.pt"]] * 2)
        reached[key] = torch.load(tmp_path / f"{key}.pt")
    assert reached["true"].keys() == expected.keys()
    torch.testing.assert_close(reached["true"], expected, atol=1e-5, rtol=1e-4)
    for name in ("norms.0.running_mean", "norms.1.running_var", "layers.0.cell.weight_ih"):
        assert not torch.allclose(reached["false"][name], expected[name], atol=1e-4), name


def test_several_processes_on_a_cpu_cannot_share_statistics(monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    monkeypatch.setattr("convrnn_zoo.train.launch._joined", [None])
    with pytest.raises(ValueError, match=r"sync_bn.*cpu"), launch(config={"sync_bn": True}):
        pass
