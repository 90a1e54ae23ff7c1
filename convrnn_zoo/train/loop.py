"""The training loop: updates, a progress bar and checkpoints, from which a run resumes to the same weights."""

import hashlib
import io
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from .._atomic import atomic_write
from .._extras import need
from .recipe import Recipe


def fingerprint(recipe: Recipe, **others: Any) -> str:
    """Returns everything that determines the weights of a run as JSON: the fields of its recipe, and others by name."""
    return json.dumps({**recipe.to_table(), **others}, sort_keys=True)


def checksum(*values: Tensor) -> str:
    """Returns a short checksum of numbers of any dtype, by which a run recognizes its data.

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


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the fields of a table and of the tables in it, by names with dots."""
    saved: dict[str, Any] = {}
    for key, value in table.items():
        saved |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return saved


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """Returns click's progress bar on standard error; `options` are those of ``click.progressbar``."""
    return need("click", "train").progressbar(label=title, hidden=not show, file=sys.stderr, **options)


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Calls torch.save atomically: if the run is killed or the disk is full, the previous checkpoint is kept."""
    # In memory first: the errors of torch's own file writer name neither the file nor the reason.
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content_bytes.getvalue())


def load_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """Loads what :func:`save_checkpoint` wrote for the run of this fingerprint.

    Raises:
        ValueError: the checkpoint belongs to another run or is damaged.
    """
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


@contextmanager
def only_run(checkpoint: Path | None) -> Iterator[None]:
    """Locks a checkpoint, so that two runs never write it at the same time.

    Raises:
        ValueError: another run, of this or another process, is writing it.

    Example:
        >>> path = getfixture("tmp_path") / "last.ckpt"
        >>> with only_run(path), only_run(path):  # doctest: +ELLIPSIS
        ...     pass
        Traceback (most recent call last):
        ValueError: another run is writing ...last.ckpt; wait for its end, or choose another -o
    """
    with ExitStack() as stack:
        if checkpoint is not None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            filelock = need("filelock", "train")
            try:  # the system releases the lock of a killed run
                stack.enter_context(filelock.FileLock(checkpoint.with_name(f".{checkpoint.name}.lock"), timeout=0))
            except filelock.Timeout as e:
                raise ValueError(f"another run is writing {checkpoint}; wait for its end, or choose another -o") from e
        yield


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


def check_finite(model: nn.Module) -> None:
    """Checks the parameters and buffers of a model before they are saved.

    Raises:
        FloatingPointError: one of them is NaN or infinite.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise diverged(f"the weights are no longer finite ({name})")


def diverged(problem: str) -> FloatingPointError:
    """Returns the error of a run that diverged, with a hint."""
    return FloatingPointError(f"{problem}: lower lr or clip_grad_norm in the recipe, and train into another directory")


def stopped_early(validation: list[float], patience: int) -> bool:
    """Returns whether the last `patience` validation losses are no lower than an earlier one; 0 never stops.

    Example:
        >>> [stopped_early([3.0, 2.0, 2.5], patience) for patience in (0, 1, 2)]
        [False, True, False]
    """
    return patience > 0 and len(validation) > validation.index(min(validation)) + patience if validation else False


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    max_steps: int,
    clip_grad_norm: float,
    run: str,
    checkpoint: Path | None = None,
    title: str = "",
    progress: bool = True,
    accelerator: Any = None,
    after_round: Callable[[int, nn.Module], None] | None = None,
    frozen: Callable[[int], Iterable[nn.Parameter]] = lambda update: (),
    microbatches: Callable[[Any], Iterable[tuple[float, Any]]] = lambda batch: [(1.0, batch)],
    ema: float = 0.0,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int = 0,
    keep_best: bool = True,
) -> list[float]:
    """Trains `model` in place and returns the mean loss of each round.

    Args:
        model: the model to train.
        batches: called once a round, such as an epoch, with the number of updates done; may draw from torch's global
            generator.
        loss: computes the loss of the model on one batch.
        optimizer, scheduler: stepped once a batch.
        max_steps: number of batches in total, a whole number of rounds.
        clip_grad_norm: maximum norm of the gradient.
        run: the :func:`fingerprint` of the run; a checkpoint of another run is rejected.
        checkpoint: file written after every round and on Ctrl-C, and read at the start. It holds the states of torch's
            generator, so that a resumed run ends with the same bits as an uninterrupted one.
        title: label of the progress bar.
        progress: whether to show a progress bar, or one line a round if standard error is not a terminal.
        accelerator: accelerate's Accelerator if several processes train together; the main one writes the checkpoint.
        after_round: called by the main process with the number of updates done and the model as it would be saved.
        frozen: returns the parameters that an update, given by its number, leaves unchanged.
        microbatches: divides a batch into parts, each with its share of the loss, whose gradients are added.
        ema: decay of an exponential moving average of the weights, by timm's ModelEmaV3 with its warm-up: the decay
            rises to `ema` as ``1 - (1 + update) ** (-2 / 3)``. The model ends with the averaged weights. 0 does not
            average.
        validate: returns the validation loss of a model, after every round.
        patience: number of rounds without a lower validation loss after which training stops; 0 never stops early.
        keep_best: whether the model ends with the weights of the lowest validation loss, or else with the last ones.

    Torch's generator is restored after `validate` and `after_round`, so that neither changes training.

    Raises:
        ValueError: the checkpoint belongs to another run or is broken, or another run is writing it.
        FloatingPointError: the loss, the gradient or the weights are no longer finite. The last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C was pressed; the checkpoint then holds all updates done.
    """
    history: list[float] = []
    validation: list[float] = []
    best: dict[str, Tensor] = {}  # the weights of the lowest validation loss
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    average = ModelEmaV3(model, ema, use_warmup=True) if ema else None
    if average is not None:
        parts["average"] = average.module
    evaluated: nn.Module = model if average is None else average.module
    losses: list[float] = []  # of the current round
    states: list[Tensor] = []  # of the generator, before each batch of the current round
    if checkpoint is not None and checkpoint.is_file():
        content = load_checkpoint(checkpoint, run)
        for name, part in parts.items():
            part.load_state_dict(content[name])
        torch.set_rng_state(content["generator"])
        history, losses, states = content["history"], content["losses"], content["states"]
        validation, best = content["validation"], content["best"]
    is_main = accelerator is None or accelerator.is_main_process

    def save() -> None:
        check_finite(model)
        if checkpoint is None or not is_main:
            return
        content: dict[str, Any] = {"run": run, "history": history, "losses": losses, "states": states}
        content |= {"validation": validation, "best": best, "generator": torch.get_rng_state()}
        save_checkpoint(content | {name: part.state_dict() for name, part in parts.items()}, checkpoint)

    bar = progress_bar(
        title,
        progress and is_main,
        length=max_steps,
        item_show_func=lambda mean: "" if mean is None else f"loss {mean:.4g}",
    )
    with bar, only_run(checkpoint if is_main else None), catch_interrupt() as is_interrupted:
        bar.update(scheduler.last_epoch)
        while scheduler.last_epoch < max_steps and not stopped_early(validation, patience):
            interrupted = 0.0
            model.train()
            remaining = iter(batches(scheduler.last_epoch - len(losses)))
            generator = torch.get_rng_state()
            for state in states:  # replays the sampling of the batches of an interrupted round
                torch.set_rng_state(state)
                next(remaining)
            torch.set_rng_state(generator)
            while True:
                state = torch.get_rng_state()
                if (batch := next(remaining, None)) is None:
                    break
                optimizer.zero_grad()
                values = []
                for share, part in microbatches(batch):
                    values.append(share * loss(model, part))
                    values[-1].backward()
                value = torch.stack([v.detach().float() for v in values]).sum()
                shared = torch.stack([value, torch.tensor(float(is_interrupted())).to(value.device)])
                if accelerator is not None:  # the mean of all processes, so that they stop together
                    shared = accelerator.reduce(shared, "mean")
                mean, interrupted = shared.tolist()
                if not math.isfinite(mean):
                    raise diverged(f"the loss is {mean}")
                for parameter in frozen(scheduler.last_epoch):
                    parameter.grad = None
                norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
                if not math.isfinite(norm.item()):
                    raise diverged(f"the norm of the gradient is {norm.item()}")
                optimizer.step()
                scheduler.step()
                if average is not None:
                    average.update(model, step=scheduler.last_epoch)
                losses.append(mean)
                states.append(state)
                bar.update(1, sum(losses) / len(losses))
                if interrupted and scheduler.last_epoch < max_steps:
                    save()
                    raise KeyboardInterrupt
            history.append(sum(losses) / len(losses))
            losses, states = [], []
            report = f"loss {history[-1]:.4g}"
            if validate is not None:
                generator = torch.get_rng_state()
                validation.append(validate(evaluated))
                torch.set_rng_state(generator)
                if not math.isfinite(validation[-1]):
                    raise diverged(f"the validation loss is {validation[-1]}")
                if validation[-1] < min(validation[:-1], default=math.inf):
                    best = {name: value.clone() for name, value in evaluated.state_dict().items()}
                report += f", validation loss {validation[-1]:.4g}"
            save()
            if interrupted:
                raise KeyboardInterrupt
            if not is_main:
                continue
            if progress and not sys.stderr.isatty():
                print(f"{title}: {scheduler.last_epoch:,} of {max_steps:,} updates, {report}", file=sys.stderr)
            if after_round is not None:
                generator = torch.get_rng_state()
                after_round(scheduler.last_epoch, evaluated)
                torch.set_rng_state(generator)
    if best and keep_best:
        model.load_state_dict(best)
    elif average is not None:
        model.load_state_dict(average.module.state_dict())
    return history
