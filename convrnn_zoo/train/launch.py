"""Training in the processes that accelerate's launcher or torchrun started, or in this one alone."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._extras import need

_joined: list[Any] = []
"""The Accelerator of this process, where there are several: they part when it ends, and not before."""


@contextmanager
def launched() -> Iterator[Any]:
    """accelerate's Accelerator; one process may train one recipe after the other.

    Processes part together when they end: one that ends while still joined may be aborted by its threads, and one that
    parted cannot join for the next training.
    """
    accelerate = need("accelerate", "train")
    accelerator = accelerate.Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
    if accelerator.num_processes > 1 and not _joined:
        _joined.append(accelerator)
        atexit.register(part, accelerator)
    yield accelerator
    accelerator.wait_for_everyone()


def part(accelerator: Any) -> None:
    """Waits until the others are done as well, and leaves them."""
    accelerator.wait_for_everyone()
    accelerator.end_training()
