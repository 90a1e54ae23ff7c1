"""Batches that worker processes read ahead."""

import signal
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .launch import Processes


class _Reader(Dataset[Any]):
    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __getitem__(self, request: Any) -> Any:
        return self.read(request)


def identity(x: Any) -> Any:
    """Returns its argument."""
    return x


def ignore_interrupts(worker: int) -> None:
    """Ignores Ctrl-C in a worker. The main process handles it: it saves a checkpoint and ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_ahead(
    read: Callable[[Any], Any], requests: Iterable[Any], processes: Processes, *, workers: int = 0, seed: int = 0
) -> DataLoader[Any]:
    """Returns a DataLoader that yields ``read(request)`` for each of `requests`, in their order.

    A request may be the indices of random sequences. The main process iterates over `requests`, so that torch's global
    generator may sample them. Without workers, a request is taken and read when its batch is needed. With workers,
    ``2 * workers`` requests are taken ahead, and `read` is pickled unless processes are forked. Random numbers in
    `read` then depend on `seed`, the number of workers and the earlier batches. They are the same in each run.
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
