"""Processes that train one model together, started by ``accelerate launch`` or ``torchrun``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Processes(NamedTuple):
    """How many there are, and which one this is.

    All draw the same whole batch and each takes its own part, so that training depends on the size of the whole batch
    and not on how many share it.
    """

    rank: int
    number: int

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and shows."""
        return self.rank == 0

    def own(self, x: Tensor) -> Tensor:
        """This one's part of a batch."""
        return x[self.rank :: self.number]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are the mean of all processes'."""
        return DistributedDataParallel(model) if self.number > 1 else model

    def mean(self, value: Tensor) -> float:
        """The mean of a number over all."""
        if self.number > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.number
        return value.item()


ALONE = Processes(0, 1)


@contextmanager
def joined_processes() -> Iterator[tuple[Processes, torch.device]]:
    """The processes that the launcher's environment tells of, joined for as long, and the device of this one.

    One that ends while it is still joined may be aborted by the threads that waited for the others.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size()), device
    finally:
        if ours:
            dist.destroy_process_group()
