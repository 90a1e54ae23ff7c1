"""Recognises, loads, converts and exports checkpoints of the supported projects."""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .._atomic import atomic_write
from .._hints import some, suggest
from ..hub import model_card, save_pretrained
from ..layers import KINDS, ConvRNNBase, ConvRNNCellBase
from ..layers.keras import ResizingConvLSTM
from ..models import ConvRNNModel, create_model, list_models
from ..pretrained.errors import WeightsError
from ..pretrained.registry import entry_points
from ..pretrained.state_dict import file_sha256
from ._checkpoint import ForeignCheckpoint, read_checkpoint
from ._key_map import OptionError, Source, check_string
from .dgmr import DGMR
from .digital_typhoon import DIGITAL_TYPHOON
from .earthnet import GREENEARTHNET, SG_CONVLSTM, WEATHER2LAND
from .events import E2VID, FIRENET
from .irene import IRENE
from .keras import KERAS
from .ndrplz import KIMMEL, NDRPLZ
from .openstl import OPENSTL
from .pytorch_convolutional_rnn import PYTORCH_CONVOLUTIONAL_RNN, TORCH
from .rvm import RVM
from .torchgeo import TORCHGEO, TorchGeoConvLSTM

logger = logging.getLogger("convrnn_zoo")

SOURCES: dict[str, Source] = {
    s.name: s
    for s in (
        PYTORCH_CONVOLUTIONAL_RNN, NDRPLZ, KIMMEL, KERAS, GREENEARTHNET, OPENSTL, IRENE, DGMR, RVM, WEATHER2LAND,
        SG_CONVLSTM, FIRENET, E2VID, DIGITAL_TYPHOON, TORCHGEO, TORCH,
    )
}  # fmt: skip
"""The supported projects by name. All can be read; those with ``export`` can also be written."""
AUTO = "auto"
SAVE_LAYER = "Take the layer from convrnn_zoo.interop.load and save its state_dict in a .safetensors file"
Checkpoint = Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class Recognition:
    """Recognised source of a checkpoint, the reason for this choice, and the prefix of the checkpoint's keys."""

    source: Source
    reason: str
    prefix: str


# ---- loading ---------------------------------------------------------------------------------------------------
def load(source: str, checkpoint: Checkpoint, *, prefix: str = "", **options: Any) -> nn.Module:
    """Loads a checkpoint of another project as a layer or model whose outputs equal those of the original.

    Sizes are read from the weights. Pass other properties as options, under the names that the source uses for them.
    ``convrnn_zoo.interop.SOURCES[source].options`` lists the options.

    Args:
        source: a name in :data:`SOURCES`, or ``"auto"`` to recognise (and log) the source by the checkpoint's keys.
        checkpoint: a state dict, or the path of a ``.safetensors`` file, of a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin``
            file of plain tensors, or of a ``.keras`` or ``.h5`` file of Keras (which require h5py).
        prefix: prefix of the layer's keys in a larger model, such as ``"encoder.rnn."``. Entries without the prefix
            are not loaded, and are logged.
        **options: properties that the weights do not contain.

    Raises:
        WeightsError: entries are missing, unexpected or of another shape (the message lists all of them), or the file
            is damaged. If the keys match another source, the message names that source.
        HubAccessError: (an OSError) the file does not exist.
        ValueError: the checkpoint or an option needs a feature that is not supported. The message gives the reason.
        TypeError: an option is unknown to the source or has the wrong type.
        ImportError: a package that reads the file is not installed.

    Example:
        >>> import torch
        >>> state = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}
        >>> load("ndrplz", state, batch_first=True)
        Conv2dLSTM(3, 2, kernel_size=(3, 3), batch_first=True)
    """
    return _load_recognised(source, checkpoint, prefix, options)[0]


def recognise(checkpoint: Checkpoint, prefix: str = "") -> Recognition:
    """Recognises the source of a checkpoint by its keys.

    Args:
        checkpoint, prefix: as in :func:`load`.

    Raises:
        WeightsError: the keys match no known source, or have a prefix that was not passed.
        HubAccessError: (an OSError) the file does not exist.

    Example:
        >>> import torch
        >>> found = recognise({"cell_list.0.conv.weight": torch.zeros(8, 5, 3, 3)})
        >>> found.source.name, found.reason
        ('ndrplz', 'cell_list.0.conv.weight (8, 5, 3, 3) is the joint convolution of one of its layers')
    """
    return _recognise(read_checkpoint(checkpoint, prefix))


def _load_recognised(
    name: str, checkpoint: Checkpoint, prefix: str, options: Mapping[str, Any]
) -> tuple[nn.Module, Recognition]:
    """Loads a checkpoint and returns the module and the recognised source; `name` may be ``"auto"``."""
    named = None if name == AUTO else _source(name)
    content = read_checkpoint(checkpoint, prefix)
    likely = _likely_source(content)
    if named is None:
        recognition = _recognise(content)
        logger.info("%s: read as %s: %s", content.name, recognition.source.name, recognition.reason)
    else:
        recognition = likely if likely and likely.source is named else Recognition(named, "it was named", "")
    source = recognition.source
    _check_options(source, options)
    try:
        return source.load(content, **options), recognition
    except WeightsError as e:
        if likely is None or (likely.source is source and not likely.prefix):
            raise
        raise WeightsError(f"{e}. {_hint(likely)}") from e


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"no source {name!r}; {suggest(name, [*SOURCES, AUTO])}")
    return SOURCES[name]


def _recognise(content: ForeignCheckpoint) -> Recognition:
    likely = _likely_source(content)
    if likely is None and content.config:
        return Recognition(SOURCES["keras"], "it has a configuration of Keras", "")
    if likely is None:
        raise WeightsError(
            f"{content.name}: its keys are those of no known source ({', '.join(SOURCES)}): {some(content.state)}"
        )
    if likely.prefix:
        raise WeightsError(f"{content.name}: its keys have a prefix. {_hint(likely)}")
    return likely


def _likely_source(content: ForeignCheckpoint) -> Recognition | None:
    """Returns the source whose key pattern matches after the shortest prefix, or None if no pattern matches."""
    matches = []
    for source in sorted(SOURCES.values(), key=lambda source: not source.second_key):
        seconds = set()
        if source.second_key:
            matched = (re.fullmatch(f"(?P<prefix>.*){source.second_key}", key) for key in content.state)
            seconds = {m["prefix"] for m in matched if m}
        for key, value in content.state.items():
            m = re.fullmatch(f"(?P<prefix>.*?){source.key}", key)
            if not m or value.dim() not in source.ranks:
                continue
            if not source.second_key or m["prefix"] in seconds:
                reason = f"{key} {tuple(value.shape)} is {source.key_description}"
                matches.append(Recognition(source, reason, m["prefix"]))
    return min(matches, key=lambda r: len(r.prefix), default=None)


def _hint(likely: Recognition) -> str:
    option = f" with prefix={likely.prefix!r}" if likely.prefix else ""
    return f"It looks like {likely.source.name}{option}: {likely.reason}"


# ---- options ---------------------------------------------------------------------------------------------------
def _check_options(source: Source, options: Mapping[str, Any]) -> None:
    """Raises :class:`OptionError` for an unknown option or a wrong type, and ValueError for an invalid value."""
    if unknown := [option for option in options if option not in source.options]:
        known = ", ".join(source.options) or "none"
        raise OptionError(f"{source.name} has no option {', '.join(unknown)}; it has {known}")
    for option, value in options.items():
        try:
            source.checks.get(option, check_string)(option, value)
        except TypeError as e:
            raise OptionError(str(e)) from e


# ---- exporting -------------------------------------------------------------------------------------------------
def export(module: nn.Module, target: str, **options: Any) -> Mapping[str, Any]:
    """Returns a module's weights in the format of another project: a state dict, or NumPy arrays by path for Keras.

    Args:
        module: a layer or cell of this package, or a model of the core family without a classifier. For TorchGeo, the
            model may have a classifier for every pixel.
        target: a name in :data:`SOURCES`.
        **options: for Keras only, the `name` of the Keras layer.

    Raises:
        ValueError: the target cannot represent the module, or can only be loaded. The message lists all reasons.

    Example:
        >>> from convrnn_zoo.layers import Conv2dLSTM
        >>> {k: tuple(v.shape) for k, v in export(Conv2dLSTM(3, 2, kernel_size=3), "ndrplz").items()}
        {'cell_list.0.conv.weight': (8, 5, 3, 3), 'cell_list.0.conv.bias': (8,)}
    """
    source = _source(target)
    if source.export is None:
        writable = ", ".join(name for name, s in SOURCES.items() if s.export)
        raise ValueError(f"{target} is read and not written; written are {writable}")
    if isinstance(module, ConvRNNModel):
        if module.num_classes and not (source.has_head and module.global_pool == ""):
            kind = "pooled classifier" if source.has_head else "classifier"
            raise ValueError(f"{target} has no {kind} for the model's {module.num_classes} classes; pass model.rnn")
        module = module if module.num_classes else module.rnn
    return source.export(module, **options)


# ---- conversion to a model -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Conversion:
    """Result of :func:`convert`: directory, architecture, number of parameters, and recognised source with reason."""

    directory: Path
    architecture: str
    parameters: int
    source: str
    reason: str


def convert(
    source: str,
    checkpoint: Checkpoint,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    prefix: str = "",
    **options: Any,
) -> Conversion:
    """Writes a checkpoint of another project as a model of this package, with a config and a model card.

    A layer becomes a model of the core family with the same sizes and without a classifier, such as
    ``convlstm2d_bi_2layer``, or ``recurrent_stack`` if it has more than three layers. The head of TorchGeo's ConvLSTM
    becomes a classifier. Load the directory with :func:`convrnn_zoo.from_pretrained` or
    ``timm.create_model("local-dir:…")``, or push it to the Hub.

    Args:
        source, checkpoint, prefix, **options: as in :func:`load`.
        directory: the directory to write, atomically. It must be empty or not exist.
        name: title of the model card, or ``"owner/name"`` of the Hub repository; by default the directory's name.

    Raises:
        OSError: the directory exists and is not empty, is the working directory, or cannot be written.
        ValueError: as :func:`load`; also if no registered architecture has such a layer.

    Example:
        >>> import convrnn_zoo, tempfile, torch
        >>> state = {"cell_list.0.conv.weight": torch.randn(8, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(8)}
        >>> with tempfile.TemporaryDirectory() as d:
        ...     conversion = convert("ndrplz", state, f"{d}/mine")
        ...     model = convrnn_zoo.create_model(f"local-dir:{d}/mine", pretrained=True)
        >>> conversion.architecture, tuple(model(torch.randn(1, 4, 3, 8, 8)).shape)
        ('convlstm2d_1layer', (1, 4, 2, 8, 8))
    """
    target = Path(directory)
    if target.resolve() == Path.cwd():
        raise FileExistsError(f"{directory} is the working directory, which cannot be replaced; name another directory")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not empty; remove it, or name another directory")
    layer, recognition = _load_recognised(source, checkpoint, prefix, options)
    model = to_model(layer)
    cfg: Any = model.pretrained_cfg
    cfg["license"] = None  # the architecture's is not that of these weights
    description = f"Converted from a checkpoint of {recognition.source.title}"
    if not isinstance(checkpoint, Mapping):
        description += f", the file `{Path(checkpoint).name}` with sha256 `{file_sha256(Path(checkpoint))}`"
    if options:
        listed = " ".join(f"`{key}={json.dumps(value, default=str)}`" for key, value in options.items())
        description += f", with {listed}, which its weights do not contain"
    outputs = "Its outputs for the last date" if isinstance(layer, TorchGeoConvLSTM) else "Its outputs"
    description += (
        f". {outputs} are those of the original. The licence, the training data and the scores are the original's as "
        "well: name them here before you publish this model."
    )
    card = str(model_card(model, name or target.name, description=description, tags=["converted"]))
    with atomic_write(target) as temporary:
        save_pretrained(model, temporary)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    parameters = sum(p.numel() for p in model.parameters())
    return Conversion(target, cfg["architecture"], parameters, recognition.source.name, recognition.reason)


def to_model(module: nn.Module) -> nn.Module:
    """Returns a registered model with the weights of a layer or cell. A registered model is returned unchanged.

    A layer with more than three layers becomes a ``recurrent_stack``.

    Raises:
        ValueError: no registered architecture has such a layer. The message gives the reason.

    Example:
        >>> from convrnn_zoo.layers import Conv1dGRU
        >>> to_model(Conv1dGRU(2, 4, kernel_size=3, num_layers=2)).pretrained_cfg["architecture"]
        'convgru1d_2layer'
    """
    head: dict[str, Tensor] = {}
    if isinstance(module, TorchGeoConvLSTM):
        head = module.linear_head()
        module = module.rnn
    if getattr(module, "pretrained_cfg", {}).get("architecture") in entry_points():
        return module
    names = {cls.__name__: name for name, by_ndim in KINDS.items() for cls in by_ndim.values()}
    name = names.get(type(module).__name__.removesuffix("Cell"))
    if not isinstance(module, ConvRNNBase | ConvRNNCellBase | ResizingConvLSTM):
        raise ValueError(f"expected a layer, a cell or a registered model of this package, got {type(module).__name__}")
    if name is None or not isinstance(module, ConvRNNBase | ConvRNNCellBase):
        raise ValueError(
            f"no architecture has a {type(module).__name__}: the core family has one geometry for input and state, and "
            f"the activations of its papers. {SAVE_LAYER}"
        )
    is_cell = isinstance(module, ConvRNNCellBase)
    depth = 1 if is_cell else module.num_layers
    args = {"in_chans": module.in_channels, "hidden_channels": module.out_channels, "kernel_size": module.kernel_size}
    set_by_model = ("num_layers", "bidirectional", "batch_first")
    args |= {option: value for option, value in module.changed_options().items() if option not in set_by_model}
    args = json.loads(json.dumps(args))  # as a config stores them
    args |= {"num_classes": len(head["bias"]), "global_pool": ""} if head else {}
    is_bidirectional = getattr(module, "bidirectional", False)
    architecture = f"{name}{module.ndim}d{'_bi' * is_bidirectional}_{depth}layer"
    if architecture not in list_models():  # a deeper stack
        architecture = "recurrent_stack"
        args |= {"layer": type(module).__name__, "num_layers": depth, "bidirectional": is_bidirectional}
    model: Any = create_model(architecture, dtype=next(module.parameters()).dtype, **args)
    model.head.load_state_dict(head, strict=True)
    state = {f"{key}_l0" if is_cell else key: value for key, value in module.state_dict().items()}
    model.rnn.load_state_dict(state, strict=True)
    return model
