"""Training in one or several processes: device, communication, progress bar and trackers."""

import atexit
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from ._values import flat

_joined: list[Any] = []
"""The Accelerator of this process, if there are several processes."""
TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Trackers of accelerate, which are also the names of modules and extras."""
ThreadChooser = Callable[[int | None, Callable[[], None]], None]
"""Function of the number of threads in the checkpoint of a resumed run, or None, and of a training step to time."""


@dataclass(frozen=True)
class Processes:
    """The current process in a group that trains together; by default a single process on torch's default device.

    `count` is the number of processes, and `rank` the number of the current one, from 0. `choose_threads` sets torch's
    number of threads before the first update.
    """

    accelerator: Any = None
    device: torch.device = field(default_factory=torch.get_default_device)
    choose_threads: ThreadChooser | None = None
    count: int = 1
    rank: int = 0

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def can_pin(self) -> bool:
        """Whether the device supports pinned memory, from which batches are copied faster."""
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator == torch.device(self.device.type) and hasattr(getattr(torch, self.device.type), "Stream")

    def prepare(self, model: nn.Module, find_unused: bool = False) -> nn.Module:
        """Moves a model to the device; returns the module to train, which averages the gradients of all processes.

        Set `find_unused` if some parameters may have no gradient, such as those of a frozen encoder.
        """
        model.to(self.device)
        if self.count == 1:
            return model
        kwargs = need("accelerate", "train").DistributedDataParallelKwargs(find_unused_parameters=find_unused)
        self.accelerator.ddp_handler = kwargs
        return self.accelerator.prepare(model)

    def reduce(self, values: Tensor, reduction: str = "mean") -> Tensor:
        """Returns the ``"mean"`` or the ``"sum"`` of the values over all processes."""
        return values if self.count == 1 else self.accelerator.reduce(values, reduction)

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Context in which each of several processes has its own random numbers.

        Afterwards the CPU generator continues from its earlier state, which is the same in all processes.
        """
        if self.count == 1:
            yield
            return
        seed = int(torch.randint(2**40, ()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + self.rank)
            yield

    def random_states(self) -> dict[str, Tensor]:
        """Returns the states of torch's random generators of the CPU and of the device."""
        states = {"host": torch.get_rng_state()}
        module: Any = getattr(torch, self.device.type, None)
        if hasattr(module, "get_rng_state"):
            states["device"] = module.get_rng_state(*self._arguments(module.get_rng_state))
        return states

    def set_random_states(self, states: Mapping[str, Tensor]) -> None:
        """Restores the states that :meth:`random_states` returned."""
        torch.set_rng_state(states["host"])
        if "device" in states:
            set_rng_state = getattr(torch, self.device.type).set_rng_state
            set_rng_state(states["device"], *self._arguments(set_rng_state))

    def _arguments(self, function: Callable[..., Any]) -> tuple[torch.device, ...]:
        """Returns ``(device,)``, or ``()`` if the device has no index (current device) or `function` takes none."""
        takes_device = "device" in inspect.signature(function).parameters
        return (self.device,) if takes_device and self.device.index is not None else ()

    def log(self, values: Mapping[str, float], step: int, image: Any = None) -> None:
        """Passes values, and optionally an image ``(H, W, 3)`` of bytes, to the trackers."""
        if self.accelerator is None or not self.accelerator.trackers:
            return
        self.accelerator.log(dict(values), step=step)
        for tracker in self.accelerator.trackers if image is not None else ():
            if tracker.name == "mlflow":  # accelerate's tracker logs no images
                need("mlflow", "mlflow").log_image(image, key="forecast", step=step)
            else:
                options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({"forecast": image[None]}, step=step, **options)


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """Returns ``click.progressbar`` on standard error with `options`; it is hidden if standard error is no terminal."""
    hidden = not (show and sys.stderr.isatty())
    return need("click", "train").progressbar(label=title, hidden=hidden, file=sys.stderr, **options)


@contextmanager
def launch(
    device: torch.device | str | None = None,
    log_with: Sequence[str] = (),
    directory: Path | None = None,
    config: Mapping[str, Any] | None = None,
    choose_threads: ThreadChooser | None = None,
) -> Iterator[Processes]:
    """Yields the :class:`Processes` of a run that accelerate's launcher or torchrun started, or of a single process.

    All processes wait for each other at the end of the block; if one fails, the launcher ends the others. A process
    cannot join a process group again, so it stays in the group for all recipes that it trains. It leaves the group at
    its exit, because threads of the group could abort the exit otherwise.

    Args:
        device: device of a single process; by default an accelerator if there is one, as accelerate chooses.
        log_with: names in :data:`TRACKERS`.
        directory, config: directory that the trackers write to, and settings of the run that they receive.
        choose_threads: see :class:`Processes`; it is not called in a run of several processes.
    """
    accelerate = need("accelerate", "train")
    for name in log_with:
        if name not in TRACKERS:
            raise ValueError(f"log_with must be of {', '.join(TRACKERS)}, got {name!r}")
        need(name, name)
    patient = accelerate.InitProcessGroupKwargs(timeout=timedelta(days=1))  # while one evaluates, others wait
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(), mixed_precision="no", kwargs_handlers=[patient],
        log_with=list(log_with) or None, project_dir=directory,
    )  # fmt: skip
    if accelerator.num_processes > 1:
        if device is not None:
            raise ValueError(f"device {device} is for a single process; the launcher chooses those of several")
        if not _joined:
            _joined.append(accelerator)
            atexit.register(accelerator.end_training)
    if log_with:
        settings = {k: v if isinstance(v, int | float | str) else str(v) for k, v in flat(dict(config or {})).items()}
        accelerator.init_trackers("training", config=settings)
    device, count = accelerator.device if device is None else torch.device(device), accelerator.num_processes
    try:
        yield Processes(accelerator, device, choose_threads if count == 1 else None, count, accelerator.process_index)
    finally:  # a tracker that stays open would receive the next run of this Python process
        for tracker in accelerator.trackers:
            tracker.finish()
    accelerator.wait_for_everyone()
