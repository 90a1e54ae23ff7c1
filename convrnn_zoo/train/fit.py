"""The loop: updates with a progress bar and a checkpoint from which a killed run goes on to the same weights."""

import dataclasses
import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._atomic import atomic_write
from .._extras import need
from .recipe import Recipe


def fingerprint(recipe: Recipe, **others: Any) -> str:
    """All that decides which weights a run makes, as JSON: the entries of its recipe, and others by their names."""
    return json.dumps({**dataclasses.asdict(recipe), **others}, sort_keys=True)


def checksum(*values: Tensor) -> str:
    """A short checksum of numbers of any dtype, by which a run knows its data again.

    Example:
        >>> checksum(torch.zeros(2)) == checksum(torch.zeros(1), torch.zeros(1).bfloat16()) != checksum(torch.ones(2))
        True
    """
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()[:12]


def differences(found: str, run: str) -> list[str]:
    """What differs between two fingerprints, an entry each.

    Example:
        >>> differences('{"lr": 0.1, "model": {"bias": true}}', '{"lr": 0.2, "model": {}}')
        ['lr (0.1 there, 0.2 here)', 'model.bias (true there, none here)']
    """
    there, here = (flat(json.loads(text)) for text in (found, run))
    told = {
        k: [json.dumps(table[k]) if k in table else "none" for table in (there, here)]
        for k in dict.fromkeys([*there, *here])
    }
    return [f"{k} ({a} there, {b} here)" for k, (a, b) in told.items() if a != b]


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The entries of a table and of the tables in it, by their names with dots."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """click's progress bar on standard error; `options` are those of ``click.progressbar``."""
    return need("click", "train").progressbar(label=title, hidden=not show, file=sys.stderr, **options)


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """torch.save, whole or not at all: a run that is killed, or whose disk is full, leaves the last whole one."""
    # In memory first: torch's own writer of files tells neither that the disk is full nor which file it was.
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content_bytes.getvalue())


def load_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """What :func:`save_checkpoint` wrote for the run of this fingerprint.

    Raises:
        ValueError: the checkpoint is of another run, or broken.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        found = content["run"]
    except Exception as e:  # torch raises whatever its unpickler met
        raise ValueError(f"{path} is not a whole checkpoint ({e}); remove it to start the run anew") from e
    if found != run:
        try:
            what = ", ".join(differences(found, run)) or "nothing that is told"
        except (ValueError, AttributeError, TypeError):  # one of a version that told no entries
            what = "it is of an earlier version of this package"
        raise ValueError(
            f"{path} is a checkpoint of another run; what differs: {what}. Undo that, remove the checkpoint, or choose "
            "another -o"
        )
    return content


@contextmanager
def only_run(checkpoint: Path | None) -> Iterator[None]:
    """Of two runs at once that would write one checkpoint, refuses the second; None is no checkpoint.

    Raises:
        ValueError: another run, of this or another process, is writing it.

    Example:
        >>> path = getfixture("tmp_path") / "last.ckpt"
        >>> with only_run(path), only_run(path):  # doctest: +ELLIPSIS
        ...     pass
        Traceback (most recent call last):
        ValueError: another run is writing ...last.ckpt; wait for its end, or choose another -o
    """
    with ExitStack() as held:
        if checkpoint is not None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            filelock = need("filelock", "train")
            try:  # the system opens the lock of a run that was killed
                held.enter_context(filelock.FileLock(checkpoint.with_name(f".{checkpoint.name}.lock"), timeout=0))
            except filelock.Timeout as e:
                raise ValueError(f"another run is writing {checkpoint}; wait for its end, or choose another -o") from e
        yield


def fit(
    model: nn.Module,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    updates: int,
    clip: float,
    run: str,
    checkpoint: Path | None = None,
    title: str = "",
    progress: bool = True,
    accelerator: Any = None,
    after_round: Callable[[int], None] | None = None,
    frozen: Callable[[int], Iterable[nn.Parameter]] = lambda update: (),
) -> list[float]:
    """Trains `model` in place and returns the mean loss of each round.

    Args:
        model: what is trained.
        batches: called once a round, such as an epoch of a data set; may draw from torch's global generator.
        loss: of the model on one batch.
        optimizer, scheduler: stepped once a batch.
        updates: batches in all, a whole number of rounds.
        clip: largest norm of the gradient.
        run: the run's :func:`fingerprint`; a checkpoint of another one is refused.
        checkpoint: file written after every round and read at the start. It holds the state of torch's generator,
            so that a run that was interrupted ends bit for bit where the whole one does.
        title: of the progress bar.
        progress: whether there is one, or where standard error is no terminal, a line a round.
        accelerator: accelerate's, where several processes may train together; the main one writes the checkpoint.
        after_round: called by the main process with the number of updates done; must leave torch's generator alone.
        frozen: the parameters that stay as they are in an update, by its number.

    Raises:
        ValueError: the checkpoint is of another run, or broken, or another run is writing it.
        FloatingPointError: the loss is no longer a finite number.
    """
    history: list[float] = []
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    if checkpoint is not None and checkpoint.is_file():
        content = load_checkpoint(checkpoint, run)
        for name, part in parts.items():
            part.load_state_dict(content[name])
        torch.set_rng_state(content["generator"])
        history = content["history"]
    is_main = accelerator is None or accelerator.is_main_process
    bar = progress_bar(
        title,
        progress and is_main,
        length=updates,
        item_show_func=lambda mean: "" if mean is None else f"loss {mean:.4g}",
    )
    with bar, only_run(checkpoint if is_main else None):
        bar.update(scheduler.last_epoch)
        while scheduler.last_epoch < updates:
            model.train()
            losses: list[float] = []
            for batch in batches():
                value = loss(model, batch)
                shared = value.detach() if accelerator is None else accelerator.reduce(value.detach().clone(), "mean")
                losses.append(shared.item())  # of all processes, so that they stop together
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(
                        f"the loss is {losses[-1]}: lower the learning rate (lr) or the clipping norm (clip) of the "
                        "recipe, and train into another directory"
                    )
                optimizer.zero_grad()
                value.backward()
                for parameter in frozen(scheduler.last_epoch):
                    parameter.grad = None
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                scheduler.step()
                bar.update(1, sum(losses) / len(losses))
            history.append(sum(losses) / len(losses))
            if not is_main:
                continue
            if progress and not sys.stderr.isatty():
                print(
                    f"{title}: {scheduler.last_epoch:,} of {updates:,} updates, loss {history[-1]:.4g}", file=sys.stderr
                )
            if checkpoint is not None:
                states = {name: part.state_dict() for name, part in parts.items()}
                generator = torch.get_rng_state()
                save_checkpoint({"run": run, "history": history, "generator": generator, **states}, checkpoint)
            if after_round is not None:
                after_round(scheduler.last_epoch)
    return history
