"""Training in the processes that accelerate's launcher or torchrun started, or in a single one."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from .._extras import need

_joined: list[Any] = []
"""The Accelerator of this process, if there are several processes."""
TIMEOUT = timedelta(days=1)
"""How long processes wait for one that evaluates."""


@contextmanager
def launch() -> Iterator[Any]:
    """Yields accelerate's Accelerator; a process may train several recipes one after the other.

    All processes wait for each other at the end, unless one fails and the launcher ends the others. They leave the
    group when they exit, not before: a process that exits while it is joined may be aborted by its threads, and one
    that left cannot join again.
    """
    accelerate = need("accelerate", "train")
    patient = accelerate.InitProcessGroupKwargs(timeout=TIMEOUT)
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(), mixed_precision="no", kwargs_handlers=[patient]
    )
    if accelerator.num_processes > 1 and not _joined:
        _joined.append(accelerator)
        atexit.register(accelerator.end_training)
    yield accelerator
    accelerator.wait_for_everyone()
