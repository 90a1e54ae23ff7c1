"""The loop: epochs with a progress bar and a checkpoint from which a killed run goes on to the same weights."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save to a temporary file beside `path`, then a rename: a killed run leaves the last whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f"{path.suffix}.part{os.getpid()}")
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def fit(
    model: nn.Module,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    epochs: int,
    clip: float,
    identity: str,
    checkpoint: Path | None = None,
    title: str = "",
    progress: bool = True,
) -> list[float]:
    """Trains `model` in place and returns the mean loss of each epoch.

    Args:
        model: what is trained.
        batches: called once an epoch; may draw from torch's global generator.
        loss: of the model on one batch.
        optimizer, scheduler: stepped once a batch.
        epochs: passes over the data.
        clip: largest norm of the gradient.
        identity: names the run; a checkpoint of another one is refused.
        checkpoint: file written after every epoch and read at the start. It holds the state of torch's generator,
            so that a run that was interrupted ends bit for bit where the whole one does.
        title: of the progress bar.
        progress: whether there is one.

    Raises:
        ValueError: the checkpoint is of another run, or broken.
        FloatingPointError: the loss is no longer a finite number.
    """
    history: list[float] = []
    if checkpoint is not None and checkpoint.is_file():
        history = _resume(checkpoint, identity, model, optimizer, scheduler)
    tqdm = need("tqdm", "train").tqdm
    with tqdm(total=epochs, initial=len(history), desc=title, unit="epoch", disable=not progress) as bar:
        while len(history) < epochs:
            model.train()
            losses = list(_epoch(model, batches(), loss, optimizer, scheduler, clip))
            history.append(sum(losses) / len(losses))
            bar.update()
            bar.set_postfix(loss=f"{history[-1]:.4f}")
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
    return history


def _epoch(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    clip: float,
) -> Iterator[float]:
    for batch in batches:
        value = loss(model, batch)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss is {value.item()}: lower the learning rate or the clipping norm")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        yield value.item()


def _resume(
    path: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> list[float]:
    try:
        state = torch.load(path, weights_only=True)
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
