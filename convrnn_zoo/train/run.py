"""Training of any recipe."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from .._stores import Store, find_place
from ..pretrained.metadata import Metric, WeightsMetadata
from ..recipes import ClassifierRecipe, Recipe
from .classifier import ClassifierTrainer
from .custom import Custom, read_iterables
from .forecaster import ForecasterTrainer
from .launch import CHECKPOINT_MINUTES, Processes, launch
from .loop import Trainer
from .task import identify_part
from .writing import check_writable, write_weights


def train(
    recipe: Recipe,
    *,
    data: Path | Store | str | Mapping[str, Any] | None = None,
    out: Path | str,
    into: Path | str | None = None,
    progress: bool = True,
    device: torch.device | str | None = None,
    log_with: Sequence[str] = (),
    threads: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    loss: Callable[..., Tensor] | None = None,
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] | None = None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None,
    callbacks: Sequence[Callable[[Trainer, Mapping[str, float]], Any]] = (),
) -> WeightsMetadata | None:
    """Trains the weights of a recipe and writes them with their metadata.

    The directory `out` receives ``config.json``, ``model.safetensors``, ``README.md``, ``metadata.json`` and
    ``recipe.toml``. :func:`convrnn_zoo.from_pretrained` and timm load it, and ``convrnn-zoo push`` publishes it.

    Args:
        recipe: the recipe; ``Recipe.read`` reads one by its name or from a ``.toml`` file.
        data: file or directory of the data, address of a Zarr store, or a dictionary of splits; None for the recipe's
            ``data.path``.
            The keys are ``"train"``, ``"test"`` and optionally ``"validation"``. For a classifier they are
            :class:`~convrnn_zoo.data.Labelled`, or iterables such as a DataLoader; see
            :func:`~convrnn_zoo.train.custom.to_labelled`. For a forecaster they are map-style Datasets, lists or
            arrays. Each item is a tensor or NumPy array ``(inputs + horizon, C, H, W)`` with NaN for unknown values.
            They may also be iterables of such items or of batches; see :class:`~convrnn_zoo.train.custom.BatchStream`.
            The recipe's table ``[data]`` describes the data in any case.
        out: directory of the checkpoints; an interrupted run resumes from them.
        into: directory for ``NAME.json`` (metadata) and ``NAME.safetensors``, where NAME is the recipe's `weights`. If
            it is set, `out` receives only checkpoints, losses and figures.
        progress: whether to show progress bars.
        device: device to train on; by default an accelerator if there is one. If several processes train, accelerate's
            launcher chooses their devices.
        log_with: trackers of accelerate that receive losses, learning rates, scores and figures: ``"tensorboard"``,
            ``"wandb"`` or ``"mlflow"``.
        threads: torch's number of threads on the CPU in each process. By default a resumed run keeps its number, and a
            new one has torch's. Weights depend on it by rounding errors.
        checkpoint_minutes: longest time between two checkpoints. They are also written after every epoch of a
            classifier, and after `checkpoint_every` updates of a forecaster.
        loss: function in place of that of the recipe's `loss`, for a forecaster ``(output, truth, amount)`` as in
            :mod:`convrnn_zoo.verify.losses`, and for a classifier ``(logits, labels)``. All three have the axes of the
            frames. Where the truth is unknown, `output` is replaced by `truth`, and `amount` is 0. The activation and
            the conditions of the recipe's `loss` still apply.
        metrics: functions by name that are computed after each round on the complete validation split, such as those of
            torchmetrics.functional, or objects such as a ``torchmetrics.Metric``, which are updated batch by batch.
            Arguments are for a forecaster forecast and truth ``(N, horizon, C, H, W)`` in the unit of the data, NaN
            where the truth is unknown, and for a classifier logits and labels. Columns are ``validation_NAME``; the
            name ``"loss"`` is taken, and ``"accuracy"`` for a classifier.
        optimizer: function that builds the optimizer of a model.
        schedule: function that builds the learning rate scheduler of an optimizer and a number of updates. Its ``step``
            is called after each update.
        callbacks: functions that are called after each round with the trainer and the losses and scores of the round.
            If one returns True, training ends.

    Returns:
        The metadata. If several processes train, it is None in all but the main one.

    Raises:
        TypeError: `recipe` is not a :class:`Recipe`, a part is no function, or the loss or a metric returns no number.
        ValueError: the recipe or the data are invalid, there are `metrics` without validation data or with the name of
            another column, or `out` holds the checkpoint or the weights of another run. The message lists the keys that
            differ, or those that may change when a run is resumed.
        FileNotFoundError: the data do not exist.
        FloatingPointError: the loss is no longer finite.
        KeyboardInterrupt: Ctrl-C was pressed; all completed updates are in the checkpoint.
        SystemExit: the same after SIGTERM, with the exit status 143.

    Example:
        >>> directory = getfixture("tmp_path")
        >>> recipe = Recipe.of({
        ...     "kind": "forecaster", "weights": "convgru_forecaster.noise", "description": "Noise.", "license": "mit",
        ...     "data": {"kind": "frames", "name": "noise"}, "inputs": 2, "horizon": 1, "max_steps": 1, "batch_size": 1,
        ...     "lr": 0.01, "loss": "mse", "model": {"hidden_channels": [2, 2], "kernel_size": 3},
        ... })
        >>> clips = [torch.rand(3, 1, 8, 8) for _ in range(4)]
        >>> metadata = train(recipe, data={"train": clips, "test": clips[:1]}, out=directory, progress=False)
        >>> metadata.dataset, (directory / "model.safetensors").is_file()
        ('noise', True)
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, got {recipe!r}; Recipe.read makes one of a name or of a .toml file")
    if isinstance(data, str):
        data = find_place(data)
    if not isinstance(data, Path | Store | Mapping | None):
        raise ValueError(f"data must be a path, or a dictionary with 'train' and 'test', got {type(data).__name__}")
    custom = Custom(loss, {} if metrics is None else metrics, optimizer, schedule, callbacks)
    trainer_class: type[ClassifierTrainer | ForecasterTrainer] = (
        ClassifierTrainer if isinstance(recipe, ClassifierRecipe) else ForecasterTrainer
    )
    splits, out, into = recipe.list_splits(data), Path(out), Path(into) if into else None
    custom.check("validation" in splits, ("loss", *trainer_class.metrics))
    if isinstance(data, Mapping):
        data = read_iterables(recipe, data)
    with launch(device, log_with, out, recipe.to_table(), threads, checkpoint_minutes) as processes:
        return train_seeds(trainer_class, recipe, data, splits, out, into, processes, custom, progress)


def train_seeds(
    trainer_class: type[ClassifierTrainer | ForecasterTrainer],
    recipe: Any,
    data: Any,
    splits: Sequence[str],
    out: Path,
    into: Path | None,
    processes: Processes,
    custom: Custom,
    progress: bool,
) -> WeightsMetadata | None:
    """Trains one model for each seed, and writes the weights of the first one; see :func:`train` for the arguments.

    Returns None in all processes but the main one.
    """
    parts: Any = trainer_class.load_data(recipe, data, splits)
    train, test, *validation = parts
    processes.from_main(partial(check_writable, out, into, recipe))
    write = partial(write_weights, recipe, data=recipe.data, out=out, into=into)
    first: dict[str, Any] = {}  # the model of the first seed, and fields of its metadata
    runs: list[Sequence[Metric]] = []
    for seed in recipe.seeds:
        name = trainer_class.first_checkpoint.format(seed) if seed == recipe.seed else f"seed{seed}.ckpt"
        trainer = trainer_class(
            recipe=recipe,
            seed=seed,
            train=train,
            validation=validation[0] if validation else None,
            checkpoint=out / name,
            processes=processes,
            custom=custom,
            progress=progress,
        )
        trainer.fit()
        if not processes.is_main:
            continue
        if not first:  # written before the evaluation, which could fail
            first = {"model": trainer.model, **trainer.describe(test, *validation)}
            first["training_part"] = identify_part(train)
            split = write(**first).split
        runs.append([dataclasses.replace(m, split=split) for m in trainer.score(test, train)])
    return write(**first, metrics=join_metrics(runs)) if processes.is_main else None


def join_metrics(runs: Sequence[Sequence[Metric]]) -> tuple[Metric, ...]:
    """Returns the metrics of the first of several runs, with the mean and the standard deviation over all runs."""
    if len(runs) == 1:
        return tuple(runs[0])
    joined = []
    for metric in runs[0]:
        values = [other.value for run in runs for other in run if other.name == metric.name]
        mean, std = (float(f"{function(values):.6g}") for function in (fmean, pstdev))
        joined.append(dataclasses.replace(metric, mean=mean, std=std, runs=len(values)))
    return tuple(joined)
