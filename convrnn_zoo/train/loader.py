"""Batches that worker processes read ahead."""

import signal
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .launch import Processes


class _Reader(Dataset[Any]):
    """Dataset whose items are read by a function, for any request."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __getitem__(self, request: Any) -> Any:
        return self.read(request)


def identity(x: Any) -> Any:
    """Returns its argument."""
    return x


def ignore_interrupts(worker: int) -> None:
    """Leaves Ctrl-C to the main process, which saves a checkpoint and ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def load(
    read: Callable[[Any], Any], requests: Iterable[Any], processes: Processes, *, workers: int = 0, seed: int = 0
) -> DataLoader[Any]:
    """Returns a DataLoader of the batches that `read` returns for each of the requests, in their order.

    Requests, such as the numbers of random sequences, are made in this process, where they may draw from torch's global
    generator. Without workers each is made and read when its batch is needed. With workers, ``2 * workers`` requests
    are made ahead, and `read` is pickled where processes are not forked. Random numbers that it draws in a worker
    depend on `seed`, on the number of workers and on the batches before. The same requests give the same batches again.
    """
    return DataLoader(
        _Reader(read),
        batch_size=None,
        sampler=requests,
        num_workers=workers,
        collate_fn=identity,
        pin_memory=processes.can_pin,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator().manual_seed(seed),
    )
