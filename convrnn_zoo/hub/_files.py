"""A model as files of a directory: model.safetensors, config.json and, where there is one, README.md."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ..models import HubAccessError, Weights, WeightsError
from ..models._safetensors import Checkpoint, open_file, sha256_of
from ._config import CONFIG, WEIGHTS_FILE, Config, model_config, read_config
from ._errors import Where, explained


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` fill a temporary file and moves it to `path`: whole, or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)  # mkstemp's are for the owner alone
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def save_pretrained(model: nn.Module, directory: str | os.PathLike[str]) -> Path:
    """Saves a model's weights and every argument it was built with, as timm, the Hub and this package read them.

    Each file is written whole or not at all. The config holds the checksum of the weights: a save that was cut between
    the two is refused when loaded, never mixed.

    Args:
        model: a model built by its name.
        directory: made if it is not there; ``model.safetensors`` and ``config.json`` in it are replaced.

    Returns:
        The directory.

    Raises:
        WeightsError: a model not built by its name, or with NaN or Inf in its weights.
        HubAccessError: the directory cannot be written.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     same = convrnn_zoo.from_pretrained(convrnn_zoo.save_pretrained(model, d))
        >>> torch.equal(model.head.weight, same.head.weight)
        True
    """
    directory = Path(directory)
    # Plain copies: safetensors takes no channels_last and no tied tensors, and each key gets its values back.
    state = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
    broken = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"{', '.join(broken)} hold NaN or Inf; such weights are not saved; go back to a good step")
    config = model_config(model, "")
    with explained(Where(str(directory))):
        directory.mkdir(parents=True, exist_ok=True)
        weights = directory / WEIGHTS_FILE
        write_whole(weights, lambda path: safetensors.torch.save_file(state, path, metadata={"format": "pt"}))
        text = json.dumps({**config, "weights_sha256": sha256_of(weights)}, indent=2, ensure_ascii=False) + "\n"
        write_whole(directory / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
    return directory


def open_directory(directory: str, cache_dir: Any = None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What the registry needs to build the model of a directory."""
    path = Path(directory)
    if not path.is_dir():
        raise HubAccessError(f"{directory}: no such directory; correct the path, or give owner/name for the Hub")
    return read_config(path / CONFIG, directory).opened(source="local-dir", file=str(path))


def find_in_directory(cfg: dict[str, Any], cache_dir: Any, record: Weights | None) -> Checkpoint:
    """The weights of a directory that a config.json describes."""
    path = Path(cfg["file"])
    return open_weights(path / WEIGHTS_FILE, str(path / WEIGHTS_FILE), read_config(path / CONFIG, str(path)))


def open_weights(path: Path, origin: str, config: Config) -> Checkpoint:
    """A file of weights that must have the checksum of its config, where that states one."""
    return open_file(path, origin, config.sha256)
