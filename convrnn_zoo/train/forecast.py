"""Forecasters of frames: from a recipe to weights with a record of what they reach."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import AutoregressiveForecaster, Forecaster, Metric, Weights, create_model
from ..models._loading import sha256_of
from .apply import choose, data_of, forecast, loss_of
from .fit import fit
from .frames import Clips
from .losses import decoupling
from .optimizers import OPTIMIZERS
from .pictures import Panels, save, strip
from .processes import ALONE, Processes, joined_processes
from .recipe import ForecasterRecipe
from .sampling import SAMPLINGS, Own
from .schedules import SCHEDULES
from .scores import evaluate, metrics_of
from .weights import write_tensors

Objective = Callable[[nn.Module, tuple[Tensor, Tensor | None]], Tensor]


def build(recipe: ForecasterRecipe, channels: int) -> nn.Module:
    """The network with the weights that the recipe starts from, or the first ones of its seed.

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
    return model


def sampling_of(recipe: ForecasterRecipe) -> Own:
    """The scheduled sampling of a recipe: none but the model's own frames, where it names none."""
    args = {"name": "own", **recipe.sampling}
    kind = choose("sampling.name", args.pop("name"), SAMPLINGS)
    try:
        return kind(**args)
    except TypeError as e:
        raise ValueError(f"the recipe's sampling: {e}") from e


def objective_of(recipe: ForecasterRecipe, model: nn.Module) -> Objective:
    """The loss of a model on a batch of frames ``(N, inputs + horizon, C, H, W)`` in the data's unit, and a mask.

    An autoregressive model is asked for every frame from the second on, the others for those to forecast.

    Raises:
        ValueError: the recipe asks for sampling or decoupling, and the model knows no such thing.
    """
    scale, loss = data_of(recipe).scale, loss_of(recipe)
    free = not isinstance(model, AutoregressiveForecaster)
    if free and (recipe.sampling or recipe.decoupling):
        raise ValueError(f"{recipe.architecture} never reads its own frames: leave sampling and decoupling out")

    def whole(model: nn.Module, batch: tuple[Tensor, Tensor | None]) -> Tensor:
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

    return whole if free else stepwise


def train_model(
    recipe: ForecasterRecipe,
    clips: Clips,
    *,
    out: Path | None = None,
    progress: bool = True,
    processes: Processes = ALONE,
    device: torch.device | str = "cpu",
) -> tuple[nn.Module, list[float]]:
    """Trains a recipe on sequences; gives the model and the mean loss of each round.

    With `out`, its checkpoint is there, and after every round a picture of a sequence that is always the same.
    """
    length = recipe.inputs + recipe.horizon
    shown = clips.fixed(1, length)
    model = build(recipe, shown.shape[2]).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped, objective, sampling = processes.wrap(model), objective_of(recipe, model), sampling_of(recipe)
    optimizer = choose("optimizer", recipe.optimizer, OPTIMIZERS)(model, recipe.lr)
    scheduler = choose("schedule", recipe.schedule, SCHEDULES)(optimizer, recipe)
    whole = recipe.batch_size * processes.number

    def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
        first = scheduler.last_epoch
        for update in range(first, min(first + recipe.checkpoint_every, recipe.updates)):
            frames = clips.draw(whole, length)
            mask = sampling.mask(update, whole, recipe.inputs, recipe.horizon)
            yield processes.own(frames).to(device), processes.own(mask).to(device)

    def loss(_: nn.Module, batch: Any) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.bf16):
            return objective(wrapped, batch)

    def show(updates: int) -> None:
        made = forecast(model, recipe, shown[:, : recipe.inputs])
        panels = Panels(shown[0, : recipe.inputs, 0], made[0, :, 0], shown[0, recipe.inputs :, 0])
        picture = strip(panels, data_of(recipe).scale, f"{recipe.weights} after {updates:,} updates")
        save([picture], out / f"update{updates:07d}.png")  # type: ignore[operator]

    told = json.dumps([dataclasses.asdict(recipe), processes.number], sort_keys=True)
    history = fit(
        model, batches, loss, optimizer, scheduler,
        updates=recipe.updates,
        clip=recipe.clip,
        identity=hashlib.sha256(told.encode()).hexdigest(),
        checkpoint=out / "last.ckpt" if out else None,
        title=recipe.weights,
        progress=progress,
        processes=processes,
        after_round=show if out else None,
    )  # fmt: skip
    return model, history


def train_recipe(
    recipe: ForecasterRecipe, *, data: Path | None = None, out: Path, into: Path | None = None, progress: bool = True
) -> Weights | None:
    """Trains a forecaster, in as many processes as there are, and writes its weights with their record.

    Args:
        recipe: what to train.
        data: directory of the data set.
        out: directory of the checkpoint and of the pictures; an interrupted run goes on from there.
        into: directory of the weights and the record; `out` by default.
        progress: whether to show a bar.

    Returns:
        The record, and None in the processes that only helped.
    """
    source = data_of(recipe)
    load = partial(source.load, data, inputs=recipe.inputs)
    with joined_processes() as (processes, device):
        train, test = load("train"), load("test")
        model, _ = train_model(recipe, train, out=out, progress=progress, processes=processes, device=device)
    if not processes.first:
        return None
    scores = evaluate(model, recipe, test)
    return write(recipe, model, metrics_of(scores, source), into or out)


def write(recipe: ForecasterRecipe, model: nn.Module, metrics: tuple[Metric, ...], into: Path) -> Weights:
    """Writes safetensors and record, each whole or not at all, the record last."""
    source = data_of(recipe)
    path = write_tensors(model, into / f"{recipe.weights}.safetensors")
    channels: int = model.in_chans  # type: ignore[assignment]
    record = Weights(
        name=recipe.weights,
        sha256=sha256_of(path),
        model_args={**recipe.model, "horizon": recipe.horizon},
        num_params=sum(p.numel() for p in model.parameters()),
        input_shape=("T", channels, "H", "W"),
        in_chans=channels,
        num_classes=0,
        label_names=(),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        task=source.task,
        dataset=f"{source.title} ({source.license})",
        dataset_url=source.url,
        metrics=metrics,
        recipe=recipe.name,
        license=recipe.license,
        description=recipe.description,
        citation=recipe.citation,
        remarks=recipe.remarks,
    )
    record.save(into)
    return record
