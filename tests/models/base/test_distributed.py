"""Models in two processes: DistributedDataParallel after unfreezing, and fully sharded parameters."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
import torch.distributed as dist
from timm.utils import freeze, unfreeze
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

import convrnn_zoo

dist.init_process_group("gloo", store=dist.FileStore(sys.argv[1], 2), rank=int(sys.argv[2]), world_size=2)
torch.manual_seed(0)
for name, options in (("predrnn_pp", {}), ("e3d_lstm", {"img_size": 8})):
    model = convrnn_zoo.create_model(name, hidden_channels=4, num_layers=2, patch_size=2, **options)
    freeze(model)
    unfreeze(model)
    parallel = DistributedDataParallel(model)
    for _ in range(3):  # a parameter without a gradient is an error in the second step
        parallel(torch.rand(1, 2, 1, 8, 8), 1).sum().backward()

nowcast = convrnn_zoo.create_model("convgru_advection.nowcast", pretrained=True).eval()
matting = convrnn_zoo.create_model("rvm_mobilenetv3", widths=[4, 4, 4, 4], aspp_channels=4).eval()
for model, method, x in (
    (nowcast, "forecast", 5 * torch.rand(4, 16, 16)),
    (matting, "matte", torch.rand(1, 2, 3, 32, 32)),
):
    expected = getattr(model, method)(x)
    fully_shard(model)
    register_fsdp_forward_method(model, method)
    torch.testing.assert_close(getattr(model, method)(x), expected)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.needs("cpu_sharding")
def test_two_processes_train_unfrozen_models_and_run_sharded_ones(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "store"), str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
