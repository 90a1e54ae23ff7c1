"""Training loop with a progress bar and checkpoints; an interrupted and resumed run ends with the same weights."""

import hashlib
import io
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from .._atomic import write_bytes, write_text
from .._extras import need
from ..pretrained.state_dict import not_finite
from ._values import flat
from .figures import draw_losses
from .launch import Processes, progress_bar


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
    return [f"{k} ({a} there, {b} here)" for k, (a, b) in values.items() if a != b]


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Calls torch.save atomically: if the run is killed or the disk is full, the previous checkpoint is kept."""
    buffer = io.BytesIO()  # the errors of torch's own file writer name neither the file nor the reason
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """Reads the checkpoint of the run with a fingerprint; raises ValueError if it is damaged or of another run."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        saved = content["run"]
    except Exception as e:  # torch raises whatever its unpickler met
        raise ValueError(f"{path} is a damaged checkpoint ({e}); remove it to restart the run") from e
    if saved != run:
        try:
            fields = ", ".join(differences(saved, run)) or "nothing"
        except (ValueError, AttributeError, TypeError):  # of a version without fields
            fields = "it is of an earlier version of this package"
        raise ValueError(
            f"{path} is a checkpoint of another run, with other values of: {fields}. Restore them, remove it, or "
            "choose another -o"
        )
    return content


def lock_checkpoint(checkpoint: Path) -> AbstractContextManager[Any]:
    """Locks a checkpoint; raises ValueError if another run is writing it, in this process or in another."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    filelock = need("filelock", "train")
    try:  # the system releases the lock of a killed run
        return filelock.FileLock(checkpoint.with_name(f".{checkpoint.name}.lock"), timeout=0).acquire()
    except filelock.Timeout as e:
        raise ValueError(f"another run is writing {checkpoint}; wait for its end, or choose another -o") from e


@contextmanager
def catch_interrupt() -> Iterator[Callable[[], bool]]:
    """Yields a function that reports whether Ctrl-C was pressed, so that the loop can save and stop between updates.

    A second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread, where Python allows no signal handler,
    the function always returns False.
    """
    pressed = False

    def handle(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)


def diverged(problem: str) -> FloatingPointError:
    """Returns the error of a run that diverged, with a hint."""
    return FloatingPointError(f"{problem}: lower lr or clip_grad_norm in the recipe, and train into another directory")


Row = dict[str, float]
"""Results of a round by name: number of updates, learning rate, mean loss of the round, and further scores."""
HISTORY = ("history", "done", "sums", "samplings", "best")
"""Attributes of :class:`Trainer` that a checkpoint holds."""


@contextmanager
def keep_random_states(processes: Processes) -> Iterator[None]:
    """Context that restores the random states at its end, so that code inside it does not change training."""
    states = processes.random_states()
    yield
    processes.set_random_states(states)


@dataclass(kw_only=True, eq=False)
class Trainer:
    """Trains a model in place, in rounds such as epochs. A subclass implements `batches` and `compute_loss`.

    With a `checkpoint`, the losses and scores of the rounds are also written next to it: to ``training.csv`` for
    ``last.ckpt``, and to ``training_NAME.csv`` for ``NAME.ckpt``. At the end, the losses are plotted to a ``.png`` of
    the same name.

    Args:
        recipe: its `clip_grad_norm`, `bf16`, `ema`, `patience` and `keep_best` are read.
        model: the model, on the device of the processes.
        optimizer, scheduler: their ``step`` is called once per batch.
        max_steps: total number of batches; the lengths of the rounds must add up to it.
        fingerprint: text that determines the weights of the run; a checkpoint with another text is rejected.
        checkpoint: file that is written after every round and on Ctrl-C, and read at the start. It has the states of
            torch's generators, so that a resumed run ends with the same bits as an uninterrupted one.
        title, progress: label and visibility of the progress bar. Without a terminal, a line is printed per round.
        processes: the processes that train together; by default a single one. The main process writes the checkpoint.
        frozen, frozen_steps: parameters that the first `frozen_steps` updates do not change.
    """

    recipe: Any
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    max_steps: int
    fingerprint: str
    checkpoint: Path | None = None
    title: str = ""
    progress: bool = True
    processes: Processes = field(default_factory=Processes)
    frozen: Sequence[nn.Parameter] = ()
    frozen_steps: int = 0
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the further numbers that `compute_loss` returns."""

    def __post_init__(self) -> None:
        self.average = ModelEmaV3(self.model, self.recipe.ema, use_warmup=True) if self.recipe.ema else None
        self.evaluated: nn.Module = self.model if self.average is None else self.average.module
        self.modules: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        self.modules |= {} if self.average is None else {"average": self.evaluated}
        self.history: list[Row] = []
        self.done = 0  # number of updates of the current round
        self.sums = torch.zeros(2, 1 + len(self.metrics), dtype=torch.float64)  # of loss and metrics, and their weights
        self.samplings: list[Tensor] = []  # the generator's state before each batch of the current round
        self.best: dict[str, Tensor] = {}  # the weights of the lowest validation loss
        self.is_interrupted: Callable[[], bool] = lambda: False
        self.bar = progress_bar(
            self.title, self.progress and self.processes.is_main, length=self.max_steps,
            item_show_func=lambda mean: "" if mean is None else f"loss {mean:.4g}",
        )  # fmt: skip

    def batches(self, done: int) -> Iterable[Iterable[tuple[float, Any]]]:
        """Returns the batches of the round that begins after `done` updates.

        The iterator may sample with torch's global generator, but only after its first batch was requested. A batch
        consists of pairs of a factor and a microbatch. The loss of a microbatch is multiplied by its factor, and the
        gradients of all microbatches are added.
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

        Torch's generators are restored after `validate` and `after_round`, so that neither changes training.

        Raises:
            ValueError: the checkpoint belongs to another run or is damaged, or another run is writing it.
            FloatingPointError: the loss, the gradient or the weights are no longer finite. The last checkpoint is kept.
            KeyboardInterrupt: Ctrl-C was pressed. The checkpoint then includes all completed updates.
        """
        is_main = self.processes.is_main
        with lock_checkpoint(self.checkpoint) if self.checkpoint is not None and is_main else nullcontext():
            self.restore()
            with self.bar, catch_interrupt() as self.is_interrupted:
                self.bar.update(self.updates)
                while self.updates < self.max_steps and not self.is_stopped:
                    interrupted = self.train_round()
                    self.finish_round()
                    if interrupted:
                        raise KeyboardInterrupt
                    if is_main:
                        self.report()
                if self.is_interrupted():  # during the last validation or report
                    raise KeyboardInterrupt
        if self.best and self.recipe.keep_best:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.model.load_state_dict(self.evaluated.state_dict())
        self.write_history(figure=True)  # also if a run is resumed after its last round
        return self.history

    def restore(self) -> None:
        """Restores the checkpoint if there is one, and chooses the number of threads."""
        threads = None
        if self.checkpoint is not None and self.checkpoint.is_file():
            content = read_checkpoint(self.checkpoint, self.fingerprint)
            for name, module in self.modules.items():
                module.load_state_dict(content[name])
            self.processes.set_random_states(content["random"])
            for key in HISTORY:
                setattr(self, key, content[key])
            threads = content["threads"]
        if self.processes.choose_threads is not None:
            self.processes.choose_threads(threads, self.try_step)

    def save(self) -> None:
        """Checks that the weights are finite; the main process then writes the checkpoint if there is one."""
        if broken := not_finite(self.modules["model"].state_dict()):
            raise diverged(f"the weights are no longer finite ({broken[0]})")
        if self.checkpoint is None or not self.processes.is_main:
            return
        content: dict[str, Any] = {"run": self.fingerprint, **{key: getattr(self, key) for key in HISTORY}}
        content |= {"random": self.processes.random_states(), "threads": torch.get_num_threads()}
        save_checkpoint(content | {name: module.state_dict() for name, module in self.modules.items()}, self.checkpoint)

    @property
    def validation_losses(self) -> list[float]:
        """The validation loss of every round; empty without validation."""
        return [row["validation_loss"] for row in self.history if "validation_loss" in row]

    @property
    def is_stopped(self) -> bool:
        """Whether the lowest validation loss is at least `patience` rounds old; False if `patience` is 0."""
        losses, patience = self.validation_losses, self.recipe.patience
        return bool(patience and losses and len(losses) > losses.index(min(losses)) + patience)

    def try_step(self) -> None:
        """Computes the gradients of the first batch and discards them; the state of training does not change."""
        with keep_random_states(self.processes):
            buffers = [buffer.clone() for buffer in self.model.buffers()]
            self.model.train()
            self.compute_gradients(next(iter(self.batches(0))))
            for buffer, value in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(value)
        self.optimizer.zero_grad()

    def train_round(self) -> bool:
        """Makes the remaining updates of a round; returns whether Ctrl-C was pressed before the last update of the run.

        After Ctrl-C before another update, the checkpoint is saved and KeyboardInterrupt is raised.
        """
        interrupted = 0.0
        self.model.train()
        remaining = iter(self.batches(self.updates - self.done))
        now = torch.get_rng_state()
        for sampling in self.samplings:  # replays the sampling of the batches of an interrupted round
            torch.set_rng_state(sampling)
            next(remaining)
        torch.set_rng_state(now)
        while True:
            sampling = torch.get_rng_state()
            if (batch := next(remaining, None)) is None:
                return bool(interrupted)
            *values, interrupted = self.update(batch)
            self.sums += torch.tensor(values, dtype=torch.float64).view_as(self.sums)
            self.done += 1
            self.samplings.append(sampling)
            self.bar.update(1, self.means()[0])
            if interrupted and self.updates < self.max_steps:
                self.save()
                raise KeyboardInterrupt

    def update(self, batch: Iterable[tuple[float, Any]]) -> list[float]:
        """Makes one update; returns its loss and metrics, and whether a process was interrupted."""
        total = self.compute_gradients(batch)
        flag = torch.tensor([float(self.is_interrupted())], device=total.device)
        # Reduced together, so that all processes stop after the same update.
        means = self.processes.reduce(torch.cat([total, flag])).tolist()
        if not math.isfinite(means[0]):
            raise diverged(f"the loss is {means[0]}")
        for parameter in self.frozen if self.updates < self.frozen_steps else ():
            parameter.grad = None
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad_norm)
        if not math.isfinite(norm.item()):
            raise diverged(f"the norm of the gradient is {norm.item()}")
        self.optimizer.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update(self.model, step=self.updates)
        return means

    def compute_gradients(self, batch: Iterable[tuple[float, Any]]) -> Tensor:
        """Computes the gradients of a batch; returns the weighted sums of its loss and metrics, then the weights."""
        device = self.processes.device
        self.optimizer.zero_grad()
        total = torch.zeros(2, 1 + len(self.metrics), device=device)
        for factor, part in batch:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.bf16):
                values = self.compute_loss(part).reshape(-1)
                loss = factor * values[0]
            loss.backward()
            if factor:  # else a sequence that stands in for none
                weights = self.weigh(part).to(device)
                total += torch.stack([weights * values.detach().float(), weights])
        return total.flatten()

    def finish_round(self) -> None:
        """Validates the model, adds a row to the history, and writes the checkpoint."""
        row: Row = {"updates": self.updates, "learning_rate": float(max(self.scheduler.get_last_lr()))}
        row |= dict(zip(("loss", *self.metrics), self.means(), strict=True))
        with keep_random_states(self.processes):
            row |= {f"validation_{name}": float(score) for name, score in self.validate(self.evaluated).items()}
        loss = row.get("validation_loss", 0.0)
        if not math.isfinite(loss):
            raise diverged(f"the validation loss is {loss}")
        if "validation_loss" in row and loss < min(self.validation_losses, default=math.inf):
            self.best = {key: value.clone() for key, value in self.evaluated.state_dict().items()}
        self.history.append(row)
        self.done, self.sums, self.samplings = 0, torch.zeros_like(self.sums), []
        self.save()
        self.write_history()

    def write_history(self, figure: bool = False) -> None:
        """Writes the rows of all rounds next to the checkpoint, and optionally a figure of the losses."""
        history, checkpoint = self.history, self.checkpoint
        if checkpoint is None or not self.processes.is_main or not history:
            return
        file = checkpoint.with_name("training" if checkpoint.stem == "last" else f"training_{checkpoint.stem}")
        rows = [",".join(history[0]), *(",".join(f"{v:.9g}" for v in row.values()) for row in history)]
        write_text(file.with_name(f"{file.name}.csv"), "\n".join(rows) + "\n")
        if figure:
            draw_losses(history, file.with_name(f"{file.name}.png"))

    def report(self) -> None:
        """Prints the last row, and passes it to the trackers with the image of `after_round`."""
        row = self.history[-1]
        if self.progress and not sys.stderr.isatty():
            scores = [f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if k not in ("updates", "learning_rate")]
            done = f"{self.updates:,} of {self.max_steps:,} updates"
            print(f"{self.title}: {done}, {', '.join(scores)}", file=sys.stderr)
        with keep_random_states(self.processes):
            image = self.after_round(self.evaluated)
        self.processes.log({k: v for k, v in row.items() if k != "updates"}, self.updates, image)
