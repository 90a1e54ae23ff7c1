"""The loop: updates with a progress bar and a checkpoint from which a killed run goes on to the same weights."""

import dataclasses
import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from .._whole import whole
from .recipe import Recipe


def fingerprint(recipe: Recipe, *others: Any) -> str:
    """The fingerprint of a run: a sha256 of its recipe and of whatever else decides which weights it makes."""
    return hashlib.sha256(json.dumps([dataclasses.asdict(recipe), *others], sort_keys=True).encode()).hexdigest()


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """click's progress bar on standard error; `options` are those of ``click.progressbar``."""
    return need("click", "train").progressbar(label=title, hidden=not show, file=sys.stderr, **options)


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """torch.save, whole or not at all: a run that is killed, or whose disk is full, leaves the last whole one."""
    # In memory first: torch's own writer of files tells neither that the disk is full nor which file it was.
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    with whole(path) as temporary:
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
        raise ValueError(
            f"{path} is a checkpoint of another run ({found}, not {run}); remove it or choose another --out"
        )
    return content


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

    Raises:
        ValueError: the checkpoint is of another run, or broken.
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
    with bar:
        bar.update(scheduler.last_epoch)
        while scheduler.last_epoch < updates:
            model.train()
            losses: list[float] = []
            for batch in batches():
                value = loss(model, batch)
                shared = value.detach() if accelerator is None else accelerator.reduce(value.detach().clone(), "mean")
                losses.append(shared.item())  # of all processes, so that they stop together
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(f"the loss is {losses[-1]}: lower the learning rate or the clipping norm")
                optimizer.zero_grad()
                value.backward()
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
