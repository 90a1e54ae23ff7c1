"""Training of frame forecasters: from a recipe to weights with their metadata."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._autocast import no_autocast
from .._extras import need
from ..data import CustomSequences, FrameDataset, FrameSequences, split_channels
from ..data.datasets.frame_dataset import check_values
from ..data.frames import ROLES
from ..models import AutoregressiveForecaster, EnsembleForecaster, Forecaster
from ..pretrained.limits import limit
from ..pretrained.metadata import Metric
from ..recipes import Augment, ForecasterRecipe, read_sampling
from ..verify import LOSSES, Panels, evaluate, find_climatology, find_loss, make_metrics, save_images, strip
from ..verify.losses import decoupling, exceedance, partial_derivatives
from .custom import BatchStream, Custom, MetricValues
from .launch import seed_generators
from .loop import checksum
from .task import TaskTrainer, load_initial_weights

CustomLoss = Callable[[Tensor, Tensor, Tensor], Tensor] | None
FrameBatch = tuple[Tensor, Tensor]
"""Frames ``(N, inputs + horizon, C, H, W)`` in the unit of the data, and a mask of scheduled sampling."""


def load_sequences(recipe: ForecasterRecipe, data: Any, splits: Sequence[str]) -> Sequence[FrameSequences]:
    """Returns the sequences of each split. `data` is a path, or a dictionary of Python datasets by split."""
    need("torchmetrics.functional.image", "train")  # for the evaluation: an error now, not after training
    if isinstance(data, Mapping):
        sequences: Sequence[FrameSequences] = [_check_split(recipe, data, split) for split in splits]
    else:
        sequences = recipe.data.load_splits(data, splits, recipe.inputs, recipe.horizon)
        for split, clips in zip(splits, sequences, strict=True):
            clips.reopen = partial(reopen, recipe.data, data, split, recipe.inputs, recipe.horizon)
    channels = {split: clips.fixed(1).shape[2] for split, clips in zip(splits, sequences, strict=True)}
    if len(set(channels.values())) > 1:
        raise ValueError(f"the frames of the splits differ in their number of channels: {channels}")
    return sequences


def _check_split(recipe: ForecasterRecipe, data: Mapping[str, Any], split: str) -> FrameSequences:
    """Returns the user's sequences of a split; raises ValueError if they do not suit the recipe."""
    source = recipe.data
    if split not in data:
        raise ValueError(f"data must have the split {split!r}, got {', '.join(map(repr, data)) or 'none'}")
    clips = data[split] if isinstance(data[split], FrameSequences) else CustomSequences(data[split], f"data[{split!r}]")
    if clips.length != recipe.inputs + recipe.horizon:
        raise ValueError(
            f"data[{split!r}] must have sequences of {recipe.inputs} + {recipe.horizon} frames, as the recipe's inputs "
            f"and horizon say; got {clips.length}"
        )
    names, channels = [v.name for v in source.all_variables], clips.fixed(1).shape[2]
    if names and channels != len(names):
        raise ValueError(
            f"data[{split!r}] must have {len(names)} channels in the order of the recipe's data.variables, future and "
            f"static ({', '.join(names)}); got {channels}"
        )
    check_values(clips.fixed(8), f"data[{split!r}]", source.ranges())
    return clips


def reopen(source: FrameDataset, *arguments: Any) -> FrameSequences:
    """Opens sequences again, in a worker process, without the warnings that the main process has logged."""
    logging.disable(logging.WARNING)
    try:
        return source.load(*arguments)
    finally:
        logging.disable(logging.NOTSET)


class ForecasterTrainer(TaskTrainer):
    """Trains a recipe with one seed, in rounds of `checkpoint_every` updates.

    After each round, the checkpoint and a figure of a fixed sequence are written. All `processes` sample the same batch
    and each reads its shard, so that training only depends on the size of the complete batch. The recipe's `patience`
    and `keep_best` need `validation` sequences.
    """

    first_checkpoint = "last.ckpt"
    load_data = staticmethod(load_sequences)

    def __init__(
        self,
        recipe: ForecasterRecipe,
        train: FrameSequences,
        validation: FrameSequences | None = None,
        *,
        seed: int | None = None,
        custom: Custom | None = None,
        **options: Any,
    ) -> None:
        if custom is not None and custom.loss is not None and find_loss(recipe.loss).is_probabilistic:
            raise ValueError(f"a custom loss replaces a loss of frames, and the recipe's loss is {recipe.loss}")
        if recipe.workers and isinstance(train, BatchStream):
            raise ValueError(f"workers={recipe.workers}: an iterable reads its own batches; leave workers out")
        seed = recipe.seed if seed is None else seed
        self.draws = seed == recipe.seed
        self.clips, self.validation, self.shown = train, validation, train.fixed(1)
        trained_on = identify(train) | ({} if validation is None else {"validation": identify(validation)})
        model = build(recipe, self.shown.shape[2], train, seed)
        model.set_grad_checkpointing(recipe.grad_checkpointing)
        check_frame_size(recipe, train, self.shown)
        for p in model.parameters():
            if p.dim() == 4:  # Module.to would convert kernels of 3-d convolutions as well, and fail
                p.data = p.data.to(memory_format=torch.channels_last)
        check_loss(recipe, model.preprocessing, self.shown)
        check_model(recipe, model)
        self.scheduled_sampling = read_sampling(recipe.sampling)
        if hasattr(model, "adapter") and not recipe.decoupling:  # only that loss has a gradient for it
            model.adapter.requires_grad_(False)
        super().__init__(
            recipe,
            model,
            partial(read_batch, train, augment=recipe.augmentation()),
            seed=seed,
            max_steps=recipe.max_steps,
            trained_on=trained_on,
            network=trained_module(recipe, model),
            custom=custom,
            **options,
        )

    def describe(self, test: FrameSequences, validation: FrameSequences | None = None) -> dict[str, Any]:
        """Returns the shape of the input, and the description of the test split."""
        is_custom = isinstance(test, CustomSequences)
        split = f"{len(test)} sequences passed from Python" if is_custom else self.recipe.data.split_words
        return {"input_shape": ("T", self.model.in_chans, "H", "W"), "split": split}

    def score(self, test: FrameSequences, train: FrameSequences) -> tuple[Metric, ...]:
        """Returns the means of the scores over lead times, and those of the baselines."""
        evaluation = evaluate(
            self.model,
            self.recipe,
            test,
            progress=self.progress,
            climatology=find_climatology(train, test),
            leave_out=["LINDA", "STEPS"],  # which can take longer than the training
        )
        return make_metrics(evaluation.scores, self.recipe.data, self.model.preprocessing)

    def sample_update(self, step: int) -> FrameBatch:
        """Samples the sequences of an update and their masks, and returns the share of this process."""
        recipe, rank, count = self.recipe, self.processes.rank, self.processes.count
        total = recipe.batch_size * count * recipe.grad_accum_steps
        sampled = self.clips.sample(total, self.generator)
        mask = self.scheduled_sampling.mask(step, total, recipe.inputs, recipe.horizon, self.generator)
        return sampled[rank::count], mask[rank::count]

    def batches(self, done: int, skip: int) -> Iterator[list[tuple[float, FrameBatch]]]:
        """Yields the batches of a round."""
        recipe, device = self.recipe, self.processes.device
        steps = range(done, min(done + recipe.checkpoint_every, recipe.max_steps))
        for batch in self.loader.load(map(self.sample_update, steps), done, skip):
            parts = (x.to(device, non_blocking=True).split(recipe.batch_size) for x in batch)
            yield [(1 / recipe.grad_accum_steps, part) for part in zip(*parts, strict=True)]

    def compute_loss(self, part: FrameBatch) -> Tensor:
        """Returns the loss of a microbatch."""
        return training_loss(self.recipe, self.model, self.network, part, self.custom.checked_loss)

    @torch.no_grad()
    def validate(self, model: Any) -> dict[str, float]:
        """Returns the mean loss and metrics on the validation sequences; each process reads a share of them.

        The noise of an ensemble is the same in every validation, and differs between processes.
        """
        recipe, processes, clips = self.recipe, self.processes, self.validation
        if clips is None:
            return {}
        torch.manual_seed((self.seed or 0) + processes.rank)
        model.eval()
        metrics, total = MetricValues(self.custom.metrics), torch.zeros(2, device=processes.device)
        samples = clips.fixed_samples(recipe.validation_sequences)[processes.rank :: processes.count]
        for numbers in samples.split(recipe.batch_size) if len(samples) else ():  # fewer sequences than processes
            frames = clips.read(numbers).to(processes.device)
            loss = float(validation_loss(recipe, model, frames, self.custom.checked_loss))
            if self.custom.metrics:
                every, known = split_channels(frames, model.preprocessing)
                forecast = model.forecast(every[:, : recipe.inputs], recipe.horizon, **known)
                truth = model.preprocessing.select_targets(every)[:, recipe.inputs :].to(forecast).contiguous()
                metrics.add(forecast, truth)
            total += len(frames) * torch.tensor([1.0, loss], device=processes.device)
        count, summed = processes.reduce(total, "sum").tolist()
        return {"loss": summed / count, **metrics.compute(processes.gather)}

    def after_round(self, model: Any) -> Any:
        """Writes a figure of a fixed sequence next to the checkpoint, and returns it; None for unknown input frames."""
        if self.checkpoint is None or not self.draws:
            return None
        values: Any = self.model.preprocessing
        inputs = self.recipe.inputs
        frames, known = split_channels(self.shown, values)
        if not frames[:, :inputs].isfinite().any():
            return None
        forecast, plotted = model.forecast(frames[:, :inputs], **known)[0], values.select_targets(frames)[0]
        panels = Panels(plotted[:inputs], forecast, plotted[inputs:], step=values.step)
        figure = strip(panels, values, f"{self.title} after {self.updates:,} updates")
        save_images([figure], self.checkpoint.with_name(f"update{self.updates:07d}.png"))
        return numpy.asarray(figure)


def identify(clips: FrameSequences) -> dict[str, Any]:
    """Returns the number of sequences and a checksum of 8; a resumed run compares both.

    The checksum is of none for a user's dataset or iterable, which may sample at random.
    """
    some = () if isinstance(clips, CustomSequences) and not clips.is_in_memory else (clips.fixed(8),)
    return {"sequences": len(clips), "checksum": checksum(*some)}


def build(
    recipe: ForecasterRecipe, channels: int, train: FrameSequences | None = None, seed: int | None = None
) -> Forecaster:
    """Builds the forecaster of a recipe, with the weights `init_from`, or with random weights from a seed.

    The default is the recipe's first seed.
    """
    seed_generators(recipe.seed if seed is None else seed)
    data, arguments = recipe.data, {"in_chans": channels}
    if data.variables:
        arguments = {"in_chans": len(data.variables), "out_chans": len(data.targets or data.variables)}
        arguments |= {"static_chans": len(data.static), "future_chans": len(data.future)}
    try:
        model = recipe.create_model(**arguments)
    except ValueError as e:
        if not data.variables:
            raise
        counts = ", ".join(f"{k} = {v}" for k, v in arguments.items())
        raise ValueError(f"{e}; the recipe's data.variables, targets, static and future give {counts}") from e
    if not isinstance(model, Forecaster):
        raise ValueError(f"{recipe.architecture} is not a forecaster; choose one, such as predrnn")
    names = [v.name for v in recipe.data.variables]  # type: ignore[union-attr]
    if isinstance(model, AutoregressiveForecaster) and list(recipe.data.targets or names) != names:
        raise ValueError(f"{recipe.architecture} reads its own forecast of all variables: leave out data.targets")
    if recipe.init_from:
        roles = {role: [v.name for v in getattr(recipe.data, role)] for role in ROLES}
        load_initial_weights(
            model, recipe.architecture, recipe.init_from, variables={**roles, "targets": list(recipe.data.targets)}
        )
    model.horizon = recipe.horizon
    model.preprocessing = recipe.preprocessing(train)
    return model


# ---- losses ----------------------------------------------------------------------------------------------------
def check_model(recipe: ForecasterRecipe, model: Forecaster) -> None:
    """Raises ValueError for keys of the recipe that the model does not support."""
    name, loss, values = recipe.architecture, find_loss(recipe.loss), model.preprocessing
    if recipe.moments and not hasattr(model, "moments"):
        raise ValueError(f"{name} has no filters whose moments a loss could read: leave moments out")
    if not isinstance(model, AutoregressiveForecaster) and (recipe.sampling or recipe.decoupling):
        raise ValueError(f"{name} never reads its own frames: leave sampling and decoupling out")
    if recipe.ensemble_size and not (loss.is_ensemble and isinstance(model, EnsembleForecaster)):
        raise ValueError(
            f"ensemble_size={recipe.ensemble_size} is for the loss crps and an EnsembleForecaster, such as "
            f"convgru_irene; the recipe has {recipe.loss} and {name}: leave ensemble_size out"
        )
    if not loss.is_probabilistic:
        if recipe.lead_times:
            raise ValueError(f"lead_times={recipe.lead_times} is for the loss exceedance: leave lead_times out")
        return
    if not hasattr(model, "exceedance"):
        raise ValueError(f"{name} forecasts no probabilities for the loss {recipe.loss}; choose convgru_advection")
    if values is None or values.step is None or isinstance(values.step, str):
        raise ValueError(f"the loss {recipe.loss} reads the time between frames: set data.step, in minutes")


def trained_module(recipe: ForecasterRecipe, model: Forecaster) -> nn.Module:
    """Returns the module whose ``forward`` the loss of a recipe calls: the model, or its logits."""
    return NowcastLogits(model) if find_loss(recipe.loss).is_probabilistic else model


def training_loss(
    recipe: ForecasterRecipe, model: Forecaster, network: nn.Module, batch: FrameBatch, custom: CustomLoss = None
) -> Tensor:
    """Returns the loss of a batch; unknown pixels (NaN) are left out.

    The loss of an autoregressive model includes every frame from the second on, that of other models only the frames
    after the inputs. A probabilistic loss is :func:`exceedance_loss`. `network` is the :func:`trained_module`, or its
    wrapper for several processes. The function `custom` replaces that of the recipe's `loss`.
    """
    if isinstance(model, AutoregressiveForecaster):
        return _autoregressive_loss(recipe, model, network, batch, custom)
    return _forecast_loss(recipe, model, network, batch[0], custom)


def validation_loss(recipe: ForecasterRecipe, model: Forecaster, frames: Tensor, custom: CustomLoss = None) -> Tensor:
    """Returns the loss of the frames after the inputs, at all lead times; the model reads its own forecasts."""
    recipe, network = dataclasses.replace(recipe, lead_times=0, noise=0.0), trained_module(recipe, model)
    return _forecast_loss(recipe, model, network, frames, custom)


def check_loss(recipe: ForecasterRecipe, values: Any, sequence: Tensor) -> None:
    """Raises ValueError if the preprocessing `values` or a training sequence does not suit the loss."""
    names = sorted(set(recipe.loss.split("+")))
    for name in names:
        LOSSES[name].check(name, values)
    if names := [name for name in names if LOSSES[name].is_bounded]:
        encoded = values.select_targets(values.encode(split_channels(sequence, values)[0]))
        low, high = encoded.min().item(), encoded.max().item()
        if low < -1e-3 or high > 1.2:  # encoded rain may exceed the top a little
            encodings = ", ".join(sorted({v.encoding for v in values.target_variables}))
            raise ValueError(
                f"the loss {names[0]} is for encoded values from 0 to 1, and those of the encoding {encodings} are "
                f"from {low:.3g} to {high:.3g}; choose another loss, or scale the data"
            )


def _known_loss(
    recipe: ForecasterRecipe, output: Tensor, x: Tensor, truth: Tensor, custom: CustomLoss = None
) -> Tensor:
    """Returns the loss of an output against `x`, the encoded truth, over the pixels that are known in `truth`."""
    loss, known, output = find_loss(recipe.loss, recipe.quantile), torch.isfinite(truth), output.float()
    loss = loss if custom is None else loss._replace(of=custom)
    with no_autocast(output):  # convolutions of SSIM would lose all digits in bfloat16
        if known.all():
            return loss.of(output, x, truth)
        if not known.any():
            return output.sum() * 0
        if custom is not None or not loss.is_pixelwise:
            return loss.of(torch.where(known, output, x), x, truth.nan_to_num(0))
        # Every known pixel has the same weight, in whichever process it is.
        return loss.of(output[..., known], x[known], truth[known]) * known.float().mean()


def _add_noise(recipe: ForecasterRecipe, x: Tensor) -> Tensor:
    """Adds the noise of a recipe to encoded inputs."""
    return x + recipe.noise * torch.randn_like(x) if recipe.noise else x


def pad_frames(frames: Tensor, reduction: int, value: float = torch.nan) -> Tensor:
    """Pads frames ``(…, H, W)`` at the bottom and on the right to multiples of `reduction`, as ``forecast`` does.

    Example:
        >>> pad_frames(torch.zeros(1, 6, 8), 4).shape
        torch.Size([1, 8, 8])
    """
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, -width % reduction, 0, -height % reduction), value=value)


def _encode_known(model: Forecaster, known: dict[str, Any]) -> dict[str, Tensor]:
    values: Any = model.preprocessing
    encode = {"static": values.encode_static, "future": values.encode_future}
    return {name: pad_frames(encode[name](inputs), model.reduction, 0.0) for name, inputs in known.items()}


def _forecast_loss(
    recipe: ForecasterRecipe, model: Forecaster, network: nn.Module, frames: Tensor, custom: CustomLoss
) -> Tensor:
    """Returns the loss of the frames after the inputs."""
    if find_loss(recipe.loss).is_probabilistic:
        return exceedance_loss(recipe, model, network, frames)
    values: Any = model.preprocessing
    frames, known = split_channels(frames, values)
    frames = pad_frames(frames, model.reduction)
    frames, later = frames[:, : recipe.inputs], frames[:, recipe.inputs :]
    x, horizon = _add_noise(recipe, model.preprocess(frames)), recipe.horizon
    if isinstance(model, EnsembleForecaster) and recipe.ensemble_size:
        noise = [model.draw_noise(x, horizon) for _ in range(recipe.ensemble_size)]
        output = torch.stack([network(x, horizon=horizon, noise=n) for n in noise])
    else:
        output = network(x, horizon=horizon, **_encode_known(model, known))
    encoded, truth = values.select_targets(values.encode(later)), values.select_targets(later)
    return _known_loss(recipe, output, encoded, truth, custom)


def _autoregressive_loss(
    recipe: ForecasterRecipe, model: Any, network: nn.Module, batch: FrameBatch, custom: CustomLoss
) -> Tensor:
    (frames, known), mask = split_channels(batch[0], model.preprocessing), batch[1]
    frames, known = pad_frames(frames, model.reduction), _encode_known(model, known)
    x = model.preprocess(frames)
    inputs = _add_noise(recipe, x[:, : recipe.inputs])
    result = network(inputs, teacher=x[:, recipe.inputs :], mask=mask, return_aux=True, **known)
    output = torch.cat([result.warmup, result.forecast], dim=1)
    loss = _known_loss(recipe, output, x[:, 1:], frames[:, 1:], custom)
    if recipe.decoupling:
        loss = loss + recipe.decoupling * decoupling(result.deltas)
    if recipe.moments:
        with no_autocast(loss):
            loss = loss + recipe.moments * partial_derivatives(model.moments())
    return loss


class NowcastLogits(nn.Module):
    """Module whose ``forward`` returns the logits of a nowcast; DistributedDataParallel only wraps ``forward``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, horizon: int, minutes: float, lead_times: list[int]) -> Tensor:
        """Returns logits ``(N, len(lead_times), C, 11, H, W)``; lead times are counted from 0."""
        return self.model.exceedance(x, horizon, minutes, lead_times).logits


def exceedance_loss(
    recipe: ForecasterRecipe, model: Any, network: nn.Module, frames: Tensor, minutes: float | None = None
) -> Tensor:
    """Returns the cross-entropy of a nowcast's probabilities at random lead times, or at all without `lead_times`.

    Frames are `minutes` apart, by default the time step of the data.
    """
    frames, truth = pad_frames(frames, model.reduction).split([recipe.inputs, frames.shape[1] - recipe.inputs], 1)
    horizon = truth.shape[1]
    steps = torch.randperm(horizon)[: recipe.lead_times or horizon].sort().values.tolist()
    minutes = minutes or model.preprocessing.step
    logits = network(_add_noise(recipe, model.preprocess(frames)), horizon, minutes, steps).float()
    return exceedance(logits, truth[:, steps])


# ---- data ------------------------------------------------------------------------------------------------------
def check_frame_size(recipe: ForecasterRecipe, clips: FrameSequences, sequence: Tensor) -> None:
    """Raises ValueError if the frames of a recipe need too much memory.

    The frames of a batch and of a generated test split are limited by :func:`~convrnn_zoo.size_limit`.
    """
    counts = {"batch_size": recipe.batch_size}
    if clips.is_generated:  # else the files limit the number of test sequences
        counts["test_sequences"] = recipe.test_sequences
    for key, count in counts.items():
        size = count * sequence.numel() * sequence.element_size()
        if size > limit():
            raise ValueError(
                f"the recipe's {key} = {count} takes {size / 2**30:,.0f} GiB for frames only; lower it, or raise the "
                f"limit of {limit() / 2**30:,.0f} GiB with convrnn_zoo.size_limit"
            )


def read_batch(clips: FrameSequences, batch: FrameBatch, augment: Augment | None = None) -> FrameBatch:
    """Returns the frames of the sampled sequences ``batch[0]``, and the mask of scheduled sampling ``batch[1]``."""
    frames = clips.read(batch[0])
    return frames if augment is None else torch.stack([augment.change_maps(x) for x in frames]), batch[1]
