"""One of two processes that train models in a loop of their own, replicated (DDP) or sharded (FSDP2).

``python -m tests.helpers.train.parallel WRAPPER FILE`` writes the weights to FILE; test_parallel.py starts two and
compares with :func:`train` in one process.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import convrnn_zoo
from tests.helpers.device import DEVICE


def classify(model, x, rows):
    """Loss of clips of unequal length."""
    labels = torch.arange(4, device=x.device) % 3
    return F.cross_entropy(model(x[rows], lengths=torch.tensor([5, 2, 4, 5])[rows]), labels[rows])


def forecast(model, x, rows):
    """Loss of two frames that follow three."""
    return F.mse_loss(model(x[rows, :3], horizon=2), x[rows, 3:])


MODELS = {
    "convlstm2d_2layer": ({"hidden_channels": 8, "num_classes": 3}, classify),
    "convgru_forecaster": ({"hidden_channels": [4, 4], "kernel_size": 3}, forecast),
    "predrnn_v2": ({"hidden_channels": 8, "num_layers": 2, "patch_size": 2}, forecast),
}
"""Options and losses by name. The adapter of PredRNN v2 has no gradient without its decoupling loss."""
FIND_UNUSED = ("predrnn_v2",)


def build(name, device="cpu"):
    """Returns a model with the same weights in each process, and 4 sequences of 5 frames."""
    torch.manual_seed(0)
    model = convrnn_zoo.create_model(name, in_chans=1, **MODELS[name][0]).train()
    return model.to(device), torch.rand(4, 5, 1, 16, 16).to(device)


def train(name, model, network, x, rows=slice(None)):
    """Trains for some updates on the sequences `rows` of each batch; returns the weights."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        MODELS[name][1](network, x, rows).backward()
        optimizer.step()
    whole = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in model.state_dict().items()}
    return {k: v.detach().cpu().clone() for k, v in whole.items()}


def wrap(wrapper, name, model):
    """Returns the module that a process trains."""
    if wrapper == "ddp":
        return DistributedDataParallel(model, find_unused_parameters=name in FIND_UNUSED)
    return fully_shard(model)


def main(wrapper, file):
    device = DEVICE
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["RANK"]))  # one card for each process
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rows = slice(dist.get_rank(), None, dist.get_world_size())
    weights = {}
    for name in MODELS:
        model, x = build(name, device)
        weights[name] = train(name, model, wrap(wrapper, name, model), x, rows)
    torch.save(weights, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
