"""Batches that worker processes read ahead."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.datasets.labelled_sequences import LazySequences
from .launch import Processes, mix_seeds, seeded


class _Requests(Sampler[tuple[int, Any]]):
    """Sampler: the numbered requests of the current round."""

    def __init__(self) -> None:
        self.current: Iterator[tuple[int, Any]] = iter(())

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self.current


class _Batches(Dataset[Any]):
    """Dataset: the batches, whose indices are the numbered requests."""

    def __init__(self, read: Callable[[Any], Any], *seeds: int) -> None:
        self.read, self.seeds = read, seeds

    def __getitem__(self, numbered: tuple[int, Any]) -> Any:
        number, request = numbered
        with seeded(mix_seeds(*self.seeds, number)):
            return self.read(request)


def share_sequences(sequences: Sequence[Tensor]) -> LazySequences:
    """Returns sequences of tensors ``(T_i, *S)`` in one tensor, so that worker processes share its memory.

    In a list, each tensor would need a file descriptor, of which a process has about a thousand.

    Example:
        >>> [x.tolist() for x in share_sequences([torch.zeros(2), torch.ones(1)])]
        [[0.0, 0.0], [1.0]]
    """
    ends = list(accumulate(map(len, sequences), initial=0))
    return LazySequences(list(pairwise(ends)), partial(_read_span, torch.cat(list(sequences))))


def _read_span(values: Tensor, span: tuple[int, int]) -> Tensor:
    return values[slice(*span)]


def leave_signals(is_training: Tensor, worker: int) -> None:
    """Leaves Ctrl-C and, during training, SIGTERM to the main process, which saves a checkpoint that needs its workers.

    Workload managers send SIGTERM to all processes. After training, the main process ends its workers with it.
    """

    def handle(number: int, frame: Any) -> None:
        if not is_training:
            os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, handle)


class BatchLoader:
    """Reads the batches of all rounds by one DataLoader, in the main process or in worker processes.

    As a context, it surrounds a training, in which workers ignore SIGTERM. At its end, the workers end.

    Args:
        read: function that reads the batch of a request, such as the indices of random sequences. It is pickled once
            for each worker, unless processes are forked.
        processes: the processes that train together.
        workers: number of worker processes, which read ``2 * workers`` requests ahead. With 0, a request is taken and
            read when its batch is needed.
        seed: seed of the generators of torch, NumPy and Python in `read`. They are seeded for each request, so that a
            batch does not depend on the number of workers or on earlier batches.
    """

    def __init__(self, read: Callable[[Any], Any], processes: Processes, *, workers: int = 0, seed: int = 0) -> None:
        self.requests = _Requests()
        self.waiting = 0.0
        """Share of the time of the current round in which the training waited for a batch."""
        self.is_training = torch.zeros((), dtype=torch.bool)
        if workers:
            self.is_training.share_memory_()
        self.create: Callable[[], DataLoader[Any]] = partial(
            DataLoader,
            _Batches(read, seed, processes.rank),
            batch_size=None,
            sampler=self.requests,
            num_workers=workers,
            pin_memory=processes.can_pin,
            worker_init_fn=partial(leave_signals, self.is_training),
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(seed),  # otherwise the global one
        )
        self.data_loader = self.create()

    def __enter__(self) -> "BatchLoader":
        self.is_training.fill_(True)
        return self

    def __exit__(self, *error: object) -> None:
        self.is_training.fill_(False)
        self.data_loader = self.create()  # the earlier one ends its workers, whose memory the evaluation may need

    def load(self, requests: Iterable[Any], done: int, skip: int = 0) -> Iterator[Any]:
        """Yields the batch of each of `requests`, in their order. The main process iterates over `requests`.

        `done` is the number of updates before the first request. The batches of the first `skip` requests are neither
        read nor yielded.
        """
        self.requests.current = islice(enumerate(requests, done), skip, None)
        batches, begin, waited, end = iter(self.data_loader), time.monotonic(), 0.0, object()
        while True:
            start = time.monotonic()
            batch = next(batches, end)
            now = time.monotonic()
            waited += now - start
            if batch is end:
                return
            self.waiting = waited / max(now - begin, 1e-9)
            yield batch
