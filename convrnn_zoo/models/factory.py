"""Models by name or address: ``create_model`` and ``from_pretrained``."""

import logging
import os
import re
from pathlib import Path
from typing import Any, Literal, overload

from torch import nn

from .._hints import similar, suggest
from ..pretrained.errors import HubAccessError, WeightsError
from ..pretrained.limits import size_limit
from ..pretrained.metadata import WEIGHTS
from ..pretrained.published import PUBLISHED
from ..pretrained.registry import entry_points
from ..pretrained.source import SOURCES_BY_SCHEME, WeightsSource
from .base import ZooModel

logger = logging.getLogger("convrnn_zoo")


@overload
def create_model(
    name: str, pretrained: bool | str = False, *, features_only: Literal[True], **kwargs: Any
) -> nn.Module: ...
@overload
def create_model(name: str, pretrained: bool | str = False, **kwargs: Any) -> ZooModel: ...
def create_model(name: str, pretrained: bool | str = False, **kwargs: Any) -> Any:
    """Builds a model of the zoo: ``"architecture"``, ``"architecture.tag"``, ``"hf-hub:…"`` or ``"local-dir:…"``.

    :func:`timm.create_model` does the same for names of the zoo. The model is in training mode, as in timm.

    Args:
        name: one of :func:`list_models`, or the address of a model that was pushed or saved.
        pretrained: whether to load weights. They are the weights of the tag or address in `name`, or else the default
            weights of the architecture. False, the default, gives random weights, even if `name` has a tag or is an
            address. A tag in place of True chooses one of several sets of weights: ``pretrained="rain"``.
        **kwargs: sizes and options of the model, such as `in_chans`, `num_classes` and `hidden_channels`; also
            `cache_dir` and `token` for the Hub. A `checkpoint_path` must be a safetensors file with exactly the tensors
            of the model. With `features_only`, the model is wrapped in timm's feature extractor, which returns the
            output of each layer.

    Raises:
        ValueError: the zoo has no such name.
        TypeError: the architecture does not accept an argument.
        WeightsError: the name has no weights, or they do not fit.
        HubAccessError: (an OSError) the repository or directory cannot be reached or read.

    Example:
        >>> model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=8, num_classes=5)
        >>> tuple(model(torch.randn(2, 10, 1, 40)).shape)
        (2, 5)
    """
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    scheme, location = split_address(name) if not isinstance(name, str) or ":" in name or not name else ("", name)
    if scheme:
        source = SOURCES_BY_SCHEME[scheme](location, kwargs.get("cache_dir"), kwargs.get("token"))
        return build_from_source(source, pretrained, **kwargs)
    architecture, _, tag = name.partition(".")
    functions = entry_points()
    if architecture not in functions:
        other = (
            f"but a directory: pass 'local-dir:{name}'" if os.path.isdir(name) else f"and there is no directory {name}"
        )
        hint = similar(architecture, functions) or "; `convrnn-zoo list` prints the names of the zoo"
        raise ValueError(f"no model {name!r} in the zoo, {other}{hint}")
    if tag:
        kwargs.setdefault("pretrained_cfg", tag)
    return functions[architecture](pretrained, **kwargs)


@overload
def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str], *, features_only: Literal[True], **kwargs: Any
) -> nn.Module: ...
@overload
def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    **kwargs: Any,
) -> ZooModel: ...
def from_pretrained(
    repo_id_or_dir: Any,
    *,
    revision: Any = None,
    token: Any = None,
    cache_dir: Any = None,
    max_bytes: Any = None,
    **kwargs: Any,
) -> Any:
    """Loads a model with its weights, in evaluation mode: call ``model.train()`` before training it.

    ``config.json`` and ``model.safetensors`` are read, never a pickle. The architecture must be one of this zoo. The
    weights must have the keys and shapes of the model that the config describes, and be undamaged and finite.

    Args:
        repo_id_or_dir: a directory that :func:`~convrnn_zoo.save_pretrained` or a training run wrote, or the ``.json``
            metadata file next to a safetensors file. Or a name of the zoo: ``"architecture.tag"``, or
            ``"architecture"`` for the default weights. Or a repository of the Hub: ``"owner/name"`` or
            ``"owner/name@revision"``, with or without the prefix ``hf-hub:``.
        revision: branch, tag or commit; ``main`` by default.
        token: token of the Hub; by default the token of ``hf auth login``. False uses no token.
        cache_dir: directory to use in place of the Hub's cache.
        max_bytes: size limit in bytes of the model and its files; 4 GiB by default.
        **kwargs: arguments of the model that replace the stored ones. Another `num_classes` gives a random head and a
            warning. Another `in_chans` adapts the input weights of models of layers, of video models and of models
            with an output per pixel (except the recurrent decoders), and the mean and std in their cfg. Forecasters
            and audio models raise WeightsError, since their channels are variables or bands. `device`, `dtype` and
            `features_only` may be passed too; the default `dtype` is that of the weights.

    Raises:
        HubAccessError: (an OSError) the repository or directory cannot be reached or read.
        WeightsError: (a ValueError) the files are damaged, or not a model of this zoo.
        ValueError: the zoo has no such name, or `max_bytes` is not a positive whole number.

    Example:
        >>> model = from_pretrained("owner/convlstm1d-vowels", revision="v1")  # doctest: +SKIP
    """
    scheme, name = split_address(repo_id_or_dir)
    if revision is not None and (scheme != "hf-hub" or "@" in name):
        fix = "pass one of the two" if scheme == "hf-hub" else "revision is for repositories of the Hub: leave it out"
        raise WeightsError(f"{name}: got revision={revision!r}; {fix}")
    address = (f"{scheme}:{name}" if scheme else name) + (f"@{revision}" if revision else "")
    kwargs = {"pretrained": True, "cache_dir": cache_dir, "token": token, **kwargs}
    with size_limit(max_bytes):
        try:
            return create_model(address, **kwargs).eval()
        except HubAccessError as e:
            if scheme != "hf-hub" or ":" in os.fspath(repo_id_or_dir):
                raise
            raise HubAccessError(f"there is no directory {name}, and on the Hub: {e}") from e


def build_from_source(source: WeightsSource, pretrained: bool | str = True, **kwargs: Any) -> Any:
    """Builds the model of a repository or directory. `kwargs` override the arguments of its config."""
    architecture, functions = source.config.architecture, entry_points()
    if architecture not in functions:
        raise WeightsError(
            f"{source.name}: its architecture {architecture[:80]!r} is not one of this zoo; "
            f"{suggest(architecture, functions)} (timm.create_model loads timm's own)"
        )
    if "pretrained_cfg" in kwargs:
        raise WeightsError(f"{source.name} has a config of its own; leave pretrained_cfg out")
    return functions[architecture](pretrained, pretrained_cfg=source.config.cfg, source=source, **kwargs)


def split_address(name: str | os.PathLike[str]) -> tuple[str, str]:
    """Splits a name into scheme and location.

    The scheme is ``"local-dir"``, ``"hf-hub"``, or ``""`` for a name of the zoo. Paths have the scheme ``"local-dir"``,
    and so do names of existing directories, except for names of the zoo.
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise ValueError(f"a name must be a text such as 'convgru1d_1layer' or 'hf-hub:owner/name', got {name!r}")
    text = os.fspath(name)
    scheme, colon, location = text.partition(":")
    if colon and (scheme := scheme.lower().replace("_", "-")) in SOURCES_BY_SCHEME:
        return scheme, location
    if isinstance(name, os.PathLike) or is_path(text) or text.endswith(".json"):
        return "local-dir", text
    if Path(text).is_dir():
        if text not in entry_points() and text not in WEIGHTS and text not in PUBLISHED:
            return "local-dir", text
        logger.warning(
            "%r is a name of the zoo and a directory here: the name is used. Pass './%s' for the directory", text, text
        )
    return "hf-hub" if "/" in text else "", text


def is_path(text: str) -> bool:
    """Returns whether a text is written as a path of Unix or Windows, such as ``./run``, ``~/run`` or ``C:/run``."""
    return text.startswith((".", "/", "~")) or "\\" in text or re.match(r"[A-Za-z]:/", text) is not None
