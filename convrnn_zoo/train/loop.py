"""Training loop with a progress bar and checkpoints; an interrupted and resumed run ends with the same weights."""

import hashlib
import io
import json
import logging
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from .._atomic import write_bytes, write_text
from .._extras import need, progress_bar
from ..pretrained.state_dict import not_finite
from ..verify import draw_losses
from .launch import Processes, flat, kept_generators
from .loader import BatchLoader

logger = logging.getLogger(__name__)
CHANGEABLE = ("max_steps", "epochs", "cycles", "patience", "keep_best")
"""Keys of a recipe that may change when a run is resumed, although they change its weights: they say when it ends."""
CHECKPOINTS = "*.ckpt"
"""Names of checkpoints in the directory of a run."""


def checksum(*values: Tensor) -> str:
    """Returns a short checksum of tensors of any dtype. A resumed run compares it to detect changed data.

    Example:
        >>> checksum(torch.zeros(2)) == checksum(torch.zeros(1), torch.zeros(1).bfloat16()) != checksum(torch.ones(2))
        True
    """
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()[:12]


RECIPE_KEYS = {"sequences_per_update": "batch_size·grad_accum_steps·processes", "seed": "seeds"}
"""Fields of a fingerprint that have another name in recipes."""


def differences(saved: str, run: str) -> list[str]:
    """Lists the fields that differ between two fingerprints.

    Example:
        >>> differences('{"lr": 0.1, "model": {"bias": true}}', '{"lr": 0.2, "model": {}}')
        ['lr (0.1 there, 0.2 here)', 'model.bias (true there, none here)']
    """
    there, here = (flat(json.loads(text)) for text in (saved, run))
    values = {
        k: [json.dumps(table[k]) if k in table else "none" for table in (there, here)]
        for k in dict.fromkeys([*there, *here])
    }
    return [f"{RECIPE_KEYS.get(k, k)} ({a} there, {b} here)" for k, (a, b) in values.items() if a != b]


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Calls torch.save atomically: if the run is killed or the disk is full, the previous checkpoint is kept."""
    buffer = io.BytesIO()  # the errors of torch's own file writer name neither the file nor the reason
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def read_run_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """Reads the checkpoint of the run with a fingerprint, in which keys of :data:`CHANGEABLE` may differ.

    Raises ValueError if the checkpoint is damaged or of another run.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        saved = content["run"]
    except Exception as e:  # torch raises whatever its unpickler met
        raise ValueError(f"{path} is a damaged checkpoint ({e}); remove it to restart the run") from e
    try:
        changed = differences(saved, run)
        others = [field for field in changed if not is_changeable(field)]
    except (ValueError, AttributeError, TypeError):  # of a version without fields
        others = ["it is of an earlier version of this package"]
    if others:
        what = "data" if all(field.startswith("trained_on") for field in others) else "values of"
        raise ValueError(
            f"{path} is a checkpoint of another run, with other {what}: {', '.join(others)}. Restore "
            f"them, remove it, or choose another -o. When a run is resumed, these may change: {', '.join(CHANGEABLE)}, "
            "keys that do not change the weights, such as workers, and the number of processes, batch_size and "
            "grad_accum_steps, if their product stays the same"
        )
    if changed:
        logger.warning("%s: the run goes on with other values of: %s", path, ", ".join(changed))
    return content


def is_changeable(difference: str) -> bool:
    """Returns whether an item of :func:`differences` is about a key of :data:`CHANGEABLE`.

    Example:
        >>> is_changeable("max_steps (4 there, 8 here)"), is_changeable("model.max_steps (4 there, 8 here)")
        (True, False)
    """
    return difference.partition(" ")[0] in CHANGEABLE


def lock_checkpoint(checkpoint: Path) -> AbstractContextManager[Any]:
    """Locks a checkpoint; raises ValueError if another run is writing it, in this process or in another."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    filelock = need("filelock", "train")
    try:  # the system releases the lock of a killed run
        return filelock.FileLock(checkpoint.with_name(f".{checkpoint.name}.lock"), timeout=0).acquire()
    except filelock.Timeout as e:
        raise ValueError(f"another run is writing {checkpoint}; wait for its end, or choose another -o") from e


class Terminated(SystemExit):
    """SIGTERM ended a run, as workload managers send it. Uncaught, it ends Python with the status 143 of shells."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


STOPS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
"""Signals that stop a run after a checkpoint, and the exceptions that they raise then."""


@contextmanager
def handle_signals(numbers: Iterable[int], handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Context in which a function handles signals, in the main thread; in others, Python allows no handler."""
    is_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, handle) for number in numbers if is_main}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def raise_on_sigterm() -> AbstractContextManager[None]:
    """Context in which SIGTERM raises :class:`Terminated` at once, such as before and after :meth:`Trainer.fit`."""

    def handle(number: int, frame: Any) -> None:
        raise Terminated

    return handle_signals([signal.SIGTERM], handle)


@contextmanager
def catch_signals() -> Iterator[Callable[[], int]]:
    """Yields a function that returns the signal of :data:`STOPS` that was received, or 0.

    So the loop can save and stop between updates. After a signal, Ctrl-C raises KeyboardInterrupt at once. SIGTERM does
    not, because launchers pass on the one that a workload manager has sent to all processes.
    """
    received = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal received
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received = received or number

    with handle_signals(STOPS, handle):
        yield lambda: received


def diverged(problem: str) -> FloatingPointError:
    """Returns the error of a run that diverged, with a hint."""
    return FloatingPointError(f"{problem}: lower lr or clip_grad_norm in the recipe, and train into another directory")


Row = dict[str, float]
"""Results of a round by name: number of updates, learning rate, mean loss of the round, and further scores."""
HISTORY = {
    "history": "history",
    "done": "done",
    "sums": "sums",
    "generator_state": "sampling",
    "best": "best",
    "is_ended": "ended",
}
"""Attributes of :class:`Trainer` that a checkpoint holds, with their keys in it."""


@dataclass(kw_only=True, eq=False)
class Trainer:
    """Trains a model in place, in rounds such as epochs. A subclass implements `batches` and `compute_loss`.

    With a `checkpoint`, the losses and scores of the rounds are also written next to it: to ``training.csv`` for
    ``last.ckpt``, and to ``training_NAME.csv`` for ``NAME.ckpt``. At the end, the losses are plotted to a ``.png`` of
    the same name.

    Args:
        recipe: its `clip_grad_norm`, `bf16`, `fp16`, `ema`, `patience` and `keep_best` are read.
        model: the model, on the device of the processes.
        optimizer, scheduler: their ``step`` is called once per batch.
        max_steps: total number of batches; the lengths of the rounds must add up to it.
        fingerprint: JSON that determines the weights of the run; a checkpoint with another one is rejected, unless only
            keys of :data:`CHANGEABLE` differ. Then the learning rate follows the new schedule.
        network: module to train if it is not the model: its wrapper for several processes.
        loader: loader of the batches.
        seed: seed of the random numbers of training, such as dropout, in each process. None leaves the generators as
            they are.
        checkpoint: file that is written after every round, every ``processes.checkpoint_minutes``, on Ctrl-C and on
            SIGTERM, and read at the start. It has the states of all generators of all processes and their numbers of
            threads, so that a resumed run ends with the same bits as an uninterrupted one.
        title, progress: label and visibility of the progress bar. Without a terminal, a line is printed per round.
        series: name of the series in trackers, if a run has several.
        processes: the processes that train together; by default a single one. Only the main process reads and writes
            the checkpoint; it sends its content, and its decisions, to the others.
        callbacks: functions of the trainer and of the last row, which the main process calls after each round. If one
            returns True, training ends.
        frozen, frozen_steps: parameters that the first `frozen_steps` updates do not change.
    """

    recipe: Any
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    max_steps: int
    fingerprint: str
    network: nn.Module | None = None
    loader: BatchLoader | None = None
    seed: int | None = None
    checkpoint: Path | None = None
    title: str = ""
    progress: bool = True
    series: str = ""
    processes: Processes = field(default_factory=Processes)
    callbacks: Sequence[Callable[["Trainer", Row], Any]] = ()
    frozen: Sequence[nn.Parameter] = ()
    frozen_steps: int = 0
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the further numbers that `compute_loss` returns."""

    def __post_init__(self) -> None:
        self.average = ModelEmaV3(self.model, self.recipe.ema, use_warmup=True) if self.recipe.ema else None
        self.evaluated: nn.Module = self.model if self.average is None else self.average.module
        self.modules: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        self.modules |= {} if self.average is None else {"average": self.evaluated}
        self.scaler = torch.amp.GradScaler(self.processes.device.type, enabled=self.recipe.fp16)
        self.modules |= {"scaler": self.scaler} if self.recipe.fp16 else {}
        self.history: list[Row] = []
        self.done = 0  # number of updates of the current round
        self.sums = torch.zeros(2, 1 + len(self.metrics), dtype=torch.float64)  # of loss and metrics, and their weights
        # Samples the batches, the same in all processes, and nothing else: the state at the begin of a round, and the
        # number of updates since, determine the remaining batches of the round.
        self.generator = torch.Generator()
        self.generator.set_state(torch.get_rng_state())
        self.generator_state = self.generator.get_state()  # at the begin of the current round
        self.best: dict[str, Tensor] = {}  # the weights of the lowest validation loss
        self.is_ended = False  # by a callback
        self.received_signal: Callable[[], int] = lambda: 0
        self.saved_at = time.monotonic()
        self.bar = progress_bar(
            self.title,
            self.progress and self.processes.is_main,
            length=self.max_steps,
            item_show_func=lambda mean: "" if mean is None else f"loss {mean:.4g}{self.describe_waiting()}",
        )

    def batches(self, done: int, skip: int) -> Iterable[Iterable[tuple[float, Any]]]:
        """Returns the batches of the round that begins after `done` updates, without its first `skip` batches.

        Batches are sampled with `generator`, and the first `skip` batches are sampled and not read. A batch consists of
        pairs of a factor and a microbatch. The loss of a microbatch is multiplied by its factor, and the gradients of
        all microbatches are added.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement batches")

    def compute_loss(self, part: Any) -> Tensor:
        """Returns the loss of a microbatch, or a tensor of the loss and the `metrics`."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute_loss")

    def weigh(self, part: Any) -> Tensor:
        """Returns the weights of the loss and of the `metrics` of a microbatch in the means of a round.

        They are the numbers of samples of which these are means. By default, all microbatches have one size.
        """
        return torch.ones(1 + len(self.metrics))

    def means(self) -> list[float]:
        """Returns the loss and the metrics of the current round: means over the samples of all processes."""
        return (self.sums[0] / self.sums[1]).tolist()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Returns the validation scores after a round, one of which is ``"loss"``; empty without validation."""
        return {}

    def after_round(self, model: nn.Module) -> Any:
        """Is called after a round, in the main process only; may return an image ``(H, W, 3)`` for the trackers."""
        return None

    @property
    def updates(self) -> int:
        """Number of updates done."""
        return self.scheduler.last_epoch

    def fit(self) -> list[Row]:
        """Trains the model, and returns a row of losses and scores for each round.

        All generators are restored after `validate` and `after_round`, so that neither changes training.

        Raises:
            ValueError: the checkpoint belongs to another run or is damaged, another run is writing it, or a process has
                other data or another recipe than the main one.
            FloatingPointError: the loss, the gradient or the weights are no longer finite. The last checkpoint is kept.
            KeyboardInterrupt: Ctrl-C was pressed. The checkpoint then includes all completed updates.
            Terminated: the same after SIGTERM.
        """
        with ExitStack() as stack:
            self.processes.from_main(partial(self.lock, stack))
            self.restore()
            with self.bar, self.loader or nullcontext(), catch_signals() as self.received_signal:
                self.bar.update(self.updates)
                while self.done or (self.updates < self.max_steps and not self.is_stopped and not self.is_ended):
                    stop = self.train_round()
                    self.finish_round()
                    if stop:
                        raise stop
                    self.processes.from_main(self.report)
                    self.is_ended = self.processes.from_main(self.call_back)
                    if self.is_ended:
                        self.save()
                flags = self.processes.reduce(self.flags()).tolist()  # a signal during the last validation or report
                if stop := self.find_stop(flags):
                    raise stop
        if self.best and self.recipe.keep_best:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.model.load_state_dict(self.evaluated.state_dict())
        # Also if a run is resumed after its last round.
        self.processes.from_main(partial(self.write_history, figure=True))
        return self.history

    def describe_waiting(self) -> str:
        """Returns the share of the time that this round waited for data, or an empty text if nothing reads them."""
        return f", {self.loader.waiting:.0%} of the time waiting for data" if self.loader else ""

    def call_back(self) -> bool:
        """Calls the callbacks with the last row; returns whether one of them ends the training."""
        with kept_generators(self.processes):
            results = [callback(self, self.history[-1]) for callback in self.callbacks]
        return True in results

    def lock(self, stack: ExitStack) -> None:
        """Locks the checkpoint, if there is one, until `stack` is closed."""
        if self.checkpoint is not None:
            stack.enter_context(lock_checkpoint(self.checkpoint))

    def restore(self) -> None:
        """Restores the checkpoint that the main process reads, or seeds the generators if there is none."""
        runs = self.processes.gather(self.fingerprint)
        if changed := [(rank, run) for rank, run in enumerate(runs) if run != runs[0]]:
            rank, run = changed[0]
            fields = ", ".join(differences(runs[0], run))
            raise ValueError(f"process {rank} has another recipe or other data than process 0: {fields}; copy them")
        content = self.processes.from_main(self.read)
        if content is None:
            if self.seed is not None:
                self.processes.seed(self.seed)
            return
        is_changed = content["run"] != self.fingerprint
        schedule = self.advance(content["scheduler"]["last_epoch"]) if is_changed else []
        for name, module in self.modules.items():
            if not (is_changed and name == "scheduler"):
                module.load_state_dict(content[name])
        for group, values in zip(self.optimizer.param_groups, schedule):  # noqa: B905 (none without a new schedule)
            group.update(values)
        for name, key in HISTORY.items():
            setattr(self, name, content.get(key, getattr(self, name)))
        keys = {difference.partition(" ")[0] for difference in differences(content["run"], self.fingerprint)}
        self.is_ended = self.is_ended and not keys & {"max_steps", "epochs"}  # a run is prolonged to go on
        self.generator.set_state(self.generator_state)
        rank, states = self.processes.rank, content["processes"]
        if rank >= len(states):  # of a run of fewer processes
            self.processes.seed(self.seed or 0, self.updates)
            return
        self.processes.set_random_states(states[rank]["random"])
        if self.processes.threads is None:  # else the number was chosen for this run
            torch.set_num_threads(states[rank]["threads"])

    def read(self) -> dict[str, Any] | None:
        """Reads the checkpoint; returns None if there is none."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return None
        return read_run_checkpoint(self.checkpoint, self.fingerprint)

    def advance(self, updates: int) -> list[dict[str, Any]]:
        """Advances the scheduler; returns the values of the optimizer's parameter groups, such as learning rates."""
        if updates > self.max_steps:
            raise ValueError(
                f"{self.checkpoint} has {updates} updates, and the run would end after {self.max_steps}; raise "
                "max_steps or epochs, or choose another -o"
            )
        with warnings.catch_warnings():  # torch expects an update of the optimizer for each step
            warnings.simplefilter("ignore")
            for _ in range(updates):
                self.scheduler.step()
        return [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]

    def save(self) -> None:
        """Checks that the weights are finite; the main process then writes the checkpoint if there is one."""
        if broken := self.processes.from_main(lambda: not_finite(self.modules["model"].state_dict())):
            raise diverged(f"the weights are no longer finite ({broken[0]})")
        if self.checkpoint is None:
            return
        content: dict[str, Any] = {key: getattr(self, name) for name, key in HISTORY.items()}
        content["run"] = self.fingerprint
        state = {"random": self.processes.random_states(), "threads": torch.get_num_threads()}
        content["processes"] = self.processes.gather(state)
        content |= {name: module.state_dict() for name, module in self.modules.items()}
        self.processes.from_main(partial(save_checkpoint, content, self.checkpoint))
        self.saved_at = time.monotonic()

    @property
    def validation_losses(self) -> list[float]:
        """The validation loss of every round; empty without validation."""
        return [row["validation_loss"] for row in self.history if "validation_loss" in row]

    @property
    def is_stopped(self) -> bool:
        """Whether the lowest validation loss is at least `patience` rounds old; False if `patience` is 0."""
        losses, patience = self.validation_losses, self.recipe.patience
        return bool(patience and losses and len(losses) > losses.index(min(losses)) + patience)

    def train_round(self) -> type[BaseException] | None:
        """Makes the remaining updates of a round; returns the exception of a signal during the last update of the run.

        After a signal during another update, the checkpoint is saved and the exception is raised.
        """
        self.model.train()
        stop = None
        for batch in self.batches(self.updates - self.done, self.done):
            values, flags = self.update(batch)
            self.sums += torch.tensor(values, dtype=torch.float64).view_as(self.sums)
            self.done += 1
            self.bar.update(1, self.means()[0])
            stop = self.find_stop(flags)
            if self.updates == self.max_steps:
                continue
            if stop or flags[-1]:
                self.save()
            if stop:
                raise stop
        return stop

    def flags(self) -> Tensor:
        """Returns whether this process received each signal of :data:`STOPS`, and whether a checkpoint is due.

        The flags are reduced together with the loss, so that all processes act after the same update.
        """
        received, processes = self.received_signal(), self.processes
        is_old = time.monotonic() - self.saved_at > 60 * processes.checkpoint_minutes
        due = processes.is_main and self.checkpoint is not None and is_old
        flags = torch.tensor([*(float(received == n) for n in STOPS), float(due)])
        return flags.to(processes.device, non_blocking=True)

    def find_stop(self, flags: Sequence[float]) -> type[BaseException] | None:
        """Returns the exception of the signal that a process received, by the reduced :meth:`flags`; None for none."""
        return next((stop for stop, flag in zip(STOPS.values(), flags, strict=False) if flag), None)

    def update(self, batch: Iterable[tuple[float, Any]]) -> tuple[list[float], list[float]]:
        """Makes one update; returns the sums and weights of :meth:`compute_gradients`, and :meth:`flags`, reduced."""
        total = self.compute_gradients(batch)
        reduced = self.processes.reduce(torch.cat([total, self.flags()]))
        for parameter in self.frozen if self.updates < self.frozen_steps else ():
            parameter.grad = None
        self.scaler.unscale_(self.optimizer)
        clipped = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad_norm)
        *means, norm = torch.cat([reduced, clipped.to(reduced).reshape(1)]).tolist()  # one wait for the device
        if not math.isfinite(means[0]):
            raise diverged(f"the loss is {means[0]}")
        if not math.isfinite(norm) and not (self.recipe.fp16 and self.scaler.get_scale() > 1):
            raise diverged(f"the norm of the gradient is {norm}")
        self.scaler.step(self.optimizer)  # in float16, a gradient that overflows makes no step, and lowers the scale
        self.scaler.update()
        with warnings.catch_warnings() if self.recipe.fp16 else nullcontext():
            if self.recipe.fp16:
                warnings.simplefilter("ignore")  # torch expects a step of the optimizer for each of the scheduler
            self.scheduler.step()
        if self.average is not None:
            self.average.update(self.model, step=self.updates)
        return means[: len(total)], means[len(total) :]

    def compute_gradients(self, batch: Iterable[tuple[float, Any]]) -> Tensor:
        """Computes the gradients of a batch; returns the weighted sums of its loss and metrics, then the weights."""
        device = self.processes.device
        self.optimizer.zero_grad()
        total = torch.zeros(2, 1 + len(self.metrics), device=device)
        parts = list(batch)
        for i, (factor, part) in enumerate(parts, 1):
            # the gradients of all parts are averaged over processes with those of the last
            averages = self.processes.count == 1 or i == len(parts)
            with nullcontext() if averages else self.processes.accelerator.no_sync(self.network or self.model):
                dtype = torch.float16 if self.recipe.fp16 else torch.bfloat16
                with torch.autocast(device.type, dtype, enabled=self.recipe.bf16 or self.recipe.fp16):
                    values = self.compute_loss(part).reshape(-1)
                    loss = factor * values[0]
                self.scaler.scale(loss).backward()
            if factor:  # else the share of this process is empty
                weights = self.weigh(part).to(device, non_blocking=True)
                total += torch.stack([weights * values.detach().float(), weights])
        return total.flatten()

    def finish_round(self) -> None:
        """Validates the model, adds a row to the history, and writes the checkpoint."""
        row: Row = {"updates": self.updates, "learning_rate": float(max(self.scheduler.get_last_lr()))}
        row |= dict(zip(("loss", *self.metrics), self.means(), strict=True))
        with kept_generators(self.processes):
            scores = {f"validation_{name}": float(score) for name, score in self.validate(self.evaluated).items()}
        row |= self.processes.from_main(lambda: scores)  # so that all stop, and keep their best weights, alike
        loss = row.get("validation_loss", 0.0)
        if not math.isfinite(loss):
            raise diverged(f"the validation loss is {loss}")
        if "validation_loss" in row and loss < min(self.validation_losses, default=math.inf):
            self.best = {key: value.clone() for key, value in self.evaluated.state_dict().items()}
        self.history.append(row)
        self.done, self.sums, self.generator_state = 0, torch.zeros_like(self.sums), self.generator.get_state()
        self.save()
        self.processes.from_main(self.write_history)

    def write_history(self, figure: bool = False) -> None:
        """Writes the rows of all rounds next to the checkpoint, and optionally a figure of the losses."""
        history, checkpoint = self.history, self.checkpoint
        if checkpoint is None or not history:
            return
        file = checkpoint.with_name("training" if checkpoint.stem == "last" else f"training_{checkpoint.stem}")
        names = list(dict.fromkeys(name for row in history for name in row))  # a resumed run may have other metrics
        cells = ([f"{row[name]:.9g}" if name in row else "" for name in names] for row in history)
        write_text(file.with_name(f"{file.name}.csv"), "\n".join(map(",".join, [names, *cells])) + "\n")
        if figure:
            draw_losses(history, file.with_name(f"{file.name}.png"))

    def report(self) -> None:
        """Prints the last row, and passes it to the trackers with the image of `after_round`."""
        row = self.history[-1]
        if self.progress and not sys.stderr.isatty():
            scores = [f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if k not in ("updates", "learning_rate")]
            done = f"{self.updates:,} of {self.max_steps:,} updates"
            print(f"{self.title}: {done}, {', '.join(scores)}{self.describe_waiting()}", file=sys.stderr)
        with kept_generators(self.processes):
            image = self.after_round(self.evaluated)
        self.processes.log({k: v for k, v in row.items() if k != "updates"}, self.updates, image, self.series)
