"""The loop: updates with a progress bar and a checkpoint from which a killed run goes on to the same weights."""

import io
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from .._whole import whole
from .processes import ALONE, Processes


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save, whole or not at all: a run that is killed, or whose disk is full, leaves the last whole one."""
    # In memory first: torch's own writer of files tells neither that the disk is full nor which file it was.
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    with whole(path) as temporary:
        temporary.write_bytes(content_bytes.getbuffer())


def fit(
    model: nn.Module,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    updates: int,
    clip: float,
    identity: str,
    checkpoint: Path | None = None,
    title: str = "",
    progress: bool = True,
    processes: Processes = ALONE,
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
        identity: names the run; a checkpoint of another one is refused.
        checkpoint: file written after every round and read at the start. It holds the state of torch's generator,
            so that a run that was interrupted ends bit for bit where the whole one does.
        title: of the progress bar.
        progress: whether there is one.
        processes: that train together; the first writes the checkpoint.
        after_round: called by the first with the number of updates done; must leave torch's generator alone.

    Raises:
        ValueError: the checkpoint is of another run, or broken.
        FloatingPointError: the loss is no longer a finite number.
    """
    history: list[float] = []
    if checkpoint is not None and checkpoint.is_file():
        history = _resume(checkpoint, identity, model, optimizer, scheduler)
    tqdm = need("tqdm", "train").tqdm
    bar = tqdm(total=updates, initial=scheduler.last_epoch, desc=title, disable=not (progress and processes.first))
    with bar:
        while scheduler.last_epoch < updates:
            model.train()
            losses = []
            for value in _round(model, batches(), loss, optimizer, scheduler, clip, processes):
                losses.append(value)
                bar.set_postfix(loss=f"{sum(losses) / len(losses):.4g}", refresh=False)
                bar.update()
            history.append(sum(losses) / len(losses))
            if not processes.first:
                continue
            if checkpoint is not None:
                state = {
                    "identity": identity,
                    "history": history,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "generator": torch.get_rng_state(),
                }
                save_atomically(state, checkpoint)
            if after_round is not None:
                after_round(scheduler.last_epoch)
    return history


def _round(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    clip: float,
    processes: Processes,
) -> Iterator[float]:
    for batch in batches:
        value = loss(model, batch)
        mean = processes.mean(value.detach())  # of all processes, so that they stop together
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean}: lower the learning rate or the clipping norm")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        yield mean


def _resume(
    path: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> list[float]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        was = state["identity"]
    except Exception as e:  # torch raises whatever its unpickler met
        raise ValueError(f"{path} is not a whole checkpoint ({e}); remove it to start the run anew") from e
    if was != identity:
        raise ValueError(
            f"{path} is a checkpoint of another run ({was}, not {identity}); remove it or choose another --out"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["generator"])
    return state["history"]
