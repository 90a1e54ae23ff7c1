"""A user's own parts of a training: loss, metrics, optimizer, schedule, callbacks and iterable data."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from .._checks import describe
from ..data import CustomSequences, Labelled
from ..recipes import ClassifierRecipe, Recipe


class Custom(NamedTuple):
    """A user's parts of a training, in place of those of the recipe; see :func:`~convrnn_zoo.train.train`."""

    loss: Callable[..., Tensor] | None = None
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] = {}
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None
    schedule: Callable[[torch.optim.Optimizer, int], LRScheduler] | None = None
    callbacks: Sequence[Callable[[Any, Mapping[str, float]], Any]] = ()

    def names(self) -> dict[str, str]:
        """Returns the names of the parts that change weights; a resumed run compares them."""
        parts = {"loss": self.loss, "optimizer": self.optimizer, "schedule": self.schedule}
        return {k: getattr(v, "__qualname__", type(v).__name__) for k, v in parts.items() if v is not None}

    @property
    def checked_loss(self) -> Callable[..., Tensor] | None:
        """The loss, which raises TypeError if it returns no number or has no gradient; None without a custom loss."""
        return None if self.loss is None else partial(_call_loss, self.loss)

    def build_optimizer(self, model: nn.Module, default: Callable[[nn.Module], Any]) -> torch.optim.Optimizer:
        """Returns the optimizer of a model; raises TypeError for a custom one that training cannot step."""
        optimizer = (self.optimizer or default)(model)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {describe(optimizer)}")
        if isinstance(optimizer, torch.optim.LBFGS):
            raise TypeError("optimizer returned LBFGS, which computes the loss several times an update; use another")
        return optimizer

    def build_schedule(
        self, optimizer: torch.optim.Optimizer, steps: int, default: Callable[..., LRScheduler]
    ) -> LRScheduler:
        """Returns the scheduler of an optimizer; raises TypeError for a custom one that training cannot step."""
        schedule = (self.schedule or default)(optimizer, steps)
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise TypeError(
                "schedule returned ReduceLROnPlateau, which needs a score at each step; lower the rates of "
                "trainer.optimizer.param_groups in a callback"
            )
        if not all(hasattr(schedule, name) for name in ("step", "state_dict", "load_state_dict")):
            raise TypeError(f"schedule must return a torch.optim.lr_scheduler.LRScheduler, got {describe(schedule)}")
        return schedule

    def check(self, has_validation: bool, columns: Sequence[str]) -> None:
        """Raises TypeError if a part is no function, the metrics are no dictionary, or the callbacks no list.

        Raises ValueError if the metrics would never be computed, or would replace `columns` that training writes.
        """
        for name in ("loss", "optimizer", "schedule"):
            if (part := getattr(self, name)) is not None and not callable(part):
                raise TypeError(f"{name} must be a function, got {describe(part)}; the recipe's {name} takes a name")
        if not isinstance(self.metrics, Mapping) or not all(
            callable(m) or is_stateful(m) for m in self.metrics.values()
        ):
            raise TypeError(f"metrics must be a dictionary of functions by their names, got {describe(self.metrics)}")
        if not isinstance(self.callbacks, Sequence) or not all(map(callable, self.callbacks)):
            raise TypeError(f"callbacks must be a list of functions, got {describe(self.callbacks)}")
        if taken := [name for name in self.metrics if name in columns]:
            raise ValueError(
                f"training already writes validation_{taken[0]}: rename {taken[0]!r} of metrics, such as my_{taken[0]}"
            )
        if self.metrics and not has_validation:
            raise ValueError(
                f"the metrics {', '.join(self.metrics)} are computed on validation data: pass data['validation'], or "
                "set data.validation in the recipe"
            )


def _call_loss(loss: Callable[..., Tensor], *values: Any) -> Tensor:
    """Returns a custom loss of shape ``()``."""
    result = loss(*values)
    if not isinstance(result, Tensor) or result.numel() != 1:
        raise TypeError(f"loss must return a tensor with one number, such as a mean; got {describe(result)}")
    if torch.is_grad_enabled() and values[0].requires_grad and not result.requires_grad:
        raise TypeError("loss returned a number without a gradient: compute it from its first argument by torch only")
    return result.reshape(())


def _convert(function: Callable[[Any], Any], expected: str, value: Any) -> Any:
    """Returns ``function(value)``; raises TypeError with what is expected if that fails."""
    try:
        return function(value)
    except (TypeError, ValueError, RuntimeError) as e:
        raise TypeError(f"{expected}; got {describe(value)}") from e


def is_stateful(metric: Any) -> bool:
    """Returns whether a metric is updated batch by batch, as a ``torchmetrics.Metric``."""
    return all(hasattr(metric, name) for name in ("reset", "update", "compute"))


class MetricValues:
    """Values of custom metrics over a split that is evaluated in batches.

    Functions are called once, with the tensors of all batches and all processes. Metrics with state, such as a
    ``torchmetrics.Metric``, are reset and updated with each batch of this process; torchmetrics joins processes itself.
    Every metric receives copies of its own, on the CPU.

    Example:
        >>> values = MetricValues({"count": lambda forecast, truth: len(forecast)})
        >>> values.add(torch.zeros(2), torch.zeros(2))
        >>> values.add(torch.zeros(3), torch.zeros(3))
        >>> values.compute()
        {'count': 5.0}
    """

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self.metrics = metrics
        self.stateful = {name: metric for name, metric in metrics.items() if is_stateful(metric)}
        self.batches: list[tuple[Tensor, ...]] = []
        for metric in self.stateful.values():
            metric.reset()

    def add(self, *values: Tensor) -> None:
        """Adds a batch of forecasts and truths, or of logits and labels."""
        for metric in self.stateful.values():
            metric.update(*(x.cpu().clone() for x in values))
        if len(self.stateful) < len(self.metrics):
            self.batches.append(tuple(x.cpu() for x in values))

    def compute(self, gather: Callable[[Any], list[Any]] = lambda value: [value]) -> dict[str, float]:
        """Returns the metrics by name, or raises TypeError if one is no number; `gather` joins those of processes."""
        batches = [batch for part in gather(self.batches) for batch in part] if self.metrics else []
        joined = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        values = {
            name: metric.compute() if name in self.stateful else metric(*(x.clone() for x in joined))
            for name, metric in self.metrics.items()
        }
        return {
            k: _convert(float, f"the metric {k} must return one number, such as a mean", v) for k, v in values.items()
        }


class BatchStream(CustomSequences):
    """Sequences that an iterable yields, such as an IterableDataset or a DataLoader, in its order, again and again.

    Items are those of :class:`~convrnn_zoo.data.CustomSequences`, or batches ``(N, T, C, H, W)`` of them. The first
    item is read at once, for the shape and the statistics of the data. A resumed run begins with the first item again,
    and each of several processes iterates over its own copy.

    Example:
        >>> loader = torch.utils.data.DataLoader(torch.rand(4, 6, 1, 8, 8), batch_size=3)
        >>> tuple(BatchStream(loader).draw(5).shape)
        (5, 6, 1, 8, 8)
    """

    def __init__(self, source: Iterable[Any], name: str = "data") -> None:
        self.source = source
        first = next(iter(source), None)
        super().__init__([] if first is None else unbatch(first), name)
        self.is_in_memory = False
        self.sequences = self._iterate()

    def _iterate(self) -> Iterator[Any]:
        while True:
            is_empty = True
            for item in self.source:
                is_empty = False
                yield from unbatch(item)
            if is_empty:
                raise ValueError(f"{self.name} yields nothing the second time; pass an iterable such as a DataLoader")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Returns `n` negative numbers, for which :meth:`read` returns the next sequences."""
        return torch.full((n,), -1)

    def read(self, sampled: Tensor) -> Tensor:
        """Returns the next sequences ``(n, T, C, H, W)``, or those of the first item for numbers from 0 on."""
        if len(sampled) and sampled[0] >= 0:
            return super().read(sampled)
        read = CustomSequences([next(self.sequences) for _ in sampled], self.name)
        if read.shape != self.shape:
            raise ValueError(f"{self.name} has {tuple(self.shape)} and {tuple(read.shape)}; cut or pad to one shape")
        return read.fixed(len(sampled))


def unbatch(item: Any) -> list[Any]:
    """Returns the sequences of an item of an iterable: of a batch ``(N, T, C, H, W)``, or of one sequence.

    A batch from a DataLoader of map-style items is a list with one tensor.
    """
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    return list(item) if getattr(item, "ndim", 0) == 5 else [item]


def to_labelled(data: Iterable[Any], split: str) -> Labelled:
    """Returns the labelled sequences of a map-style Dataset, an iterable or a DataLoader, which is read once.

    Items are pairs of a sequence ``(T, C, *S)`` and the number of its class; batches ``(N, T, C, *S)`` with labels
    ``(N,)``; or batches with the lengths of their sequences in between.

    Raises TypeError if an item has another form or a label is no whole number, and ValueError if a length is not from
    1 to T.

    Example:
        >>> pairs = [(torch.zeros(3, 2), 0), (torch.ones(5, 2), 1)]
        >>> to_labelled(pairs, "train").labels.tolist()
        [0, 1]
    """
    sequences: list[Tensor] = []
    labels: list[int] = []
    for i, item in enumerate(data):
        if not isinstance(item, list | tuple) or len(item) not in (2, 3):
            raise TypeError(
                f"data[{split!r}] must be convrnn_zoo.data.Labelled(sequences, labels), or yield (sequence, label) or "
                f"batches (sequences, [lengths,] labels); got {type(data).__name__}, and item {i} is a "
                f"{type(item).__name__}"
            )
        where = f"item {i} of data[{split!r}]"
        named = zip(("sequence", "label") if len(item) == 2 else ("sequence", "lengths", "label"), item, strict=True)
        x, *lengths, label = (_convert(torch.as_tensor, f"{where}: expected a {n} of numbers", v) for n, v in named)
        x = x.float()
        if label.is_floating_point() or label.is_complex() or label.dim() > 1:
            raise TypeError(f"{where}: labels must be whole numbers, got {describe(item[-1])}")
        if label.dim() == 0:
            sequences.append(x)
            labels.append(int(label))
            continue
        steps = lengths[0].tolist() if lengths else [x.shape[1]] * len(x)
        if not len(x) == len(steps) == len(label) or not all(1 <= n <= x.shape[1] for n in steps):
            raise ValueError(
                f"{where}: expected {len(x)} labels, and lengths from 1 to {x.shape[1]}, got {len(label)} labels and "
                f"the lengths {steps}"
            )
        sequences += [y[:n].clone() for y, n in zip(x, steps, strict=True)]
        labels += label.tolist()
    return Labelled(sequences, torch.tensor(labels))


def read_iterables(recipe: Recipe, data: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the iterables among a user's splits to the datasets of a task.

    The training sequences of a forecaster stay in the iterable, and those of its other splits are read into memory.
    """
    if isinstance(recipe, ClassifierRecipe):
        kept: Any = Labelled | Mapping | str
        return {
            k: to_labelled(v, k) if isinstance(v, Iterable) and not isinstance(v, kept) else v for k, v in data.items()
        }
    parts = dict(data)
    for split, part in data.items():
        is_map_style = hasattr(part, "__getitem__") and hasattr(part, "__len__")
        if isinstance(part, Iterable) and not is_map_style:
            is_train = split == "train"
            parts[split] = BatchStream(part, f"data[{split!r}]") if is_train else [x for i in part for x in unbatch(i)]
    return parts
