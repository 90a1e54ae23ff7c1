"""Models by whatever names them: a name of the zoo, a directory, the file of a record, or a repository's address."""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import timm
from torch import nn

from .errors import WeightsError
from .loading import OPENERS, load_weights
from .meta import size_limit
from .registry import build_stored, choose_weights, entry_points

if TYPE_CHECKING:
    from ..models.base.model import ZooModel

Pretrained = bool | str


@overload
def create_model(
    name: str, pretrained: Pretrained = False, *, features_only: Literal[True], **kwargs: Any
) -> nn.Module: ...
@overload
def create_model(name: str, pretrained: Pretrained = False, **kwargs: Any) -> "ZooModel": ...
def create_model(name: str, pretrained: Pretrained = False, **kwargs: Any) -> nn.Module:
    """A model of the zoo by name: ``"architecture"``, ``"architecture.tag"``, ``"hf-hub:…"`` or ``"local-dir:…"``.

    The same as :func:`timm.create_model`, for the zoo's names alone.

    Args:
        name: one of :func:`list_models`, or the address of what was pushed or saved.
        pretrained: whether to load weights: those of the tag or address, or the architecture's default. False, the
            default, gives random ones, also with a tag or an address. A tag in place of True chooses among several:
            ``pretrained="rain"``.
        **kwargs: sizes and options of the model, such as `in_chans`, `num_classes`, `hidden_channels`, and timm's
            own, such as `cache_dir`. A `checkpoint_path` must be a safetensors file; it is loaded strictly. With
            `features_only`, the model is timm's around this one, which gives the output of each layer.

    Raises:
        ValueError: no such name in the zoo.
        TypeError: an argument that the architecture does not take.
        WeightsError: `pretrained` for a name without weights, or weights that do not fit.
        HubAccessError: (an OSError) an address whose repository or directory cannot be reached or read.

    Example:
        >>> model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=8, num_classes=5)
        >>> tuple(model(torch.randn(2, 10, 1, 40)).shape)
        (2, 5)
    """
    checkpoint = kwargs.pop("checkpoint_path", None)
    if checkpoint:
        return load_weights(create_model(name, pretrained, **kwargs), checkpoint)
    if ":" in name and (address := address_of(name))[0]:
        scheme, rest = address
        return build_stored(OPENERS[scheme](rest, kwargs.get("cache_dir")), pretrained, **kwargs)
    architecture, _, tag = name.partition(".")
    if architecture not in (known := entry_points()):
        near = difflib.get_close_matches(architecture, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "convrnn_zoo.list_models() lists them"
        raise ValueError(f"no model {name!r} in the zoo; {hint}")
    if tag:
        choose_weights(architecture, pretrained, tag)
    which: Any = pretrained  # timm hands it on as it is
    return timm.create_model(name, pretrained=which, **kwargs)


@overload
def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    features_only: Literal[True],
    **kwargs: Any,
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
) -> "ZooModel": ...
def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """A model with its weights, by whatever names them: a name of the zoo, a directory, a record, or an address.

    Read are ``config.json`` and ``model.safetensors``, never a pickle. The architecture must be one of this zoo; the
    weights must be, key by key, those of the model that the config describes, undamaged and finite.

    Args:
        repo_id_or_dir: a directory as :func:`~convrnn_zoo.save_pretrained` or a training run makes it; the ``.json``
            file of a record, its weights beside it; weights of the zoo, ``"architecture.tag"``, or an architecture
            that has some; ``"owner/name"`` or ``"owner/name@revision"``, with or without ``hf-hub:``, for the Hub.
        revision: branch, tag or commit; ``main`` by default.
        token: a token of the Hub; by default that of ``hf auth login``; False for none.
        cache_dir: in place of the Hub's own cache.
        max_bytes: refuses larger models and files; 4 GiB by default.
        **kwargs: arguments in place of the stored ones: another `num_classes` gives a fresh head (a warning says so),
            another `in_chans` adapts the first layer; also `dtype`, which is otherwise that of the weights, `device`,
            and `features_only`, with which the model is timm's around this one.

    Raises:
        HubAccessError: (an OSError) the repository or directory cannot be reached or read.
        WeightsError: (a ValueError) what came is damaged, or not a model of this zoo.
        ValueError: no such name in the zoo, or a `max_bytes` that is no positive whole number.

    Example:
        >>> model = from_pretrained("owner/convlstm1d-vowels", revision="v1")  # doctest: +SKIP
    """
    scheme, name = address_of(repo_id_or_dir)
    if revision is not None and (scheme != "hf-hub" or "@" in name):
        one = "give one of the two" if scheme == "hf-hub" else "which is of the Hub alone; drop it"
        raise WeightsError(f"{name} came with revision={revision!r}; {one}")
    with size_limit(max_bytes):
        if not scheme:
            return create_model(name, pretrained=kwargs.pop("pretrained", True), cache_dir=cache_dir, **kwargs)
        stored = OPENERS[scheme](f"{name}@{revision}" if revision else name, cache_dir, token)
        return build_stored(stored, cache_dir=cache_dir, **kwargs)


def address_of(name: str | os.PathLike[str]) -> tuple[str, str]:
    """What a name is, ``"local-dir"``, ``"hf-hub"`` or ``""`` for one of the zoo, and the name without its scheme.

    A directory that is there comes before a name of the zoo.

    Example:
        >>> address_of("hf-hub:me/rain"), address_of("me/rain"), address_of("runs/rain.json"), address_of("predrnn")
        (('hf-hub', 'me/rain'), ('hf-hub', 'me/rain'), ('local-dir', 'runs/rain.json'), ('', 'predrnn'))
    """
    text = os.fspath(name)
    scheme, colon, rest = text.partition(":")
    if colon and (scheme := scheme.lower().replace("_", "-")) in OPENERS:
        return scheme, rest
    looks_so = isinstance(name, os.PathLike) or text.startswith((".", "/", "~")) or text.endswith(".json")
    if looks_so or (text and Path(text).is_dir()):
        return "local-dir", text
    return "hf-hub" if "/" in text else "", text
