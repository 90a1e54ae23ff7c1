"""Forecasters of frames: from a recipe to weights with a record of what they reach."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from ..data import CustomSequences, FrameSequences, read_frame_dataset
from ..data.datasets.checks import check_values
from ..data.datasets.frame_files import FrameDataset
from ..data.datasets.moving_mnist import MovingDigits
from ..models import AutoregressiveForecaster, EnsembleForecaster, Forecaster, Weights
from ..pretrained.meta import limit
from .apply import preprocessing_of
from .fit import checksum, fingerprint
from .launch import launched
from .losses import LOSSES, decoupling, partial_derivatives
from .optimizers import fit_updates
from .pictures import Panels, save, strip
from .recipe import ForecasterRecipe, choose
from .sampling import read_sampling
from .scores import evaluate, metrics_of
from .start import started, trunk_of
from .weights import check_writable, write_weights

Objective = Callable[[nn.Module, tuple[Tensor, Tensor | None]], Tensor]


def build(recipe: ForecasterRecipe, channels: int, train: FrameSequences | None = None) -> Forecaster:
    """The network with its initial weights: those that the recipe starts from, or those of its seed.

    Raises:
        ValueError: it is no forecaster, or does not take what the recipe's `model` says; or the weights to start from
            are of another architecture or size.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.create_model(in_chans=channels)
    if not isinstance(model, Forecaster):
        raise ValueError(f"{recipe.architecture} is no forecaster; a recipe of one can train it, such as predrnn")
    if recipe.start:
        started(model, recipe)
    model.horizon = recipe.horizon
    model.preprocessing = preprocessing_of(recipe, train)
    return model


def objective_of(recipe: ForecasterRecipe, model: Forecaster) -> Objective:
    """The loss of a model on a batch of frames ``(N, inputs + horizon, C, H, W)`` in the unit of the data, and a mask.

    An autoregressive model is asked for every frame from the second on, the others for those to forecast. What is not
    known (NaN) is no part of the loss.

    Raises:
        ValueError: the recipe asks for sampling, decoupling or moments, and the model knows no such thing.
    """
    values: Any = model.preprocessing
    loss = choose("loss", recipe.loss, LOSSES)
    direct = not isinstance(model, AutoregressiveForecaster)
    filters: Any = getattr(model, "moments", None)
    if recipe.moments and filters is None:
        raise ValueError(f"{recipe.architecture} has no filters whose moments a loss could read: leave moments out")
    if direct and (recipe.sampling or recipe.decoupling):
        raise ValueError(f"{recipe.architecture} never reads its own frames: leave sampling and decoupling out")

    if recipe.members and not (recipe.loss == "crps" and isinstance(model, EnsembleForecaster)):
        raise ValueError(
            f"members={recipe.members} are for the loss crps and a model that reads noise, such as convgru_irene; the "
            f"recipe has {recipe.loss} and {recipe.architecture}: leave members out"
        )

    def of(output: Tensor, x: Tensor, truth: Tensor) -> Tensor:
        known = torch.isfinite(truth)
        if known.all():
            return loss.of(output, x, truth)
        if not known.any():
            return output.sum() * 0
        # Every known pixel counts the same, in whichever process it is.
        return loss.of(output[..., known], x[known], truth[known]) * known.float().mean()

    def at_once(wrapped: nn.Module, batch: tuple[Tensor, Tensor | None]) -> Tensor:
        frames, _ = batch
        x, horizon = values.encode(frames[:, : recipe.inputs]), recipe.horizon
        if isinstance(model, EnsembleForecaster) and recipe.members:
            noise = [model.draw_noise(x, horizon) for _ in range(recipe.members)]
            output = torch.stack([wrapped(x, horizon=horizon, noise=n) for n in noise])
        else:
            output = wrapped(x, horizon=horizon)
        truth = frames[:, recipe.inputs :]
        return of(output.float(), values.encode(truth), truth)

    def stepwise(model: nn.Module, batch: tuple[Tensor, Tensor | None]) -> Tensor:
        frames, mask = batch
        x = values.encode(frames)
        made = model(x[:, : recipe.inputs], teacher=x[:, recipe.inputs :], mask=mask, return_aux=True)
        output = torch.cat([made.warmup, made.forecast], dim=1)
        value = of(output.float(), x[:, 1:], frames[:, 1:])
        if recipe.decoupling:
            value = value + recipe.decoupling * decoupling(made.deltas)
        return value + recipe.moments * partial_derivatives(filters()) if recipe.moments else value

    return at_once if direct else stepwise


def train_model(
    recipe: ForecasterRecipe,
    clips: FrameSequences,
    *,
    out: Path | None = None,
    progress: bool = True,
    accelerator: Any = None,
) -> tuple[Forecaster, list[float]]:
    """Trains a recipe on sequences; gives the model and the mean loss of each round.

    With `out`, its checkpoint is there, and after every round a picture of a sequence that is always the same.
    With an `accelerator`, all its processes draw the same whole batch and each reads its shard, so that training
    depends on the size of the whole batch and not on how many share it.
    """
    if out is not None:
        # For the pictures after every round: told now if it is missing, and not interrupted while it is imported.
        need("matplotlib.figure", "draw")
        need("matplotlib.backends.backend_agg", "draw")
    shown = clips.fixed(1)
    some = () if isinstance(clips, CustomSequences) else (clips.fixed(8),)  # a user's may be drawn anew each time
    trained_on = {"sequences": len(clips), "checksum": checksum(*some)}
    model = build(recipe, shown.shape[2], clips)
    for p in model.parameters():
        if p.dim() == 4:  # Module.to would try it on kernels of 3-d convolutions, too
            p.data = p.data.to(memory_format=torch.channels_last)
    values: Any = model.preprocessing
    objective, sampling = objective_of(recipe, model), read_sampling(recipe.sampling)
    rank, world_size, device = 0, 1, torch.device("cpu")
    wrapped: nn.Module = model
    if accelerator is not None:
        rank, world_size, device = accelerator.process_index, accelerator.num_processes, accelerator.device
        wrapped = accelerator.prepare(model)
    total = recipe.batch_size * world_size
    check_memory(recipe, clips, shown)

    def drawn(update: int) -> tuple[Tensor, Tensor]:
        sampled = clips.sample(total)
        mask = sampling.mask(update, total, recipe.inputs, recipe.horizon)
        return sampled[rank::world_size], mask[rank::world_size]

    def batches(updates: range) -> Iterator[list[Tensor]]:
        for frames, mask in read_ahead(clips, map(drawn, updates)):
            yield [x.to(device) for x in (frames, mask)]

    def loss(_: nn.Module, batch: Any) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            return objective(wrapped, batch)

    def show(updates: int) -> None:
        made = model.forecast(shown[:, : recipe.inputs])
        panels = Panels(shown[0, : recipe.inputs, 0], made[0, :, 0], shown[0, recipe.inputs :, 0])
        picture = strip(panels, values, f"{recipe.weights} after {updates:,} updates")
        save([picture], out / f"update{updates:07d}.png")  # type: ignore[operator]

    trunk = trunk_of(model) if recipe.freeze else []
    return model, fit_updates(
        model, recipe, batches, loss,
        run=fingerprint(recipe, processes=world_size, trained_on=trained_on),
        checkpoint=out / "last.ckpt" if out else None,
        progress=progress,
        accelerator=accelerator,
        after_round=show if out else None,
        frozen=lambda update: trunk if update < recipe.freeze else (),
    )  # fmt: skip


def check_memory(recipe: ForecasterRecipe, clips: FrameSequences, sequence: Tensor) -> None:
    """Checks the size of a batch and of the test sequences before they are allocated.

    Raises:
        ValueError: one of them is larger than the limit of :func:`~convrnn_zoo.size_limit`.
    """
    for key, count in {"batch_size": recipe.batch_size, "test_sequences": recipe.test_sequences}.items():
        if key == "test_sequences" and not isinstance(clips, MovingDigits):
            continue  # there are no more than the split has
        size = count * sequence.numel() * sequence.element_size()
        if size > limit():
            raise ValueError(
                f"the recipe's {key} = {count} takes {size / 2**30:,.0f} GiB for frames only; lower it, or raise the "
                f"limit of {limit() / 2**30:,.0f} GiB with convrnn_zoo.size_limit"
            )


def read_ahead(clips: FrameSequences, drawn: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The sequences of what was drawn, with what came along; of slow data the next ones are read meanwhile."""
    if not clips.slow:
        yield from ((clips.read(sampled), mask) for sampled, mask in drawn)
        return
    with ThreadPoolExecutor(1) as pool:
        begun: Iterator[Any] = ((pool.submit(clips.read, sampled), mask) for sampled, mask in drawn)
        for (read, mask), _ in itertools.pairwise(itertools.chain(begun, [None])):  # the next one has begun, too
            yield read.result(), mask


def train_forecaster(
    recipe: ForecasterRecipe, *, data: Any, out: Path, into: Path | None, progress: bool
) -> Weights | None:
    """Trains a forecaster, in as many processes as there are, and writes its weights with their record.

    See :func:`~convrnn_zoo.train.tasks.train` for the arguments. None in all processes but the main one.
    """
    source = read_frame_dataset(recipe.data)
    with launched() as accelerator:
        train, test = (split_of(source, recipe, data, split) for split in ("train", "test"))
        channels, others = (part.fixed(1).shape[2] for part in (train, test))
        if channels != others:
            raise ValueError(f"the frames have {channels} channels in the train split and {others} in the test split")
        check_writable(into or out, recipe)
        model, _ = train_model(recipe, train, out=out, progress=progress, accelerator=accelerator)
        if not accelerator.is_main_process:
            return None
        metrics = metrics_of(evaluate(model, recipe, test), source)
        return write_weights(recipe, model, source, metrics, out, into, input_shape=("T", model.in_chans, "H", "W"))


def split_of(source: FrameDataset, recipe: ForecasterRecipe, data: Any, split: str) -> FrameSequences:
    """Returns the sequences of a split, from a path, or from Python's datasets by the names of the splits.

    Raises:
        ValueError: a split is missing, or its sequences are of another length than the recipe's.
    """
    if not isinstance(data, Mapping):
        return source.load(data, split, recipe.inputs, recipe.horizon)
    if split not in data:
        raise ValueError(f"data must have the splits 'train' and 'test', got {', '.join(map(repr, data)) or 'none'}")
    clips = data[split] if isinstance(data[split], FrameSequences) else CustomSequences(data[split], f"data[{split!r}]")
    if clips.length != recipe.inputs + recipe.horizon:
        raise ValueError(
            f"data[{split!r}] must have sequences of {recipe.inputs} + {recipe.horizon} frames, as the recipe's inputs "
            f"and horizon say; got {clips.length}"
        )
    check_values(clips.fixed(8), f"data[{split!r}]", source.unit, source.valid_min, source.valid_max)
    return clips
