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
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from .._atomic import write_bytes, write_text
from .._extras import need
from ..pretrained.state_dict import not_finite
from ._values import flat
from .figures import draw_losses
from .launch import Processes, progress_bar
from .recipe import Recipe

NOT_TRAINED = ("description", "license", "citation", "remarks", "name", "url", "task", "test_sequences")
"""Keys of a recipe and of its data that do not change the weights: texts, and the size of the final evaluation."""


def fingerprint(recipe: Recipe, **others: Any) -> str:
    """Returns JSON with everything that determines the weights of a run: fields of its recipe, and `others`."""
    table = recipe.to_table()
    fields, data = ({k: v for k, v in part.items() if k not in NOT_TRAINED} for part in (table, table["data"]))
    return json.dumps({**fields, "data": data, **others}, sort_keys=True)


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
HISTORY = ("history", "values", "samplings", "best")
"""Attributes of :class:`State` that a checkpoint holds."""


class State:
    """State of a run in checkpoints: the state dicts of `modules`, the history, and the states of random generators."""

    def __init__(self, run: str, processes: Processes, modules: dict[str, Any]) -> None:
        self.run, self.processes, self.modules = run, processes, modules
        self.history: list[Row] = []
        self.values: list[list[float]] = []  # the loss and metrics of the updates of the current round
        self.samplings: list[Tensor] = []  # the generator's state before each batch of the current round
        self.best: dict[str, Tensor] = {}  # the weights of the lowest validation loss
        self.threads: int | None = None  # the number of threads of a run that is resumed

    def load(self, path: Path) -> None:
        """Restores a checkpoint of :meth:`save`; raises ValueError if it is damaged or belongs to another run."""
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            saved = content["run"]
        except Exception as e:  # torch raises whatever its unpickler met
            raise ValueError(f"{path} is a damaged checkpoint ({e}); remove it to restart the run") from e
        if saved != self.run:
            try:
                fields = ", ".join(differences(saved, self.run)) or "nothing"
            except (ValueError, AttributeError, TypeError):  # of a version without fields
                fields = "it is of an earlier version of this package"
            raise ValueError(
                f"{path} is a checkpoint of another run, with other values of: {fields}. Restore them, remove it, or "
                "choose another -o"
            )
        for name, module in self.modules.items():
            module.load_state_dict(content[name])
        self.processes.set_random_states(content["random"])
        self.threads = content["threads"]
        for key in HISTORY:
            setattr(self, key, content[key])

    def save(self, path: Path | None) -> None:
        """Checks that the weights are finite; the main process then writes a checkpoint to `path` if `path` is set."""
        if broken := not_finite(self.modules["model"].state_dict()):
            raise diverged(f"the weights are no longer finite ({broken[0]})")
        if path is None or not self.processes.is_main:
            return
        content: dict[str, Any] = {key: getattr(self, key) for key in ("run", *HISTORY)}
        content |= {"random": self.processes.random_states(), "threads": torch.get_num_threads()}
        save_checkpoint(content | {name: module.state_dict() for name, module in self.modules.items()}, path)

    @property
    def validation(self) -> list[float]:
        """The validation loss of every round; empty without validation."""
        return [row["validation_loss"] for row in self.history if "validation_loss" in row]

    def is_stopped(self, patience: int) -> bool:
        """Returns whether the lowest validation loss is at least `patience` rounds old; False if `patience` is 0."""
        losses = self.validation
        return bool(patience and losses and len(losses) > losses.index(min(losses)) + patience)


@contextmanager
def restored(processes: Processes) -> Iterator[None]:
    """Context that restores the random states at its end, so that code inside it does not change training."""
    states = processes.random_states()
    yield
    processes.set_random_states(states)


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Iterable[tuple[float, Any]]]],
    loss: Callable[[Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    max_steps: int,
    run: str,
    checkpoint: Path | None = None,
    title: str = "",
    progress: bool = True,
    processes: Processes | None = None,
    after_round: Callable[[int, nn.Module], Any] | None = None,
    frozen: Callable[[int], Iterable[nn.Parameter]] = lambda update: (),
    metrics: Sequence[str] = (),
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    clip_grad_norm: float = 1.0,
    bf16: bool = False,
    ema: float = 0.0,
    patience: int = 0,
    keep_best: bool = True,
) -> list[Row]:
    """Trains `model` in place and returns a row of losses and scores for each round, such as an epoch.

    With a `checkpoint`, the rows are also written next to it: to ``training.csv`` for ``last.ckpt``, and to
    ``training_NAME.csv`` for ``NAME.ckpt``. At the end, their losses are plotted to a ``.png`` of the same name.

    Args:
        model: the model, on the device of the processes.
        batches: function that takes the number of updates done and returns an iterator over the batches of the next
            round. The iterator may sample with torch's global generator, but only after its first batch was requested.
            A batch consists of pairs of a factor and a microbatch. The loss of a microbatch is multiplied by its
            factor, and the gradients of all microbatches are added.
        loss: function of a microbatch that returns the loss, or a tensor of the loss and the `metrics`.
        optimizer, scheduler: their ``step`` is called once per batch.
        max_steps: total number of batches; the lengths of the rounds must add up to it.
        clip_grad_norm, bf16, ema, patience, keep_best: fields of :class:`~convrnn_zoo.train.Recipe`.
        run: the :func:`fingerprint` of the run; a checkpoint of another run is rejected.
        checkpoint: file that is written after every round and on Ctrl-C, and read at the start. It has the states of
            torch's generators, so that a resumed run ends with the same bits as an uninterrupted one.
        title, progress: label and visibility of the progress bar. Without a terminal, a line is printed per round.
        processes: the processes that train together; by default a single one. The main process writes the checkpoint.
        after_round: function of the number of updates done and of the model. If `ema` is set, it gets the averaged
            model. Only the main process calls it. The trackers of `processes` log an image ``(H, W, 3)`` that it
            returns.
        frozen: function that takes the number of an update and returns the parameters that the update does not change.
        metrics: names of the further numbers that `loss` returns.
        validate: function of the model that returns its validation scores after a round; one of them is ``"loss"``.

    Torch's generators are restored after `validate` and `after_round`, so that neither changes training.

    Raises:
        ValueError: the checkpoint belongs to another run or is damaged, or another run is writing it.
        FloatingPointError: the loss, the gradient or the weights are no longer finite. The last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C was pressed. The checkpoint then includes all completed updates.
    """
    processes = processes or Processes()
    average = ModelEmaV3(model, ema, use_warmup=True) if ema else None
    evaluated: nn.Module = model if average is None else average.module
    modules = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    state = State(run, processes, modules | ({} if average is None else {"average": average.module}))
    history_file = None
    if checkpoint is not None:
        name = "training" if checkpoint.stem == "last" else f"training_{checkpoint.stem}"
        history_file = checkpoint.with_name(f"{name}.csv")

    def compute_gradients(batch: Iterable[tuple[float, Any]]) -> Tensor:
        """Computes the gradients of a batch, and returns its loss and metrics."""
        optimizer.zero_grad()
        total = torch.zeros(1 + len(metrics), device=processes.device)
        for factor, part in batch:
            with torch.autocast(processes.device.type, torch.bfloat16, enabled=bf16):
                values = factor * loss(part).reshape(-1)
            values[0].backward()
            total += values.detach().float()
        return total

    def try_step() -> None:
        """Computes the gradients of the first batch and discards them; the state of training does not change."""
        with restored(processes):
            buffers = [buffer.clone() for buffer in model.buffers()]
            model.train()
            compute_gradients(next(iter(batches(0))))
            for buffer, value in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(value)
        optimizer.zero_grad()

    def update(batch: Iterable[tuple[float, Any]]) -> list[float]:
        """Makes one update; returns its loss and metrics, and whether a process was interrupted."""
        total = compute_gradients(batch)
        flag = torch.tensor([float(is_interrupted())], device=total.device)
        # Reduced together, so that all processes stop after the same update.
        means = processes.reduce(torch.cat([total, flag])).tolist()
        if not math.isfinite(means[0]):
            raise diverged(f"the loss is {means[0]}")
        for parameter in frozen(scheduler.last_epoch):
            parameter.grad = None
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
        if not math.isfinite(norm.item()):
            raise diverged(f"the norm of the gradient is {norm.item()}")
        optimizer.step()
        scheduler.step()
        if average is not None:
            average.update(model, step=scheduler.last_epoch)
        return means

    def finish_round() -> None:
        """Validates the model, adds a row to the history, and writes the checkpoint."""
        means = [sum(column) / len(column) for column in zip(*state.values, strict=True)]
        row: Row = {"updates": scheduler.last_epoch, "learning_rate": float(max(scheduler.get_last_lr()))}
        row |= dict(zip(("loss", *metrics), means, strict=True))
        if validate is not None:
            with restored(processes):
                row |= {f"validation_{name}": float(score) for name, score in validate(evaluated).items()}
            if not math.isfinite(row["validation_loss"]):
                raise diverged(f"the validation loss is {row['validation_loss']}")
            if row["validation_loss"] < min(state.validation, default=math.inf):
                state.best = {key: value.clone() for key, value in evaluated.state_dict().items()}
        state.history.append(row)
        state.values, state.samplings = [], []
        state.save(checkpoint)
        write_history()

    def write_history() -> None:
        if history_file is not None and processes.is_main and state.history:
            rows = [",".join(state.history[0]), *(",".join(f"{v:.9g}" for v in row.values()) for row in state.history)]
            write_text(history_file, "\n".join(rows) + "\n")

    def report() -> None:
        """Prints the last row, and passes it to the trackers with the image of `after_round`."""
        row, image = state.history[-1], None
        if progress and not sys.stderr.isatty():
            scores = [f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if k not in ("updates", "learning_rate")]
            print(f"{title}: {scheduler.last_epoch:,} of {max_steps:,} updates, {', '.join(scores)}", file=sys.stderr)
        if after_round is not None:
            with restored(processes):
                image = after_round(scheduler.last_epoch, evaluated)
        processes.log({k: v for k, v in row.items() if k != "updates"}, scheduler.last_epoch, image)

    bar = progress_bar(
        title, progress and processes.is_main, length=max_steps,
        item_show_func=lambda mean: "" if mean is None else f"loss {mean:.4g}",
    )  # fmt: skip
    with lock_checkpoint(checkpoint) if checkpoint is not None and processes.is_main else nullcontext():
        if checkpoint is not None and checkpoint.is_file():
            state.load(checkpoint)
        if processes.choose_threads is not None:
            processes.choose_threads(state.threads, try_step)
        with bar, catch_interrupt() as is_interrupted:
            bar.update(scheduler.last_epoch)
            while scheduler.last_epoch < max_steps and not state.is_stopped(patience):
                interrupted = 0.0
                model.train()
                remaining = iter(batches(scheduler.last_epoch - len(state.values)))
                now = torch.get_rng_state()
                for sampling in state.samplings:  # replays the sampling of the batches of an interrupted round
                    torch.set_rng_state(sampling)
                    next(remaining)
                torch.set_rng_state(now)
                while True:
                    sampling = torch.get_rng_state()
                    if (batch := next(remaining, None)) is None:
                        break
                    *values, interrupted = update(batch)
                    state.values.append(values)
                    state.samplings.append(sampling)
                    bar.update(1, sum(v[0] for v in state.values) / len(state.values))
                    if interrupted and scheduler.last_epoch < max_steps:
                        state.save(checkpoint)
                        raise KeyboardInterrupt
                finish_round()
                if interrupted:
                    raise KeyboardInterrupt
                if processes.is_main:
                    report()
            if is_interrupted():  # during the last validation or report
                raise KeyboardInterrupt
    if state.best and keep_best:
        model.load_state_dict(state.best)
    elif average is not None:
        model.load_state_dict(average.module.state_dict())
    write_history()  # also if a run is resumed after its last round
    if history_file is not None and processes.is_main:
        draw_losses(state.history, history_file.with_suffix(".png"))
    return state.history
