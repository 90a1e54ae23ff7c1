"""Sources of weights: a directory, a repository of the Hub, a metadata file, or the package itself."""

import logging
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .._typed import one_line
from .config import CONFIG, MAX_TEXT, WEIGHTS_FILE, Config, read_config, read_text
from .download import HubFile, download
from .errors import HubAccessError, WeightsError
from .fetch import fetch
from .metadata import WEIGHTS, WeightsMetadata
from .published import NOT_STATED, PUBLISHED, Published
from .registry import BASE_CFGS, find_relatives
from .state_dict import read_safetensors

logger = logging.getLogger("convrnn_zoo")


@dataclass(frozen=True)
class WeightsSource:
    """Location of a set of weights, and the config of their model. :func:`read_state_dict` reads the weights."""

    name: str
    """Description for messages."""
    config: Config
    weights: Path | HubFile | Mapping[str, Tensor]
    """The safetensors file, or tensors that the caller passed or that were converted."""


def read_state_dict(source: WeightsSource) -> dict[str, Tensor]:
    """Downloads the weights of a source if necessary, checks their size and checksum, and reads them."""
    weights, sha256 = source.weights, source.config.sha256
    if isinstance(weights, HubFile):
        return read_safetensors(download(weights, sha256), source.name)
    if isinstance(weights, Path):
        return read_safetensors(weights, source.name, sha256)
    if wrong := [k for k, v in weights.items() if not isinstance(v, Tensor) or v.is_meta]:
        fix = "pass model.state_dict() of a model with weights"
        raise WeightsError(f"{source.name}: {', '.join(map(str, wrong))} must be tensors with values; {fix}")
    return dict(weights)


def open_repository(name: str, cache_dir: Any = None, token: str | bool | None = None) -> WeightsSource:
    """Opens ``"owner/name"`` or ``"owner/name@revision"`` on the Hub and reads its config."""
    repo_id, at, revision = name.partition("@")
    if at and not revision:
        raise WeightsError(f"{name} names no revision after the @; add one, or leave the @ out")
    file = HubFile(repo_id, CONFIG, revision or None, cache_dir, token)
    path = download(file, max_bytes=MAX_TEXT)
    config = read_config(path, str(file))
    # The weights are of the config's commit, which is its directory in the cache, even if the branch moves in between.
    weights = HubFile(repo_id, WEIGHTS_FILE, path.parent.name, cache_dir, token)
    config.cfg.update(source="hf-hub", hf_hub_id=f"{repo_id}@{weights.revision}")
    return WeightsSource(str(weights), config, weights)


def open_directory(directory: str, cache_dir: Any = None, token: str | bool | None = None) -> WeightsSource:
    """Opens a directory that :func:`convrnn_zoo.save_pretrained` or timm wrote, or the metadata file of weights."""
    path = Path(directory).expanduser()
    if path.name == CONFIG and path.is_file():
        return open_directory(str(path.parent))
    if path.suffix == ".json" and path.is_file():
        return _open_metadata(path)
    if not path.is_dir():
        raise HubAccessError(f"{directory}: no such directory; correct the path, or give owner/name for the Hub")
    if not (path / CONFIG).exists() and any(path.glob("*.ckpt")):
        raise WeightsError(
            f"{directory} is a training run with a checkpoint and no weights: it is unfinished, or its weights were "
            f"written to --weights-dir; finish it with `convrnn-zoo train RECIPE -o {shlex.quote(directory)}`"
        )
    config, weights = read_config(path / CONFIG, directory), path / WEIGHTS_FILE
    pickles = [f.name for f in sorted(path.iterdir()) if f.suffix in (".bin", ".pt", ".pth")]
    if pickles and not weights.is_file():
        raise WeightsError(
            f"{directory} has no {WEIGHTS_FILE}, and {pickles[0]} is a pickle, which is never loaded; save the model "
            "again with convrnn_zoo.save_pretrained, or see `convrnn-zoo convert` for checkpoints of other projects"
        )
    config.cfg.update(source="local-dir", file=str(path))
    return WeightsSource(str(weights), config, weights)


def _open_metadata(path: Path) -> WeightsSource:
    """Opens a metadata file. The weights next to it are ``architecture.tag.safetensors`` or ``model.safetensors``."""
    try:
        metadata = WeightsMetadata.from_json(read_text(path, str(path)))
    except ValueError as e:
        raise WeightsError(
            f"{path} is not the metadata of weights ({one_line(e)}); `convrnn-zoo train` writes such files"
        ) from e
    named, plain = (path.with_name(name) for name in (f"{metadata.name}.safetensors", WEIGHTS_FILE))
    file = named if named.is_file() or not plain.is_file() else plain
    config = Config.of(metadata, tag=metadata.name.partition(".")[2], source="local-dir", file=str(path))
    return WeightsSource(str(file), config, file)


SOURCES_BY_SCHEME: dict[str, Callable[..., WeightsSource]] = {"hf-hub": open_repository, "local-dir": open_directory}
"""Functions that open a source with a config, by the scheme of its address, which is timm's name of the source."""


def open_weights(metadata: WeightsMetadata, cache_dir: Any = None, token: str | bool | None = None) -> WeightsSource:
    """Opens a registered set of weights, in the package or at a commit of the Hub."""
    config = Config.of(metadata)
    if "file" in metadata.source():
        return WeightsSource(metadata.name, config, metadata.file)
    file = HubFile(str(metadata.hub_id), WEIGHTS_FILE, metadata.hub_commit, cache_dir, token)
    if not file.is_fixed:
        raise WeightsError(f"{file}: hub_commit must be a full commit hash, got {file.revision!r}")
    return WeightsSource(str(file), config, file)


def open_published(published: Published, cache_dir: Any = None, token: str | bool | None = None) -> WeightsSource:
    """Opens weights of another project: downloads and converts them, unless they are in the cache."""
    directory = fetch(published, cache_dir, token)
    name = f"{published.name} in {directory}"
    config = read_config(directory / CONFIG, name)
    hint = ". Ask the authors before you share them" if published.license == NOT_STATED else ""
    stated = f"{published.license_text}; {published.license_source}{hint}"
    logger.log(logging.WARNING if hint else logging.INFO, "%s: licence of the weights: %s", published.name, stated)
    return WeightsSource(name, config, directory / WEIGHTS_FILE)


def check_pretrained_cfg(cfg: Mapping[str, Any], name: str) -> None:
    """Raises WeightsError if a cfg sets a field of timm that is not supported, such as ``url`` or ``custom_load``."""
    wrong = [k for k in ("custom_load", "hf_hub_filename", "url") if cfg.get(k)]
    if (published := PUBLISHED.get(f"{name}.{cfg.get('tag')}")) and cfg.get("url") == published.address:
        wrong.remove("url")
    if cfg.get("source") in SOURCES_BY_SCHEME:
        wrong += [k for k in ("state_dict", "label_offset") if cfg.get(k)]
    if wrong:
        what = cfg.get("hf_hub_id") or cfg.get("file") or name
        raise WeightsError(
            f"{what}: its config sets {', '.join(wrong)}, which is not supported: this zoo reads model.safetensors "
            "only. Remove the fields, or save the model again with convrnn_zoo.save_pretrained"
        )


def resolve_source(
    cfg: Mapping[str, Any], name: str, cache_dir: Any = None, token: str | bool | None = None, *, load: bool = True
) -> WeightsSource:
    """Returns the source of the weights that a resolved cfg specifies; raises WeightsError if it specifies none.

    With ``load=False``, weights of other projects are not downloaded.
    """
    file, hub_id = cfg.get("file"), cfg.get("hf_hub_id")
    if cfg.get("source") in SOURCES_BY_SCHEME:
        return SOURCES_BY_SCHEME[cfg["source"]](hub_id if cfg["source"] == "hf-hub" else file, cache_dir, token)
    published = PUBLISHED.get(f"{name}.{cfg.get('tag')}")
    if published and not (cfg.get("state_dict") or file or hub_id):
        if load:
            return open_published(published, cache_dir, token)
        args = {"in_chans": cfg["input_size"][0], "num_classes": cfg["num_classes"], **published.model_args}
        return WeightsSource(published.name, Config(name, args=args), {})
    metadata = WEIGHTS.get(f"{name}.{cfg.get('tag')}")
    if metadata and not cfg.get("state_dict") and metadata.source().items() <= cfg.items():
        return open_weights(metadata, cache_dir, token)
    # Other tensors for a registered tag: its sizes and preprocessing apply to them, its checksum and metadata do not.
    config = replace(Config.of(metadata), sha256=None, metadata=None) if metadata else Config()
    if cfg.get("state_dict"):
        return WeightsSource("the given state_dict", config, cfg["state_dict"])
    if file:
        return WeightsSource(str(file), config, Path(file).expanduser())
    if hub_id:
        return open_repository(hub_id, cache_dir, token)
    near, is_pixelwise = find_relatives(name), BASE_CFGS[name]["num_classes"] > 0
    recipe = f"train it with a recipe (`convrnn-zoo recipe {name} -o FILE.toml`)"
    fix = "pass pretrained=False" if is_pixelwise else recipe
    raise WeightsError(f"{name} has no pretrained weights; {fix}, or use the nearest that have: {', '.join(near)}")
