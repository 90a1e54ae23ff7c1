"""Trains and evaluates classifiers of sequences."""

import logging
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._extras import progress_bar
from ..data import Labelled
from ..data.datasets.labelled_sequences import add_axes, check_labelled
from ..layers._base import SPACE
from ..models import VideoModel, ZooModel, from_pretrained
from ..models.base.classifier import Classifier
from ..models.video import encoder_cfg
from ..pretrained.metadata import Metric
from ..recipes import ClassifierRecipe
from ..recipes.augment import make_negatives
from ..values.log_mel import LogMel
from ..verify import Confusion, count_confusions
from .custom import Custom, MetricValues
from .launch import Processes, seed_generators
from .loader import share_sequences
from .loop import Row, checksum
from .task import TaskTrainer, freeze_encoder, load_initial_weights, warn_if_other_part

logger = logging.getLogger(__name__)
OVERFITTING = 0.2
"""Difference between the accuracies on training data and on unseen data above which a warning is logged."""
ACCEPTED = 0.95
"""Share of the validation recordings whose probability reaches the threshold of weights."""
EVALUATED_AT_ONCE = 8
"""Default batch size of an evaluation."""
SequenceBatch = tuple[Tensor, Tensor, Tensor]
"""Sequences ``(N, T, C, *S)`` padded with zeros, their lengths and their labels."""


# ---- data ----------------------------------------------------------------------------------------------------------
def load_labelled(
    recipe: ClassifierRecipe, data: Any, splits: Sequence[str] = ("train", "test"), front_end: LogMel | None = None
) -> tuple[Labelled, ...]:
    """Returns the sequences of several splits, of which the first is that of training, with the axes of the model.

    They have the same classes and channels. `data` is a path, or a dictionary of :class:`~convrnn_zoo.data.Labelled` by
    split. `front_end` computes the features of audio files; by default it is that of the weights `init_from`, or of the
    dataset.
    """
    front_end = front_end or initial_front_end(recipe)
    names: Any = getattr(recipe.data, "label_names", ())
    names = tuple(names.values()) if isinstance(names, Mapping) else names
    if isinstance(data, Mapping):
        if missing := [split for split in splits if split not in data]:
            raise ValueError(f"data must have the splits 'train' and 'test', got no {' and no '.join(missing)}")
        parts = [check_labelled(data[split], split) for split in splits]
        names = parts[0].label_names or names or tuple(str(i) for i in range(int(parts[0].labels.max()) + 1))
    else:
        parts = [recipe.data.load(data, split, front_end) for split in splits]
    augment = recipe.augmentation()
    if augment is not None and augment.audio_fields and parts[0].front_end is None:
        raise ValueError(f"the recipe's augment has {', '.join(augment.audio_fields)}, which apply to sound only")
    model = recipe.create_model(in_chans=1, num_classes=2, device="meta")
    if not isinstance(model, Classifier):
        raise ValueError(f"{recipe.architecture} does not classify sequences; choose one such as convlstm1d_1layer")
    train, *_ = parts = [add_axes(part, model.ndim)._replace(label_names=part.label_names or names) for part in parts]
    for split, part in zip(splits, parts, strict=True):
        shape, classes = tuple(part.sequences[0].shape), part.label_names
        if (number := int(part.labels.max())) >= len(classes):
            raise ValueError(
                f"the {split} part has class number {number}, and there are {len(classes)} classes: "
                f"{', '.join(classes[:20])}; correct the labels or label_names"
            )
        if len(shape) != model.ndim + 2:  # all have the same axes
            raise ValueError(f"{recipe.architecture} takes (T, C, {SPACE[model.ndim]}), or (T, C); got {shape}")
        if train.label_names != classes:
            raise ValueError(
                f"the classes of the parts differ: train has {', '.join(train.label_names)}, {split} has "
                f"{', '.join(classes)}; give both the same label_names"
            )
        if (channels := train.sequences[0].shape[1]) != shape[1]:
            raise ValueError(f"the sequences of train have {channels} channels, those of {split} {shape[1]}")
    return tuple(parts)


def initial_front_end(recipe: ClassifierRecipe) -> LogMel | None:
    """Returns the front end of the weights `init_from`; None without `init_from` or without a front end."""
    front_end = from_pretrained(recipe.init_from).front_end if recipe.init_from else None
    fields = getattr(recipe.data, "front_end", {})
    if front_end is not None and fields and LogMel(**{"rate": front_end.rate, **fields}) != front_end:
        raise ValueError(f"data.front_end is not that of {recipe.init_from}; remove it or write {front_end.to_json()}")
    return front_end


def sample_batches(
    lengths: Sequence[int], recipe: ClassifierRecipe, processes: int = 1, generator: torch.Generator | None = None
) -> Iterator[list[int]]:
    """Yields the sequence indices of each update, in random order; `bucket_batches` groups similar lengths."""
    order = torch.randperm(len(lengths), generator=generator)
    size = recipe.batch_size * recipe.grad_accum_steps * processes
    if not recipe.bucket_batches:
        yield from (batch.tolist() for batch in order.split(size))
        return
    for pool in order.split(recipe.bucket_batches * size):
        batches = pool[torch.tensor(lengths)[pool].argsort(stable=True)].split(size)
        yield from (batches[i].tolist() for i in torch.randperm(len(batches), generator=generator))


def compute_share(
    indices: list[int], update: list[int], labels: Tensor, weights: Tensor | None, processes: Processes
) -> tuple[float, list[int]]:
    """Returns this process's share of a batch: the factor of its loss, and the indices of its sequences.

    `indices` are the sequences of the batch, and `update` the sequences of all batches of the update. Since gradients
    are averaged over processes, the factors of an update add up to the number of processes. A process whose share is
    empty reads the first sequence of the batch with factor 0.

    Example:
        >>> compute_share([0, 1, 2], [0, 1, 2, 3], torch.tensor([0, 1, 1, 0]), None, Processes())
        (0.75, [0, 1, 2])
    """
    selected = indices[processes.rank :: processes.count]
    amounts = torch.ones(len(labels)) if weights is None else weights[labels]
    return float(amounts[selected].sum() / amounts[update].sum()) * processes.count, selected or indices[:1]


def read_shares(
    data: Labelled, changes: Sequence[Callable[[Tensor], Tensor]], shares: list[tuple[float, list[int]]]
) -> list[tuple[float, SequenceBatch]]:
    """Reads the sequences of each share of :func:`compute_share`; `changes` are none or one function of a sequence."""
    return [(share, data.batch(indices, *changes)) for share, indices in shares]


def class_weights(recipe: ClassifierRecipe, train: Labelled) -> Tensor | None:
    """Returns the weights ``(K,)`` of the classes in the loss; None if the recipe sets no weights."""
    weights, count = recipe.class_weights, len(train.label_names)
    if weights == "balanced":
        return len(train.labels) / (count * torch.bincount(train.labels, minlength=count).clamp_min(1))
    if len(weights) not in (0, count):
        raise ValueError(f"the recipe's class_weights must be one for each of {count} classes, got {len(weights)}")
    return torch.tensor(weights) if weights else None


def compute_statistics(data: Labelled) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and standard deviation of each channel over all sequences, steps and pixels.

    The standard deviation of a constant channel is returned as 1.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for x in data.sequences:
        values = x.movedim(1, 0).flatten(1).double()
        count, total, squares = count + values.shape[1], total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    std = ((squares / count - mean.square()).clamp_min(0) * count / max(count - 1, 1)).sqrt()
    varies = std > 1e-6 * mean.abs()  # more than the rounding of a constant
    if not varies.all():
        constant = ", ".join(str(i) for i in (~varies).nonzero().flatten().tolist())
        logger.warning("channel %s of the data is constant, and is not scaled", constant)
    return tuple(mean.tolist()), tuple(torch.where(varies, std, 1.0).tolist())


# ---- evaluation ----------------------------------------------------------------------------------------------------
@torch.no_grad()
def compute_logits(
    model: nn.Module, data: Labelled, batch_size: int = EVALUATED_AT_ONCE, progress: bool = False
) -> Tensor:
    """Returns the logits ``(N, K)`` of all sequences on the CPU; `progress` shows a progress bar."""
    model.eval()
    logits = []
    parts = torch.arange(len(data.labels)).split(batch_size)
    with progress_bar("evaluation", progress, iterable=parts) as shown:
        for indices in shown:
            x, lengths, _ = data.batch(indices.tolist())
            x = model.normalize(x).to(next(model.parameters()))  # type: ignore[operator]
            logits.append(model(x, lengths=lengths).cpu())
    return torch.cat(logits)


def choose_threshold(logits: Tensor) -> float:
    """Returns the probability that the predicted class reaches in :data:`ACCEPTED` of the recordings.

    Example:
        >>> choose_threshold(torch.tensor([[2.0, 0.0]]).expand(3, 2))
        0.881
    """
    return round(float(logits.softmax(1).max(1).values.quantile(1 - ACCEPTED)), 3)


def accuracy(model: nn.Module, data: Labelled, batch_size: int = EVALUATED_AT_ONCE, progress: bool = False) -> float:
    """Returns the fraction of sequences that are classified correctly; see :func:`compute_logits`."""
    return (compute_logits(model, data, batch_size, progress).argmax(1) == data.labels).float().mean().item()


def percent(fraction: float) -> float:
    """Converts a fraction to per cent, rounded to two decimals."""
    return round(100 * fraction, 2)


def accuracy_interval(fraction: float, count: int) -> tuple[float, float]:
    """Returns the 95 % Wilson interval, in per cent, of an accuracy that was measured on `count` sequences.

    Reference:
        Wilson, E. B. (1927). Probable Inference, the Law of Succession, and Statistical Inference. Journal of the
        American Statistical Association 22, 209–212. https://doi.org/10.1080/01621459.1927.10502953

    Example:
        >>> accuracy_interval(0.9, 100)
        (82.56, 94.48)
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    middle, scale = fraction + z * z / (2 * count), 1 + z * z / count
    half = z * math.sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    return percent((middle - half) / scale), percent((middle + half) / scale)


def majority_accuracy(train: Labelled, test: Labelled) -> float:
    """Returns the test accuracy, in per cent, if the most frequent class in training is always predicted."""
    return percent((test.labels == train.labels.mode().values).float().mean().item())


def evaluate_classifier(
    model: ZooModel, recipe: ClassifierRecipe, data: Any, progress: bool = False
) -> tuple[dict[str, float], Confusion]:
    """Returns the test accuracies of the model and of a baseline, in per cent, and the model's confusion matrix."""
    train, test = load_labelled(recipe, data, front_end=model.front_end)
    warn_if_other_part(model.metadata, recipe.data, train)
    names = model.pretrained_cfg.get("label_names") or test.label_names
    if tuple(names) != test.label_names or model.num_classes != len(names):
        raise ValueError(
            f"the classes of the data are {', '.join(test.label_names)}, and the model has {model.num_classes}: "
            f"{', '.join(names)}; pass the data that it was trained for"
        )
    logits = compute_logits(model, test, recipe.batch_size, progress)
    confusion = count_confusions(logits, test.labels, test.label_names)
    return {"prediction": 100 * confusion.accuracy, "commonest class": majority_accuracy(train, test)}, confusion


# ---- training ------------------------------------------------------------------------------------------------------
def build(recipe: ClassifierRecipe, train: Labelled) -> ZooModel:
    """Builds the classifier of a recipe for a training split, with the weights `init_from` or with random weights.

    The fields `mean` and `std` of timm's ``pretrained_cfg`` are computed from the split. Those of a video model are the
    ones of its pretrained encoder, if its frames have as many channels as the encoder expects.
    """
    sketch, cfg = recipe.create_model(in_chans=1, num_classes=2, device="meta"), {}
    if isinstance(sketch, VideoModel):
        cfg = encoder_cfg(sketch.encoder.name)
    if len(cfg.get("mean", ())) != train.sequences[0].shape[1]:
        cfg = dict(zip(("mean", "std"), compute_statistics(train), strict=True))
    model = recipe.create_model(
        in_chans=len(cfg["mean"]), num_classes=len(train.label_names), pretrained_cfg_overlay=cfg
    )
    model.front_end = train.front_end
    model.set_grad_checkpointing(recipe.grad_checkpointing)
    if recipe.init_from:
        load_initial_weights(model, recipe.architecture, recipe.init_from, label_names=train.label_names)
    return model


class ClassifierTrainer(TaskTrainer):
    """Trains a recipe with one seed, in epochs; `name` names a variant of the recipe in title and checkpoint."""

    metrics = ("accuracy",)
    first_checkpoint = "seed{}.ckpt"
    load_data = staticmethod(load_labelled)

    def __init__(
        self,
        recipe: ClassifierRecipe,
        seed: int,
        train: Labelled,
        validation: Labelled | None = None,
        *,
        processes: Processes | None = None,
        custom: Custom | None = None,
        **options: Any,
    ) -> None:
        if custom is not None and custom.loss is not None and (recipe.label_smoothing or recipe.class_weights):
            raise ValueError("label_smoothing and class_weights are of the recipe's loss, and the loss is a custom one")
        self.data, self.validation = train, validation
        # Read once: lazy sequences are decoded for their lengths.
        self.lengths = [len(x) for x in train.sequences] if recipe.bucket_batches else [0] * len(train.labels)
        seed_generators(seed)
        model = build(recipe, train)
        self.weights = class_weights(recipe, train)
        augment, mean = recipe.augmentation(), torch.tensor(model.pretrained_cfg["mean"])
        changes = [partial(augment, mean=mean, front_end=train.front_end)] if augment else []
        is_shared = recipe.workers > 0 and isinstance(train.sequences, list)
        read = train._replace(sequences=share_sequences(train.sequences)) if is_shared else train
        trained_on = {"classes": list(train.label_names), "checksum": labelled_checksum(train)}
        if validation is not None:
            trained_on["validation"] = labelled_checksum(validation)
        count = 1 if processes is None else processes.count
        super().__init__(
            recipe,
            model,
            partial(read_shares, read, changes),
            seed=seed,
            max_steps=recipe.epochs * -(-len(train.labels) // (recipe.batch_size * recipe.grad_accum_steps * count)),
            trained_on=trained_on,
            processes=processes,
            custom=custom,
            **options,
        )

    def fit(self) -> list[Row]:
        """Trains the model, whose encoder is not frozen afterwards."""
        history = super().fit()
        freeze_encoder(self.model, False)
        return history

    def describe(self, test: Labelled, validation: Labelled | None = None) -> dict[str, Any]:
        """Returns classes, normalization and split; and with negatives, a threshold from the validation split."""
        cfg, dataset = self.model.pretrained_cfg, self.recipe.data
        fields = {
            "input_shape": ("T", *self.data.sequences[0].shape[1:]),
            "label_names": self.data.label_names,
            "mean": tuple(cfg["mean"]),
            "std": tuple(cfg["std"]),
            "split": f"{dataset.split_words} ({len(test.labels)})",
            "clips": getattr(dataset, "sampling", None),
        }
        if self.recipe.negatives and validation is not None:
            fields["threshold"] = choose_threshold(compute_logits(self.model, validation, self.recipe.batch_size))
        return fields

    def score(self, test: Labelled, train: Labelled) -> list[Metric]:
        """Returns the accuracy, and warns if it is far below that in training."""
        value = accuracy(self.model, test, self.recipe.batch_size, self.progress)
        keeps_best = self.recipe.keep_best and self.validation is not None
        saved = min(self.history, key=lambda row: row["validation_loss"]) if keeps_best else self.history[-1]
        split = "validation" if "validation_accuracy" in saved else "test"
        unseen = saved.get("validation_accuracy", value)
        if saved["accuracy"] - unseen > OVERFITTING:
            logger.warning(
                "the model overfits: its accuracy is %.1f %% in training and %.1f %% in the %s part; train fewer "
                "epochs, raise weight_decay or model.drop_rate, use patience with data.validation, or add data",
                100 * saved["accuracy"],
                100 * unseen,
                split,
            )
        baselines = {"commonest class": majority_accuracy(train, test)}
        interval = accuracy_interval(value, len(test.labels))
        dataset = self.recipe.data
        fields: Any = {"baselines": baselines, "interval": interval}
        return [Metric("accuracy", percent(value), dataset.title, dataset.split_words, **fields)]

    def sample_epoch(self) -> Iterator[list[tuple[float, list[int]]]]:
        """Samples the batches of an epoch, and yields the shares of this process."""
        recipe, processes, labels = self.recipe, self.processes, self.data.labels
        size = recipe.batch_size * processes.count
        for indices in sample_batches(self.lengths, recipe, processes.count, self.generator):
            parts = [indices[i : i + size] for i in range(0, len(indices), size)]
            yield [compute_share(part, indices, labels, self.weights, processes) for part in parts]

    def batches(self, done: int, skip: int) -> Iterator[list[tuple[float, SequenceBatch]]]:
        """Yields the batches of an epoch."""
        for update, batch in enumerate(self.loader.load(self.sample_epoch(), done, skip), done + skip):
            freeze_encoder(self.model, update < self.frozen_steps)
            yield batch

    def compute_loss(self, part: SequenceBatch) -> Tensor:
        """Returns the cross-entropy and the accuracy of a microbatch."""
        x, labels = (t.to(self.processes.device, non_blocking=True) for t in (part[0], part[2]))
        lengths = part[1]  # on the host, where the model reads them
        x, count = self.model.normalize(x), len(labels)
        if number := round(self.recipe.negatives * count):
            negatives = make_negatives(x, lengths, number)
            x, lengths = torch.cat([x, negatives[0]]), torch.cat([lengths, negatives[1].cpu()])
        x = x + self.recipe.noise * torch.randn_like(x)
        logits, others = self.network(x, lengths=lengths).tensor_split([count])
        correct = (logits.detach().argmax(1) == labels).float().mean()
        smoothing = self.recipe.label_smoothing
        weights = None if self.weights is None else self.weights.to(logits.device, non_blocking=True)
        plain = partial(F.cross_entropy, weight=weights, label_smoothing=smoothing)
        entropy = (self.custom.checked_loss or plain)(logits, labels)
        if number:  # the cross-entropy with equal probabilities, above its lowest value
            excess = -others.log_softmax(1).mean() - math.log(others.shape[1])
            entropy = entropy + self.recipe.negatives * excess
        return torch.stack([entropy, correct])

    def weigh(self, part: SequenceBatch) -> Tensor:
        """Returns the sum of the class weights, and the number of sequences."""
        count = float(len(part[2]))
        return torch.tensor([count if self.weights is None else float(self.weights[part[2]].sum()), count])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Returns the cross-entropy and the accuracy on the validation split."""
        if self.validation is None:
            return {}
        logits, labels = compute_logits(model, self.validation, self.recipe.batch_size), self.validation.labels
        correct = (logits.argmax(1) == labels).float().mean().item()
        loss = self.custom.checked_loss or partial(F.cross_entropy, weight=self.weights)
        metrics = MetricValues(self.custom.metrics)
        metrics.add(logits, labels)
        return {"loss": loss(logits, labels).item(), "accuracy": correct, **metrics.compute()}


def labelled_checksum(data: Labelled) -> str:
    """Returns a checksum of the labels, and also of the sequences if the sequences are in memory."""
    return checksum(data.labels, *(data.sequences if isinstance(data.sequences, list) else ()))
