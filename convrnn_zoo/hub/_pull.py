"""Models from the Hub or a directory."""

import os
from pathlib import Path
from typing import Any

from torch import nn

from ..models import HubAccessError, Weights, WeightsError, size_limit
from ..models._registry import build_stored
from ..models._safetensors import Checkpoint, open_file
from ._client import commit_of, fetch, is_commit, with_token
from ._config import CONFIG, WEIGHTS_FILE, read_config
from ._errors import Where
from ._files import open_directory, open_weights


def split_id(name: str) -> tuple[str, str | None]:
    """``"owner/name@revision"`` in its two parts."""
    repo_id, _, revision = name.partition("@")
    return repo_id, revision or None


def open_repository(name: str, cache_dir: Any = None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What the registry needs to build the model of a repository; its weights are pinned to the config's commit."""
    repo_id, revision = split_id(name)
    path = fetch(Where(repo_id, revision, CONFIG), cache_dir)
    pinned = f"{repo_id}@{commit_of(path)}"
    return read_config(path, str(Where(repo_id, revision, CONFIG))).opened(source="hf-hub", hf_hub_id=pinned)


def find_on_hub(cfg: dict[str, Any], cache_dir: Any, record: Weights | None) -> Checkpoint:
    """The weights of a repository: those of a record by its commit and checksum, others by their config's."""
    repo_id, revision = split_id(cfg["hf_hub_id"])
    where = Where(repo_id, revision, WEIGHTS_FILE)
    if record is not None:
        if not is_commit(revision):
            raise WeightsError(f"{where}: a record must pin its weights to a full commit, got {revision!r}; correct it")
        return open_file(fetch(where, cache_dir, record.sha256), str(where), record.sha256)
    config = fetch(Where(repo_id, revision, CONFIG), cache_dir)
    # From one commit, whatever happens to the branch between the two.
    weights = fetch(Where(repo_id, commit_of(config), WEIGHTS_FILE), cache_dir)
    return open_weights(weights, str(where), read_config(config, str(Where(repo_id, revision, CONFIG))))


def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """A model with its weights, from a repository of the Hub or from a directory.

    Read are ``config.json`` and ``model.safetensors``, never a pickle. The architecture must be one of this zoo; the
    weights must be, key by key, those of the model that the config describes, undamaged and finite.

    Args:
        repo_id_or_dir: ``"owner/name"``, ``"owner/name@revision"``, or a directory as :func:`save_pretrained` makes it.
        revision: branch, tag or commit; ``main`` by default.
        token: a token of the Hub; by default that of ``hf auth login``; False for none.
        cache_dir: in place of the Hub's own cache.
        max_bytes: refuses larger models and files; 4 GiB by default.
        **kwargs: arguments in place of the stored ones: another `num_classes` gives a fresh head (a warning says so),
            another `in_chans` adapts the first layer; also `dtype`, which is otherwise that of the weights, and
            `device`.

    Raises:
        HubAccessError: (an OSError) the repository, the network or the disk would not do it.
        WeightsError: (a ValueError) what came is damaged, or not a model of this zoo.

    Example:
        >>> model = from_pretrained("owner/convlstm1d-vowels", revision="v1")  # doctest: +SKIP
    """
    name = os.fspath(repo_id_or_dir)
    with with_token(token), size_limit(max_bytes):
        if Path(name).is_dir():
            if revision is not None:
                raise WeightsError(f"{name} is a directory and has no revisions; drop revision={revision!r}")
            opened = open_directory(name)
        elif isinstance(repo_id_or_dir, os.PathLike) or name.startswith((".", "/", "~")):
            raise HubAccessError(f"{name}: no such directory; correct the path, or give owner/name for the Hub")
        else:
            name = name.removeprefix("hf-hub:")
            if revision is not None and "@" in name:
                raise WeightsError(f"{name} came with revision={revision!r}; give one of the two")
            opened = open_repository(f"{name}@{revision}" if revision else name, cache_dir)
        return build_stored(opened, cache_dir=cache_dir, **kwargs)
