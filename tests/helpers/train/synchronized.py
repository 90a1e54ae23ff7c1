"""One of two processes that train a model with synchronized batch norms, on a CPU.

``python -m tests.helpers.train.synchronized KEY FILE`` writes the weights to FILE; KEY is ``true`` or ``false``, the
value of ``sync_bn``. test_sync_bn.py starts two. torch has the operations of its synchronized batch norm for GPUs only.
`registered` adds them for the CPU, by the equations of batch normalization. The exchange of statistics between the
processes, and the derivative, are torch's.
"""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import convrnn_zoo
from convrnn_zoo.train.launch import Processes, launch
from tests.helpers.train.tiny_recipes import PLAIN


def along_channels(values, x):
    return values.view(1, -1, *[1] * (x.dim() - 2))


def others(x):
    return [d for d in range(x.dim()) if d != 1]


def batch_norm_stats(x, eps):
    return x.mean(others(x)), (x.var(others(x), unbiased=False) + eps).rsqrt()


def batch_norm_gather_stats_with_counts(x, means, invstds, running_mean, running_var, momentum, eps, counts):
    total, shares = counts.sum(), (counts / counts.sum())[:, None]
    mean = (shares * means).sum(0)
    var = (shares * (invstds**-2 - eps + (means - mean) ** 2)).sum(0)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(var * total / (total - 1), momentum)
    return mean, (var + eps).rsqrt()


def batch_norm_elemt(x, weight, bias, mean, invstd, eps):
    return (x - along_channels(mean, x)) * along_channels(invstd * weight, x) + along_channels(bias, x)


def batch_norm_backward_reduce(grad, x, mean, invstd, weight, *_):
    sum_dy = grad.sum(others(x))
    sum_dy_xmu = (grad * (x - along_channels(mean, x))).sum(others(x))
    return sum_dy, sum_dy_xmu, sum_dy_xmu * invstd, sum_dy.clone()


def batch_norm_backward_elemt(grad, x, mean, invstd, weight, sum_dy, sum_dy_xmu, counts):
    sum_dy, sum_dy_xmu = sum_dy / counts.sum(), sum_dy_xmu / counts.sum()
    projection = (x - along_channels(mean, x)) * along_channels(invstd**2 * sum_dy_xmu, x)
    return (grad - along_channels(sum_dy, x) - projection) * along_channels(invstd * weight, x)


KERNELS = (
    batch_norm_stats,
    batch_norm_gather_stats_with_counts,
    batch_norm_elemt,
    batch_norm_backward_reduce,
    batch_norm_backward_elemt,
)


@contextmanager
def registered() -> Iterator[None]:
    """Context in which the CPU has the operations, and torch's checks of the device accept it."""
    library = torch.library.Library("aten", "IMPL")
    for kernel in KERNELS:
        library.impl(kernel.__name__, kernel, "CPU")
    with (
        patch.object(torch._C, "_get_privateuse1_backend_name", lambda: "cpu"),
        patch.object(DistributedDataParallel, "_passing_sync_batchnorm_handle", lambda *_: None),
    ):
        yield
    del library  # which undoes its registrations


def train(processes: Processes, sync_bn: bool) -> dict[str, torch.Tensor]:
    """Returns weights and statistics after three updates on the sequences of a process."""
    torch.manual_seed(0)
    sizes = {"hidden_channels": 4, "num_layers": 2, "img_size": 8}
    model = convrnn_zoo.create_model("convlstm_digital_typhoon", **sizes).train()
    x, target = torch.rand(4, 3, 1, 8, 8), torch.rand(4, 2, 1, 8, 8)
    x[::2] *= 3  # the two processes have different statistics
    rows = slice(processes.rank, None, processes.count)
    network = processes.prepare(model, dataclasses.replace(PLAIN, sync_bn=sync_bn))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(network(x[rows], horizon=2), target[rows]).backward()
        optimizer.step()
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with launch() as processes, registered():
        weights = train(processes, sys.argv[1] == "true")
        if processes.is_main:
            torch.save(weights, Path(sys.argv[2]))
