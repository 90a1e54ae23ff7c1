"""Training in one or several processes: device, communication, progress bar and trackers."""

import atexit
import inspect
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from .. import _checks as check
from .._extras import need

_joined: list[Any] = []
"""The Accelerator of this process, if there are several processes."""
TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Trackers of accelerate, which are also the names of modules and extras."""
SHARDING = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG")
"""Ways of accelerate's launcher to shard a model; each sets a variable ``ACCELERATE_USE_…``."""
CHECKPOINT_MINUTES = 10.0
"""Default of the longest time between two checkpoints."""


def seed_generators(seed: int) -> None:
    """Seeds the generators of torch on all devices, of NumPy and of Python."""
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)


def mix_seeds(*numbers: int) -> int:
    """Returns a seed that depends on several numbers, such as the seed of a run and the number of an update."""
    return int(numpy.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True)
class Processes:
    """The current process in a group that trains together; by default a single process on torch's default device.

    `count` is the number of processes, and `rank` the number of the current one, from 0. `threads` is torch's number of
    threads on the CPU if the caller has chosen it; None keeps that of the checkpoint or else torch's. A checkpoint is
    written at least every `checkpoint_minutes`.
    """

    accelerator: Any = None
    device: torch.device = field(default_factory=torch.get_default_device)
    count: int = 1
    rank: int = 0
    threads: int | None = None
    checkpoint_minutes: float = CHECKPOINT_MINUTES

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def can_pin(self) -> bool:
        """Whether the device supports pinned memory, from which batches are copied faster."""
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator == torch.device(self.device.type) and hasattr(getattr(torch, self.device.type), "Stream")

    def prepare(self, model: nn.Module, recipe: Any, find_unused: bool = False) -> nn.Module:
        """Moves a model to the device; returns the module to train, which averages the gradients of all processes.

        The keys `sync_bn` and `compile` of the recipe are applied. Set `find_unused` if some parameters may have no
        gradient, such as those of a frozen encoder. Raises ValueError for `sync_bn` if the model has no batch norm.
        """
        if recipe.sync_bn and not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
            raise ValueError(f"the recipe's sync_bn: {recipe.architecture} has no batch norm; leave sync_bn out")
        if self.count > 1 and recipe.sync_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        network = model.to(self.device)
        if self.count > 1:
            kwargs = need("accelerate", "train").DistributedDataParallelKwargs(find_unused_parameters=find_unused)
            self.accelerator.ddp_handler = kwargs
            network = self.accelerator.prepare(model)
        return torch.compile(network) if recipe.compile else network  # type: ignore[return-value]

    def reduce(self, values: Tensor, reduction: str = "mean") -> Tensor:
        """Returns the ``"mean"`` or the ``"sum"`` of the values over all processes."""
        return values if self.count == 1 else self.accelerator.reduce(values, reduction)

    def from_main(self, function: Callable[[], Any]) -> Any:
        """Calls a function in the main process only; returns its result, or raises its error, in all processes.

        Every decision that depends on a file, a clock or a number that processes compute separately is made so.
        Otherwise one process could stop while the others wait for it. In the other processes, an error is a ValueError.
        """
        if self.count == 1:
            return function()
        error: Exception | None = None
        sent: list[Any] = [None, None]
        if self.is_main:
            try:
                sent[0] = function()
            except Exception as e:
                error, sent[1] = e, str(e) or type(e).__name__
        need("accelerate.utils", "train").broadcast_object_list(sent)
        if error is not None:
            raise error
        if sent[1] is not None:
            raise ValueError(f"the main process: {sent[1]}")
        return sent[0]

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, in the order of their ranks; any object that pickle supports."""
        return [value] if self.count == 1 else need("accelerate.utils", "train").gather_object([value])

    def seed(self, *numbers: int) -> None:
        """Seeds the generators of torch, NumPy and Python with `numbers`, differently in each process."""
        seed_generators(mix_seeds(*numbers, self.rank))

    def random_states(self) -> dict[str, Any]:
        """Returns the states of Python's and NumPy's random generators and of torch's on the CPU and the device."""
        state: Any = numpy.random.get_state()
        name, keys, *rest = state
        states = {"host": torch.get_rng_state(), "python": random.getstate(), "numpy": (name, keys.tolist(), *rest)}
        module: Any = getattr(torch, self.device.type, None)
        if hasattr(module, "get_rng_state"):
            states["device"] = module.get_rng_state(*self._arguments(module.get_rng_state))
        return states

    def set_random_states(self, states: Mapping[str, Any]) -> None:
        """Restores the states that :meth:`random_states` returned, also on a device of another type."""
        torch.set_rng_state(states["host"])
        random.setstate(states["python"])
        numpy.random.set_state(states["numpy"])
        set_rng_state = getattr(getattr(torch, self.device.type, None), "set_rng_state", None)
        if "device" in states and set_rng_state is not None:
            set_rng_state(states["device"], *self._arguments(set_rng_state))

    def _arguments(self, function: Callable[..., Any]) -> tuple[torch.device, ...]:
        """Returns ``(device,)``, or ``()`` if the device has no index (current device) or `function` takes none."""
        takes_device = "device" in inspect.signature(function).parameters
        return (self.device,) if takes_device and self.device.index is not None else ()

    def log(self, values: Mapping[str, float], step: int, image: Any = None, series: str = "") -> None:
        """Passes values, and optionally an image ``(H, W, 3)`` of bytes, to the trackers.

        The names of the values begin with ``series/`` if there are several series of steps in a run, such as seeds.
        """
        if self.accelerator is None or not self.accelerator.trackers:
            return
        prefix = f"{series}/" if series else ""
        named, picture = {prefix + name: value for name, value in values.items()}, f"{prefix}forecast"
        for tracker in self.accelerator.trackers:
            options: dict[str, Any] = {"step": step}
            if tracker.name == "wandb" and series:  # W&B drops values whose step is lower than the last one's
                tracker.tracker.define_metric(f"{prefix}*", step_metric=f"{prefix}updates")
                options = {}
            tracker.log(named if options else {**named, f"{prefix}updates": step}, **options)
            if image is not None and tracker.name == "mlflow":  # accelerate's tracker logs no images
                need("mlflow", "mlflow").log_image(image, key=picture, step=step)
            elif image is not None:
                options |= {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({picture: image[None]}, **options)


HOST = Processes(device=torch.device("cpu"))
"""A process whose random states are those of the host only."""


@contextmanager
def kept_generators(processes: Processes = HOST) -> Iterator[None]:
    """Context at whose end the random states of a process are as before, so that code inside does not change them."""
    states = processes.random_states()
    try:
        yield
    finally:
        processes.set_random_states(states)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context in which torch's CPU generator and those of NumPy and Python are seeded; they are restored at its end."""
    with kept_generators():
        torch.default_generator.manual_seed(seed)  # those of devices are not read
        numpy.random.seed(seed)
        random.seed(seed)
        yield


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested tables; the key of a nested field is its path with dots, such as ``"data.kind"``."""
    saved: dict[str, Any] = {}
    for key, value in table.items():
        saved |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return saved


def check_launcher(config: Mapping[str, Any]) -> None:
    """Raises ValueError if the launcher was passed options that a recipe does not have or that are not supported.

    `config` are the keys of the recipe.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no" and not (precision in ("bf16", "fp16") and config.get(precision)):
        raise ValueError(
            f"the launcher has mixed_precision={precision}, which the recipe does not have: leave it out, or set "
            "bf16 = true or fp16 = true in the recipe"
        )
    steps, recipe_steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"), config.get("grad_accum_steps")
    if steps not in ("1", str(recipe_steps)):
        raise ValueError(
            f"the launcher has gradient_accumulation_steps={steps}, and the recipe's grad_accum_steps is "
            f"{recipe_steps}: set grad_accum_steps in the recipe, and leave the launcher's option out"
        )
    used = [name for name in SHARDING if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1")]
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if used or compiler.lower() != "no":
        option = used[0].lower() if used else f"dynamo_backend={compiler}"
        raise ValueError(f"the launcher has {option}, which training does not support: leave it out")


@contextmanager
def launch(
    device: torch.device | str | None = None,
    log_with: Sequence[str] = (),
    directory: Path | None = None,
    config: Mapping[str, Any] | None = None,
    threads: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
) -> Iterator[Processes]:
    """Yields the :class:`Processes` of a run that accelerate's launcher or torchrun started, or of a single process.

    All processes wait for each other at the end of the block; if one fails, the launcher ends the others. A process
    cannot join a process group again, so it stays in the group for all recipes that it trains. It leaves the group at
    its exit, because threads of the group could abort the exit otherwise.

    Args:
        device: device of a single process; by default an accelerator if there is one, as accelerate chooses.
        log_with: names in :data:`TRACKERS`.
        directory, config: directory that the trackers write to, and the recipe's keys, which they receive.
        threads, checkpoint_minutes: see :class:`Processes`. After the block, torch has its earlier number of threads,
            and the generators of random numbers go on as if there had been none.

    Raises:
        ValueError: `threads` or `checkpoint_minutes` is out of range, a tracker is unknown, `device` is set for several
            processes, several processes on a CPU have the key `sync_bn`, or the launcher was passed a precision or
            accumulation other than that of the recipe, or options that are not supported, such as FSDP.
    """
    accelerate = need("accelerate", "train")
    check_launcher(config or {})
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}; None keeps torch's number")
    if not checkpoint_minutes >= 0:
        raise ValueError(f"checkpoint_minutes must be at least 0, got {checkpoint_minutes}")
    for name in log_with:
        need(check.choice("log_with", name, TRACKERS), name)
    patient = accelerate.InitProcessGroupKwargs(timeout=timedelta(days=1))  # while one evaluates, others wait
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no",
        kwargs_handlers=[patient],
        log_with=list(log_with) or None,
        project_dir=directory,
    )
    if accelerator.num_processes > 1:
        if device is not None:
            raise ValueError(f"device {device} is for a single process; the launcher chooses those of several")
        if (config or {}).get("sync_bn") and accelerator.device.type == "cpu":
            raise ValueError(
                "the recipe's sync_bn: torch shares statistics on GPUs and XPUs only, and these processes "
                "train on a cpu; leave sync_bn out"
            )
        if not _joined:
            _joined.append(accelerator)
            atexit.register(accelerator.end_training)
    if log_with:
        settings = {k: v if isinstance(v, int | float | str) else str(v) for k, v in flat(dict(config or {})).items()}
        accelerator.init_trackers("training", config=settings)
    device, count = accelerator.device if device is None else torch.device(device), accelerator.num_processes
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        with kept_generators():
            yield Processes(accelerator, device, count, accelerator.process_index, threads, checkpoint_minutes)
    finally:
        torch.set_num_threads(threads_before)
        for tracker in accelerator.trackers:  # one that stays open would receive the next run of this Python process
            tracker.finish()
    accelerator.wait_for_everyone()
