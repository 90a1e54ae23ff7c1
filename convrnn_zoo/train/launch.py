"""Training in the processes that accelerate's launcher or torchrun started, or in this one alone."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from .._extras import need

_joined: list[Any] = []
"""The Accelerator of this process, where there are several."""
PATIENCE = timedelta(days=1)
"""For how long processes wait for one that evaluates."""


@contextmanager
def launched() -> Iterator[Any]:
    """accelerate's Accelerator; a process may train one recipe after the other.

    All wait for each other at the end, unless an error ends one, and the launcher then ends the others. They part when
    they end, and not before: a process that ends while still joined may be aborted by its threads, and one that parted
    cannot join for the next training.
    """
    accelerate = need("accelerate", "train")
    patient = accelerate.InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(), mixed_precision="no", kwargs_handlers=[patient]
    )
    if accelerator.num_processes > 1 and not _joined:
        _joined.append(accelerator)
        atexit.register(accelerator.end_training)
    yield accelerator
    accelerator.wait_for_everyone()
