"""Sequences from files, and their classes."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ._arrays import check_numbers, read_arrays


class Prediction(NamedTuple):
    """The class of one sequence, with the probability of every class."""

    name: str
    label: str
    probability: float
    probabilities: dict[str, float]


def read_sequences(path: Path) -> list[tuple[str, Tensor]]:
    """The named sequences of a file.

    ``.npy`` holds one. ``.npz`` holds one an entry, or all of them as ``x`` ``(N, T, …)`` with ``lengths`` ``(N,)``.

    Raises:
        ValueError: the file is of another kind, is broken, or holds no sequence.
    """
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected a .npy or .npz file; save sequences (T, C, …) with numpy.save")
    arrays = read_arrays(path)
    if {"x", "lengths"} <= arrays.keys():
        x, lengths = arrays["x"], arrays["lengths"]
        if len(x) != len(lengths) or (len(x) and not (lengths.min() >= 1 and lengths.max() <= x.shape[1])):
            raise ValueError(
                f"{path}: x {x.shape} needs {len(x)} lengths from 1 to {x.shape[1]}, got {lengths.tolist()}"
            )
        arrays = {str(i): x[i, :n] for i, n in enumerate(lengths)}
    if not arrays:
        raise ValueError(f"{path}: holds no array; save sequences (T, C, …) with numpy.savez")
    found = []
    for key, array in arrays.items():
        check_numbers(path, key, array)
        found.append((f"{path.name}:{key}" if key else path.name, torch.as_tensor(array, dtype=torch.float32)))
    return found


def fit_shape(name: str, x: Tensor, model: Any) -> Tensor:
    """A sequence as ``(T, C, *S)``; on a map of one pixel ``(T, C)`` will do."""
    ndim = model.rnn.ndim
    if x.dim() == 2 and x.shape[1] == model.in_chans:
        x = x.reshape(*x.shape, *(1,) * ndim)
    if x.dim() != ndim + 2 or x.shape[1] != model.in_chans or 0 in x.shape:
        raise ValueError(
            f"{name}: expected a sequence (T, {model.in_chans}, {model.rnn.space}), got {tuple(x.shape)}; "
            "`convrnn-zoo info` tells a model's input"
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}: holds NaN or Inf; fill or cut them before predicting")
    return x


@torch.no_grad()
def classify(model: nn.Module, named: list[tuple[str, Tensor]], batch_size: int = 64) -> list[Prediction]:
    """The class of each sequence, of whatever length; maps of one batch must be of one size."""
    if not model.num_classes:
        raise ValueError(
            "this model has no classifier; choose weights that have one: convrnn-zoo list --pretrained, or draw what a "
            "forecaster says with -o FILE.gif"
        )
    labels: Any = model.pretrained_cfg.get("label_names") or [str(i) for i in range(model.num_classes)]  # type: ignore
    model.eval()
    out = []
    for start in range(0, len(named), batch_size):
        part = [(name, fit_shape(name, x, model)) for name, x in named[start : start + batch_size]]
        if len({x.shape[1:] for _, x in part}) > 1:
            raise ValueError(f"maps of one size expected, got {sorted({tuple(x.shape[2:]) for _, x in part})}")
        x = pad_sequence([x for _, x in part], batch_first=True)
        x = model.normalize(x).to(next(model.parameters()).dtype)  # type: ignore[operator]
        logits = model(x, lengths=[len(x) for _, x in part])
        for (name, _), p in zip(part, logits.float().softmax(1), strict=True):
            best = int(p.argmax())
            out.append(Prediction(name, labels[best], float(p[best]), dict(zip(labels, p.tolist(), strict=True))))
    return out
