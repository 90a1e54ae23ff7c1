"""From a name or an address to weights, and from weights into a model: all of it or nothing.

Every way to load keeps this order: the model that the weights are said to be of is built on the meta device, within the
size limit; the file is found, its size, checksum and header checked; its keys, shapes and dtypes compared with that
model; only then is the real one built, the values read, found finite and loaded, strictly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .adapt import compare, fit
from .config import CONFIG, WEIGHTS_FILE, Config, read_config
from .download import Token, commit_of, fetch, is_commit
from .errors import HubAccessError, WeightsError
from .hub_errors import Where
from .meta import build_on_meta
from .published import PUBLISHED
from .state_dict import FLOATS, not_finite, read_file
from .weights import WEIGHTS, Weights

Model = TypeVar("Model", bound=nn.Module)


# ---- finding ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Source:
    """Weights that can be read, and what is said of the model that they are of."""

    origin: str
    """Words for where they come from, for messages."""
    read: Callable[[], dict[str, Tensor]]
    said: Config = field(default_factory=Config)


def open_repository(name: str, cache_dir: Any = None, token: Token = None) -> Source:
    """The weights of ``"owner/name"`` or ``"owner/name@revision"`` on the Hub, its config read."""
    repo_id, _, revision = name.partition("@")
    where = Where(repo_id, revision or None, CONFIG)
    path = fetch(where, cache_dir, token)
    config = read_config(path, str(where))
    # Config and weights are of one commit, whatever happens to the branch between the two.
    weights = Where(repo_id, commit_of(path), WEIGHTS_FILE)
    config.cfg.update(source="hf-hub", hf_hub_id=f"{repo_id}@{weights.revision}")
    return Source(
        str(weights), lambda: read_file(fetch(weights, cache_dir, token), str(weights), config.sha256), config
    )


def open_directory(directory: str, cache_dir: Any = None, token: Token = None) -> Source:
    """The weights of a directory that :func:`convrnn_zoo.save_pretrained` or timm wrote, or beside a record's file."""
    path = Path(directory).expanduser()
    if path.suffix == ".json" and path.is_file():
        return _open_record(path)
    if not path.is_dir():
        raise HubAccessError(f"{directory}: no such directory; correct the path, or give owner/name for the Hub")
    config, weights = read_config(path / CONFIG, directory), path / WEIGHTS_FILE
    config.cfg.update(source="local-dir", file=directory)
    return Source(str(weights), lambda: read_file(weights, str(weights), config.sha256), config)


def _open_record(path: Path) -> Source:
    """The weights beside the file of a record, by its name or as of a repository."""
    try:
        record = Weights.from_json(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise WeightsError(f"{path} is not a record of weights ({e}); `convrnn-zoo train` writes such") from e
    named, plain = (path.with_name(name) for name in (f"{record.name}.safetensors", WEIGHTS_FILE))
    file = named if named.is_file() or not plain.is_file() else plain
    said = Config.of(record, tag=record.name.partition(".")[2], source="local-dir", file=str(path))
    return Source(str(file), lambda: read_file(file, str(file), record.sha256), said)


OPENERS: dict[str, Callable[..., Source]] = {"hf-hub": open_repository, "local-dir": open_directory}
"""By timm's name of a source, which is the part before the colon of an address."""


def source_of(record: Weights, cache_dir: Any = None) -> Source:
    """The weights of a record: in the package, or at a commit of the Hub, by the record's checksum either way."""
    said, sha256 = Config.of(record), record.sha256
    if "file" in record.source():
        return Source(record.name, lambda: read_file(record.file, record.name, sha256), said)
    where = Where(str(record.hub_id), record.hub_commit, WEIGHTS_FILE)
    if not is_commit(where.revision):
        raise WeightsError(
            f"{where}: a record must pin its weights to a full commit, got {where.revision!r}; correct it"
        )
    return Source(str(where), lambda: read_file(fetch(where, cache_dir, None, sha256), str(where), sha256), said)


def refuse_detours(cfg: Mapping[str, Any], name: str) -> None:
    """A cfg may say where the weights lie, and nothing of how they are to be read."""
    wrong = [k for k in ("custom_load", "hf_hub_filename", "url") if cfg.get(k)]
    if cfg.get("source") in OPENERS:
        wrong += [k for k in ("state_dict", "label_offset") if cfg.get(k)]
    if wrong:
        what = cfg.get("hf_hub_id") or cfg.get("file") or name
        raise WeightsError(
            f"{what}: its config sets {', '.join(wrong)}, by which weights could be read from elsewhere or otherwise; "
            "this zoo reads model.safetensors as it is. Remove them, or save the model anew with "
            "convrnn_zoo.save_pretrained"
        )


def find(cfg: Mapping[str, Any], name: str, cache_dir: Any = None) -> Source:
    """The weights that a resolved cfg of timm's points to.

    Raises:
        WeightsError: it points to none.
    """
    file, hub_id = cfg.get("file"), cfg.get("hf_hub_id")
    if cfg.get("source") in OPENERS:
        return OPENERS[cfg["source"]](hub_id if cfg["source"] == "hf-hub" else file, cache_dir)
    if state := cfg.get("state_dict"):
        return Source("the given state_dict", lambda: dict(state))
    record = WEIGHTS.get(f"{name}.{cfg.get('tag')}")
    if record and record.source().items() <= cfg.items():
        return source_of(record, cache_dir)
    if file:
        return Source(str(file), lambda: read_file(Path(file), str(file)))
    if hub_id:
        return open_repository(hub_id, cache_dir)
    cure = f"pass pretrained=False, or use one that has: {', '.join(WEIGHTS) or 'none yet'}"
    raise WeightsError(f"{name} has no pretrained weights; {PUBLISHED[name].hint() if name in PUBLISHED else cure}")


# ---- loading ---------------------------------------------------------------------------------------------------
def load(
    build: Callable[..., nn.Module], args: Mapping[str, Any], source: Source, described: nn.Module | None
) -> nn.Module:
    """The model that ``build(**args)`` makes, with the weights of a source.

    Args:
        build: makes the model.
        args: its arguments; without a dtype, it is that of the weights.
        source: the weights.
        described: the model that they are said to be of, on the meta device; None where nobody says.
    """
    state, origin = source.read(), source.origin
    if wrong := [k for k, v in state.items() if not isinstance(v, Tensor)]:
        raise WeightsError(f"{origin}: {', '.join(map(str, wrong))} are no tensors; pass what state_dict() gives")
    kinds = {v.dtype for v in state.values() if v.dtype in FLOATS}
    dtype = kinds.pop() if len(kinds) == 1 else torch.get_default_dtype()
    if described is not None:
        compare(state, described, origin, dtype)
    plain = {k: v for k, v in args.items() if k not in ("device", "dtype")}
    if described is None or plain != source.said.args:
        target = build_on_meta(build, plain, f"the model of {origin}")
        state = fit(state, target, origin)
        compare(state, target, origin, dtype)
    _check_finite(state, origin)
    model = build(**{**args, "dtype": args.get("dtype") or dtype})
    fresh = model.state_dict()
    model.load_state_dict({k: fresh[k] if v.is_meta else v for k, v in state.items()}, strict=True)
    return model


def load_weights(model: Model, path: str | Path) -> Model:
    """Loads a safetensors file into a model: every key, shape and value checked, all of it or nothing.

    Args:
        model: a model of the zoo, built as the weights were made.
        path: the ``.safetensors`` file.

    Raises:
        WeightsError: a file that is not safetensors, is damaged, does not fit, or holds NaN or Inf.

    Example:
        >>> import convrnn_zoo, pathlib, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     _ = convrnn_zoo.save_pretrained(model, d)
        ...     _ = load_weights(model, pathlib.Path(d) / "model.safetensors")
    """
    path = Path(path).expanduser()
    state = read_file(path, str(path))
    compare(state, model, str(path))
    _check_finite(state, str(path))
    model.load_state_dict(state, strict=True)
    return model


def _check_finite(state: Mapping[str, Tensor], origin: str) -> None:
    if broken := not_finite(state):
        raise WeightsError(f"{origin}: {', '.join(broken)} holds NaN or Inf; these weights are of no use, fetch others")
