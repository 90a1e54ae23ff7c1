"""From a checkpoint of another project to a directory in the zoo's format."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .._atomic import atomic_write
from ..hub import model_card, save_pretrained
from ..layers import KINDS, ConvRNNBase, ConvRNNCellBase
from ..models import create_model, list_models
from ..pretrained.state_dict import sha256_of
from ._load import load_recognised
from ._source import Source

KEEP = "Take the layer from convrnn_zoo.interop.load and keep its state_dict in a .safetensors"


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion: where it lies, and what it is."""

    directory: Path
    architecture: str
    parameters: int
    source: str
    why: str
    """How the source was known."""


def convert(
    source: str,
    checkpoint: Mapping[str, Any] | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    prefix: str = "",
    **options: Any,
) -> Conversion:
    """Writes a checkpoint of another project as a model of the zoo: ``config.json``, ``model.safetensors`` and a card.

    A layer alone becomes the model of its core name, such as ``convlstm2d_bi_2layer``, with its sizes and without
    classifier. :func:`convrnn_zoo.from_pretrained`, ``timm.create_model("local-dir:…")`` and a push take the directory.

    Args:
        source, checkpoint, prefix, **options: as in :func:`load`.
        directory: it appears whole or not at all, and must not be there yet, or be empty.
        name: ``"owner/name"`` that the repository will have, or a title for the card; the directory's name by default.

    Raises:
        FileExistsError: the directory exists and is not empty.
        OSError: it cannot be written.
        ValueError: as :func:`load`, or a layer that no architecture of the zoo has, with the reason.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> theirs = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}
        >>> with tempfile.TemporaryDirectory() as d:
        ...     made = convert("ndrplz", theirs, f"{d}/mine")
        ...     model = convrnn_zoo.create_model(f"local-dir:{d}/mine", pretrained=True)
        >>> made.architecture, tuple(model(torch.randn(1, 4, 3, 8, 8)).shape)
        ('convlstm2d_1layer', (1, 4, 2, 8, 8))
    """
    target = Path(directory)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not empty; remove it, or name another directory")
    layer, found = load_recognised(source, checkpoint, prefix, options)
    model = to_model(layer)
    about: Any = model.pretrained_cfg
    about["license"] = None  # the architecture's is not that of these weights
    architecture = about["architecture"]
    made = Conversion(target, architecture, sum(p.numel() for p in model.parameters()), found.source.name, found.why)
    origin = None if isinstance(checkpoint, Mapping) else Path(checkpoint)
    with atomic_write(target) as part:
        save_pretrained(model, part)
        text = card(model, name or target.name, found.source, origin, options)
        (part / "README.md").write_text(text, encoding="utf-8")
    return made


def card(model: nn.Module, name: str, source: Source, origin: Path | None, options: Mapping[str, Any]) -> str:
    """The card of any model of the zoo, and where this one came from; `name` is ``owner/name`` or a title."""
    words = [f"Converted from a checkpoint of {source.title}"]
    if origin:
        words.append(f"the file `{origin.name}` of sha256 `{sha256_of(origin)}`")
    if options:
        given = " ".join(f"`{key}={json.dumps(value, default=str)}`" for key, value in options.items())
        words.append(f"with {given}, which its weights do not tell")
    description = (
        f"{', '.join(words)}. Its outputs are those of the original. The licence, the training data and the figures "
        "are the original's as well: name them here before this is published."
    )
    return str(model_card(model, name, description=description, tags=["converted"]))


def to_model(module: nn.Module) -> nn.Module:
    """A model of the zoo by its name around a layer or cell, with the layer's weights; a model is given back as it is.

    Raises:
        ValueError: no architecture of the zoo has such a layer, with the reason.

    Example:
        >>> from convrnn_zoo.layers import Conv1dGRU
        >>> to_model(Conv1dGRU(2, 4, kernel_size=3, num_layers=2)).pretrained_cfg["architecture"]
        'convgru1d_2layer'
    """
    if getattr(module, "pretrained_cfg", {}).get("architecture") in list_models():
        return module
    names = {cls.__name__: kind for kind, by_ndim in KINDS.items() for cls in by_ndim.values()}
    kind = names.get(type(module).__name__.removesuffix("Cell"))
    if kind is None or not isinstance(module, ConvRNNBase | ConvRNNCellBase):
        raise ValueError(
            f"no architecture of the zoo has a {type(module).__name__}: the core family has one geometry for input and "
            f"state, and the activations of its papers. {KEEP}"
        )
    cell = isinstance(module, ConvRNNCellBase)
    depth = 1 if cell else module.num_layers
    both = "_bi" if getattr(module, "bidirectional", False) else ""
    architecture = f"{kind}{module.ndim}d{both}_{depth}layer"
    if architecture not in list_models():
        raise ValueError(
            f"the zoo has names for one to three layers, and this {type(module).__name__} has {depth}. {KEEP}"
        )
    model = create_model(architecture, dtype=next(module.parameters()).dtype, **_arguments(module))
    state = {f"{key}_l0" if cell else key: value for key, value in module.state_dict().items()}
    model.rnn.load_state_dict(state, strict=True)
    return model


def _arguments(module: ConvRNNBase | ConvRNNCellBase) -> dict[str, Any]:
    """What the model is built with, as plain values, where it differs from the layer's defaults."""
    kernel, one = module.kernel_size, (1,) * module.ndim
    usual = {"hidden_kernel_size": kernel, "bias": True, "dropout": 0.0, "stride": one, "dilation": one, "groups": 1,
             "padding_mode": "zeros", **{name: allowed[0] for name, allowed in module.options.items()}}  # fmt: skip
    changed = {name: v for name, default in usual.items() if (v := getattr(module, name, default)) != default}
    given = {"in_chans": module.in_channels, "hidden_channels": module.out_channels, "kernel_size": kernel, **changed}
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
