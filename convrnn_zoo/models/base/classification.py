"""Classes of recordings in the unit of the data: from recordings to the sequences of a network, and labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ... import _checks as check
from ..._hints import warn
from ...layers._base import SPACE
from ...values.tensors import to_tensor
from .model import HeadedModel, evaluating, reference_tensor

FAR = 100.0
"""Distance from the mean of the training data, in standard deviations, that suggests values in another unit."""


class Prediction(NamedTuple):
    """Predicted class of one recording, with the probability of every class."""

    label: str
    probability: float
    probabilities: dict[str, float]


@torch.no_grad()
def classify_sampled(
    model: HeadedModel, recordings: Sequence[Any], *, names: Sequence[str], batch_size: int = 64
) -> list[Prediction]:
    """Predicts the class of each recording; clips have the frames of training already.

    See :meth:`~convrnn_zoo.models.base.classifier.Classifier.classify`.
    """
    if not model.num_classes:
        raise ValueError("the model has no classifier; load weights with one, or train one with num_classes")
    if not model.resolve_pool(frame=False):
        raise ValueError('classify needs a pool, got global_pool=""; set model.global_pool = "avg"')
    labels, like = find_labels(model), reference_tensor(model)
    sequences = [_read_sequence(model, name, x) for name, x in zip(names, recordings, strict=True)]
    _warn_of_scale(model, names, sequences)
    predictions = []
    with evaluating(model):
        for start in range(0, len(sequences), check.positive_int("batch_size", batch_size)):
            part = sequences[start : start + batch_size]
            if len(sizes := {tuple(x.shape[2:]) for x in part}) > 1:
                hint = "resize them, or classify them one by one"
                raise ValueError(f"expected recordings with maps of one size, got {sorted(sizes)}; {hint}")
            x = model.normalize(pad_sequence(part, batch_first=True)).to(like)
            scores = model(x, lengths=[len(x) for x in part]).float().softmax(1).cpu()
            for name, p in zip(names[start:], scores, strict=False):
                if not torch.isfinite(p).all():
                    hint = "check the unit of the values, or use dtype float32"
                    raise ValueError(f"{name}: the model returns NaN in {like.dtype}; {hint}")
                best = int(p.argmax())
                probabilities = dict(zip(labels, p.tolist(), strict=True))
                predictions.append(Prediction(labels[best], float(p[best]), probabilities))
    return predictions


def encode_sound(model: HeadedModel, name: str, wave: Any, rate: int) -> Tensor:
    """Returns the sequence ``(T, C, 1)`` that the front end computes from a sound; errors contain its `name`."""
    if model.front_end is None:
        hint = "pass sequences (T, C, ...) as in training, or use a model that has a front end (convrnn_zoo.LogMel)"
        raise ValueError(f"{name} is sound, and this model has no front end: {hint}")
    try:
        wave = to_tensor("the recording", wave)
        return model.front_end.encode(wave.float() if wave.is_floating_point() else wave, rate)
    except (TypeError, ValueError) as e:
        raise type(e)(f"{name}: {e}") from e


def find_labels(model: HeadedModel) -> list[str]:
    """Returns the labels of the weights, or class numbers if there are none."""
    labels = list(model.pretrained_cfg.get("label_names") or ())
    if len(labels) != model.num_classes:
        return [str(i) for i in range(model.num_classes)]
    if duplicates := sorted({label for label in labels if labels.count(label) > 1}):
        hint = 'make them unique in model.pretrained_cfg["label_names"]'
        raise ValueError(f"the model's label_names contain {', '.join(duplicates)} more than once; {hint}")
    return labels


def _read_sequence(model: HeadedModel, name: str, recording: Any) -> Tensor:
    """Checks a recording ``(T, C, *S)``, or ``(T, C)`` if a map is one pixel, and returns it as ``(T, C, *S)``."""
    x, ndim = to_tensor(name, recording), model.ndim
    if x.dtype == torch.uint8 and ndim == 2:
        statistics = model.statistics()
        if statistics is None or bool((torch.stack(statistics).abs() <= 1).all()):
            x = x.float() / 255
    x = x.float()
    if x.dim() == 2 and x.shape[1] == model.in_chans:
        x = x.reshape(*x.shape, *(1,) * ndim)
    if x.dim() != ndim + 2 or x.shape[1] != model.in_chans or 0 in x.shape:
        got = f"got {tuple(x.shape)}; `convrnn-zoo info` describes the input"
        raise ValueError(f"{name}: expected a sequence (T, {model.in_chans}, {SPACE[ndim]}), {got}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}: contains NaN or Inf; fill or remove them before classifying")
    return x


def _warn_of_scale(model: HeadedModel, names: Sequence[str], sequences: Sequence[Tensor]) -> None:
    """Warns if values are so far from the training data that they are probably in another unit."""
    if model.statistics() is None:
        return
    for name, x in zip(names, sequences, strict=True):
        if (distance := float(model.normalize(x).abs().max())) > FAR:
            warn(
                f"{name}: values from {x.min():g} to {x.max():g} are up to {distance:,.0f} standard deviations "
                "from the mean of the training data; pass them in its unit (frames of video from 0 to 1)"
            )
            return


def check_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Returns the names of `count` recordings, by default ``"recording 0"`` and so on."""
    names = [f"recording {i}" for i in range(count)] if names is None else list(names)
    if len(names) != count:
        raise ValueError(f"names must have one name per recording, {count} in total, got {len(names)}")
    return names
