"""The table of sources; loading from one, and exporting to one."""

import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from ..layers import _checks as check
from ..models import ConvRNNModel, WeightsError
from ._checkpoint import ForeignCheckpoint, read, some
from ._source import OptionError, Recognition, Source
from .ancestor import ANCESTOR
from .dgmr import DGMR
from .irene import IRENE
from .keras import KERAS
from .kimmel import KIMMEL
from .ndrplz import NDRPLZ
from .openstl import OPENSTL
from .torch import TORCH

logger = logging.getLogger("convrnn_zoo")

SOURCES: dict[str, Source] = {s.name: s for s in (ANCESTOR, NDRPLZ, KIMMEL, KERAS, OPENSTL, IRENE, DGMR, TORCH)}
"""Every code base whose checkpoints are read, by name."""
AUTO = "auto"


def recognise(checkpoint: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> Recognition:
    """Which source a checkpoint is of, by its keys; ``.why`` says how it was recognised.

    Args:
        checkpoint, prefix: as in :func:`load`.

    Raises:
        WeightsError: none of its keys is of a source that is known.

    Example:
        >>> found = recognise({"cell_list.0.conv.weight": torch.zeros(8, 5, 3, 3)})
        >>> found.source.name, found.why
        ('ndrplz', 'cell_list.0.conv.weight (8, 5, 3, 3) is the joined convolution of one of its layers')
    """
    return _recognised(read(checkpoint, prefix))


def load(
    source: str, checkpoint: Mapping[str, Any] | str | os.PathLike[str], *, prefix: str = "", **options: Any
) -> nn.Module:
    """A layer or model of the zoo whose outputs equal those of the source with this checkpoint.

    Sizes are read from the weights. What the weights do not tell is an option, by the name that the source has for
    it: ``convrnn_zoo.interop.SOURCES[source].options`` lists them.

    Args:
        source: a name of :data:`SOURCES`, or ``"auto"`` to go by the keys; the log then says how it was known.
        checkpoint: a state dict; or a ``.safetensors``, a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` of plain tensors, or
            of Keras a ``.keras`` or ``.h5`` (these take h5py).
        prefix: what stands before the layer's keys in a larger model, such as ``"encoder.rnn."``; entries that do
            not begin so are left out, and the log names them.
        **options: what the weights do not tell.

    Raises:
        WeightsError: entries that are missing, unexpected or of another shape, all of them listed, or a file that
            cannot be read; where the keys are those of another source, the message names it.
        ValueError: something of the source that the zoo cannot express, with the reason.
        TypeError: an option that the source does not have.
        ImportError: a file whose reader is an extra.

    Example:
        >>> theirs = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}
        >>> load("ndrplz", theirs, batch_first=True)
        Conv2dLSTM(3, 2, kernel_size=(3, 3), batch_first=True)
    """
    return load_recognised(source, checkpoint, prefix, options)[0]


def load_recognised(
    source: str, checkpoint: Mapping[str, Any] | str | os.PathLike[str], prefix: str, options: Mapping[str, Any]
) -> tuple[nn.Module, Recognition]:
    """:func:`load`, and how the source was known."""
    named = None if source == AUTO else _named(source)
    found = read(checkpoint, prefix)
    likely = _likely(found)
    if named is None:
        chosen = _recognised(found)
        logger.info("%s: read as %s: %s", found.origin, chosen.source.name, chosen.why)
    else:
        chosen = likely if likely and likely.source is named else Recognition(named, "it was named", "")
    must = [name for name, asked in _keywords(chosen.source.load).items() if asked]
    _check_options(chosen.source.name, chosen.source.options, must, options)
    _check_values(options)
    try:
        return chosen.source.load(found, **options), chosen
    except WeightsError as e:
        if likely is None or (likely.source is chosen.source and not likely.prefix):
            raise
        raise WeightsError(f"{e}. {_advice(likely)}") from e


def export(module: nn.Module, target: str, **options: Any) -> Mapping[str, Any]:
    """The module's weights in the terms of another code base: a state dict, or for Keras arrays by variable path.

    Args:
        module: a layer or cell of the zoo, or a model of the core family without classifier, whose layer it is.
        target: a name of :data:`SOURCES`.
        **options: of the target, such as Keras's `name` of the layer.

    Raises:
        ValueError: the target cannot express the module, with every reason.

    Example:
        >>> from convrnn_zoo.layers import Conv2dLSTM
        >>> {k: tuple(v.shape) for k, v in export(Conv2dLSTM(3, 2, kernel_size=3), "ndrplz").items()}
        {'cell_list.0.conv.weight': (8, 5, 3, 3), 'cell_list.0.conv.bias': (8,)}
    """
    chosen = _named(target)
    if chosen.export is None:
        able = ", ".join(name for name, s in SOURCES.items() if s.export)
        raise ValueError(f"{target} is read and not written; written are {able}")
    if isinstance(module, ConvRNNModel):
        if module.num_classes:
            raise ValueError(f"{target} has no classifier for the model's {module.num_classes} classes; pass model.rnn")
        module = module.rnn
    _check_options(chosen.name, _keywords(chosen.export), (), options)
    return chosen.export(module, **options)


def _named(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"no source {name!r}; known are {', '.join(SOURCES)} (load alone also takes {AUTO!r})")
    return SOURCES[name]


def _likely(found: ForeignCheckpoint) -> Recognition | None:
    """The first source one of whose keys is in the checkpoint, the shortest prefix first."""
    matches = []
    for source in SOURCES.values():
        for key, value in found.state.items():
            m = re.fullmatch(f"(?P<prefix>.*?){source.key}", key)
            if m and value.dim() in source.ranks:
                matches.append(Recognition(source, f"{key} {tuple(value.shape)} is {source.knows}", m["prefix"]))
    return min(matches, key=lambda r: len(r.prefix), default=None)


def _recognised(found: ForeignCheckpoint) -> Recognition:
    likely = _likely(found)
    if likely is None:
        raise WeightsError(
            f"{found.origin}: its keys are of no known source ({', '.join(SOURCES)}): {some(found.state)}"
        )
    if likely.prefix:
        raise WeightsError(f"{found.origin}: its keys stand under a prefix. {_advice(likely)}")
    return likely


def _advice(likely: Recognition) -> str:
    under = f" with prefix={likely.prefix!r}" if likely.prefix else ""
    return f"It looks like {likely.source.name}{under}: {likely.why}"


def _check_options(name: str, known: Iterable[str], asked: Iterable[str], options: Mapping[str, Any]) -> None:
    if missing := [a for a in asked if a not in options]:
        raise WeightsError(f"{name} asks for {', '.join(missing)}, which its weights do not tell; pass it by name")
    if foreign := [o for o in options if o not in known]:
        raise OptionError(f"{name} has no option {', '.join(foreign)}; it has {', '.join(known) or 'none'}")


def _sizes(name: str, value: Any) -> None:
    """Checks one positive int, or one per axis."""
    check.ntuple(name, value, len(value) if isinstance(value, list | tuple) and value else 1)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str | None):
        raise TypeError(f"{name} must be a string, got {check.describe(value)}")


OPTION_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("patch_size", "horizon", "tau", "ndim", "groups"), check.positive_int),
    **dict.fromkeys(("batch_first", "go_backwards"), check.boolean),
    **dict.fromkeys(("stride", "dilation", "strides", "dilation_rate"), _sizes),
    "dropout": check.probability,
    "keras_version": lambda name, value: _text(name, str(value)),
}
"""Checks of an option's value by its name; any other is a string."""


def _check_values(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        try:
            OPTION_CHECKS.get(name, _text)(name, value)
        except TypeError as e:
            raise OptionError(str(e)) from e


def _keywords(function: Any) -> dict[str, bool]:
    """The keyword-only parameters of a function, and whether each must be given."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}
