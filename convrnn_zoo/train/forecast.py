"""Forecasters of frames: from a recipe to weights with a record of what they reach."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from ..models import AutoregressiveForecaster, Forecaster, Weights, create_model
from .apply import data_of, loss_of, preprocessing_of
from .fit import fingerprint, fit
from .frames import Clips
from .losses import decoupling
from .optimizers import OPTIMIZERS, SCHEDULES
from .pictures import Panels, save, strip
from .recipe import ForecasterRecipe, choose
from .sampling import SAMPLINGS, FreeRunning
from .scores import evaluate, metrics_of
from .weights import write_weights

Objective = Callable[[nn.Module, tuple[Tensor, Tensor | None]], Tensor]


def build(recipe: ForecasterRecipe, channels: int) -> Forecaster:
    """The network with its initial weights: those that the recipe names, or those of its seed.

    Raises:
        ValueError: it is no forecaster, or does not take what the recipe's `model` says; or the weights to start from
            are of another architecture.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.create_model(in_chans=channels)
    if recipe.start.partition(".")[0] not in ("", recipe.architecture):
        raise ValueError(f"the recipe's start must be weights of {recipe.architecture}, got {recipe.start!r}")
    if recipe.start:
        model.load_state_dict(create_model(recipe.start, pretrained=True).state_dict())
    if not isinstance(model, Forecaster):
        raise ValueError(f"{recipe.architecture} is no forecaster; a recipe of one can train it, such as predrnn")
    model.horizon = recipe.horizon
    model.preprocessing = preprocessing_of(recipe)
    return model


def sampling_of(recipe: ForecasterRecipe) -> FreeRunning:
    """The scheduled sampling of a recipe: without one the model reads its own forecasts, as in use."""
    args = {"name": "own", **recipe.sampling}
    kind = choose("sampling.name", args.pop("name"), SAMPLINGS)
    try:
        return kind(**args)
    except TypeError as e:
        raise ValueError(f"the recipe's sampling: {e}") from e


def objective_of(recipe: ForecasterRecipe, model: nn.Module) -> Objective:
    """The loss of a model on a batch of frames ``(N, inputs + horizon, C, H, W)`` in the unit of the data, and a mask.

    An autoregressive model is asked for every frame from the second on, the others for those to forecast.

    Raises:
        ValueError: the recipe asks for sampling or decoupling, and the model knows no such thing.
    """
    scale, loss = data_of(recipe).scale, loss_of(recipe)
    direct = not isinstance(model, AutoregressiveForecaster)
    if direct and (recipe.sampling or recipe.decoupling):
        raise ValueError(f"{recipe.architecture} never reads its own frames: leave sampling and decoupling out")

    def at_once(model: nn.Module, batch: tuple[Tensor, Tensor | None]) -> Tensor:
        frames, _ = batch
        output = model(scale.encode(frames[:, : recipe.inputs]), horizon=recipe.horizon)
        truth = frames[:, recipe.inputs :]
        return loss.of(output.float(), scale.encode(truth), truth)

    def stepwise(model: nn.Module, batch: tuple[Tensor, Tensor | None]) -> Tensor:
        frames, mask = batch
        x = scale.encode(frames)
        made = model(x[:, : recipe.inputs], teacher=x[:, recipe.inputs :], mask=mask, return_aux=True)
        output = torch.cat([made.warmup, made.forecast], dim=1)
        value = loss.of(output.float(), x[:, 1:], frames[:, 1:])
        return value + recipe.decoupling * decoupling(made.deltas) if recipe.decoupling else value

    return at_once if direct else stepwise


@contextmanager
def launched() -> Iterator[Any]:
    """accelerate's Accelerator of the processes that its launcher or torchrun started, or of this one alone.

    The processes part together at the end: one that ends while still joined may be aborted by its threads.
    """
    accelerate = need("accelerate", "train")
    accelerator = accelerate.Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
    try:
        yield accelerator
    finally:
        accelerator.end_training()


def train_model(
    recipe: ForecasterRecipe,
    clips: Clips,
    *,
    out: Path | None = None,
    progress: bool = True,
    accelerator: Any = None,
) -> tuple[Forecaster, list[float]]:
    """Trains a recipe on sequences; gives the model and the mean loss of each round.

    With `out`, its checkpoint is there, and after every round a picture of a sequence that is always the same.
    With an `accelerator`, all its processes draw the same whole batch and each takes its shard, so that training
    depends on the size of the whole batch and not on how many share it.
    """
    length = recipe.inputs + recipe.horizon
    shown = clips.fixed(1, length)
    model = build(recipe, shown.shape[2])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective, sampling = objective_of(recipe, model), sampling_of(recipe)
    rank, world_size, device = 0, 1, torch.device("cpu")
    wrapped: nn.Module = model
    if accelerator is not None:
        rank, world_size, device = accelerator.process_index, accelerator.num_processes, accelerator.device
        wrapped = accelerator.prepare(model)
    optimizer = choose("optimizer", recipe.optimizer, OPTIMIZERS)(model, recipe.lr)
    scheduler = choose("schedule", recipe.schedule, SCHEDULES)(optimizer, recipe)
    total = recipe.batch_size * world_size

    def batches() -> Iterator[list[Tensor]]:
        done = scheduler.last_epoch
        for update in range(done, min(done + recipe.checkpoint_every, recipe.updates)):
            frames = clips.draw(total, length)
            mask = sampling.mask(update, total, recipe.inputs, recipe.horizon)
            yield [x[rank::world_size].to(device) for x in (frames, mask)]

    def loss(_: nn.Module, batch: Any) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            return objective(wrapped, batch)

    def show(updates: int) -> None:
        made = model.forecast(shown[:, : recipe.inputs])
        panels = Panels(shown[0, : recipe.inputs, 0], made[0, :, 0], shown[0, recipe.inputs :, 0])
        picture = strip(panels, data_of(recipe).scale, f"{recipe.weights} after {updates:,} updates")
        save([picture], out / f"update{updates:07d}.png")  # type: ignore[operator]

    history = fit(
        model, batches, loss, optimizer, scheduler,
        updates=recipe.updates,
        clip=recipe.clip,
        run=fingerprint(recipe, world_size),
        checkpoint=out / "last.ckpt" if out else None,
        title=recipe.weights,
        progress=progress,
        accelerator=accelerator,
        after_round=show if out else None,
    )  # fmt: skip
    return model, history


def train_forecaster(
    recipe: ForecasterRecipe, *, data: Path | None, out: Path, into: Path, progress: bool
) -> Weights | None:
    """Trains a forecaster, in as many processes as there are, and writes its weights with their record.

    See :func:`~convrnn_zoo.train.tasks.train` for the arguments. None in all processes but the main one.
    """
    source = data_of(recipe)
    load = partial(source.load, data, inputs=recipe.inputs)
    with launched() as accelerator:
        train, test = load("train"), load("test")
        model, _ = train_model(recipe, train, out=out, progress=progress, accelerator=accelerator)
    if not accelerator.is_main_process:
        return None
    metrics = metrics_of(evaluate(model, recipe, test), source)
    channels = model.in_chans
    return write_weights(
        recipe, model, source, metrics, into,
        model_args={**recipe.model, "horizon": recipe.horizon},
        input_shape=("T", channels, "H", "W"),
        in_chans=channels,
        num_classes=0,
        preprocessing=model.preprocessing,
        label_names=(),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )  # fmt: skip
