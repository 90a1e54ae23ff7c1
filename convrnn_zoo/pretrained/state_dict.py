"""State dicts: reading and writing safetensors files, adapting and checking tensors, loading them into a model."""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._atomic import write_bytes
from .._hints import some
from .config import WEIGHTS_CFG_KEYS
from .errors import HubAccessError, WeightsError
from .limits import check_size
from .metadata import WeightsMetadata

logger = logging.getLogger("convrnn_zoo")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LARGE = 2**20
"""Bytes from which a tensor of a file stays where the file is mapped; a copy of a smaller one is aligned and cheap."""
_FILLS = {
    nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_, Tensor.uniform_, Tensor.normal_,
    Tensor.fill_, Tensor.zero_, Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_,
}  # fmt: skip
"""Functions with which the initializers of torch and timm write values into parameters."""
Model = TypeVar("Model", bound=nn.Module)


# ---- files ---------------------------------------------------------------------------------------------------------
def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file as a hexadecimal string."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def file_checksum(path: Path, expected: str) -> str:
    """Returns the checksum of a file that `expected` is: a sha256, or the shorter object id that git gives a file."""
    if len(expected) == 64:
        return file_sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


STAND_INS = {
    b"version https://git-lfs": "a pointer of Git LFS; run `git lfs pull`, or download the file itself",
    b"<": "a web page; its address is of a page or asks to log in, so download the file itself in a browser",
}
"""Files that stand in for weights, with what to do, by their first bytes."""


def check_content(path: Path, name: str) -> None:
    """Raises WeightsError for a file that stands in for weights; see :data:`STAND_INS`."""
    with path.open("rb") as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    # The first 8 bytes of a safetensors file are a length, which may begin with any byte.
    if text := next((text for key, text in STAND_INS.items() if start.startswith(key) and b"\0" not in start), None):
        raise WeightsError(f"{name} contains no weights but {text}")


def read_safetensors(path: Path, name: str, sha256: str | None = None) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file after checking its size, its checksum if it is known, and its header.

    The tensors are mapped from the file, so their values are read at first use. Errors call the file `name`.

    Raises:
        WeightsError: the file is too large, damaged or not a safetensors file.
        HubAccessError: the file is missing, or the system does not allow reading it.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{name}: weights are read from .safetensors files only; load them in PyTorch and save them with "
            "safetensors.torch.save_file, or see `convrnn-zoo convert`"
        )
    if not path.is_file():
        raise HubAccessError(f"{name}: no such file of weights; correct the path, or install or download it again")
    try:
        check_size(path.stat().st_size, name)
        check_content(path, name)
        if sha256 is not None and (actual := file_sha256(path)) != sha256:
            raise WeightsError(
                f"{name}: the sha256 is {actual}, expected {sha256}; the file is damaged or another one: download it "
                "again"
            )
        return safetensors.torch.load_file(path)
    except WeightsError:
        raise
    except OSError as e:
        raise HubAccessError(f"{name}: cannot be read ({e}); check the path and its permissions") from e
    except Exception as e:  # the library raises several classes for an untrusted header
        raise WeightsError(f"{name}: not a valid safetensors file ({e!r:.300}); download it again") from e


def to_safetensors(state: Mapping[str, Tensor], origin: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """Returns the content of a safetensors file and its sha256. Equal arguments give equal bytes.

    `origin` is that of the metadata of the weights. The header of the file states it as JSON.
    """
    # With more than one entry in the header, their order and so the checksum would differ from run to run.
    header = {"origin": json.dumps(origin, sort_keys=True)} if origin else {"format": "pt"}
    content = safetensors.torch.save(contiguous(state), header)
    return content, hashlib.sha256(content).hexdigest()


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> str:
    """Writes tensors to a safetensors file, atomically, and returns its sha256."""
    content, sha256 = to_safetensors(state)
    write_bytes(path, content)
    return sha256


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies tensors to contiguous CPU memory: safetensors allows neither channels_last nor shared memory."""
    return {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}


# ---- adapting and checking -----------------------------------------------------------------------------------------
def adapt_state_dict(
    state: Mapping[str, Tensor], model: Any, cfg: Mapping[str, Any], in_chans: int, num_classes: int, name: str
) -> dict[str, Tensor]:
    """Adapts weights to a model with other numbers of input channels or classes, and logs the changes.

    `in_chans` and `num_classes` are those of `state`. The parameters ``model.input_weights``, which read the input
    channels, are adapted by timm's rule for images. If the model reads one channel, the weights are summed over the
    input channels. Otherwise they are repeated and scaled, so that repeated channels give the same output. A
    convolution with groups is not adapted. If the numbers of classes differ, the head of `model` replaces the head in
    `state`. The field ``classifier`` of `cfg` names the head. `model` may be on the meta device. Other tensors of the
    result are those of `state`. If the model has no `input_weights`, another number of channels raises WeightsError.
    """
    target, state = model.state_dict(), dict(state)
    if in_chans != model.in_chans:
        if not model.input_weights:
            raise WeightsError(
                f"{name}: the weights have in_chans={in_chans} and the model {model.in_chans}, to which those of "
                f"{type(model).__name__} cannot be adapted; build it with in_chans={in_chans}"
            )
        for key in (key for key in model.input_weights if key in target):
            old, new_chs = state.get(key), target[key].shape[1]
            if old is None or old.dim() != target[key].dim() or old.dtype not in FLOATS:
                continue  # missing tensors and those of another shape or dtype, such as float8, are rejected later
            if old.shape[1] == new_chs or old.shape[1] % in_chans:  # with groups, rows read different channels
                continue
            # Some stems fold pixels into the channels; a weight is then of each pixel and channel, in this order.
            pixels = old.to(torch.promote_types(old.dtype, torch.float32)).unflatten(1, (-1, in_chans))
            repeated = pixels[:, :, torch.arange(model.in_chans) % in_chans] * (in_chans / model.in_chans)
            adapted = pixels.sum(2, keepdim=True) if model.in_chans == 1 else repeated
            state[key] = adapted.flatten(1, 2).to(old.dtype)
            logger.info("%s: %s adapted from %d to %d input channels", name, key, old.shape[1], new_chs)
    if num_classes != model.num_classes:
        classifier = cfg.get("classifier") or ()
        modules = (classifier,) if isinstance(classifier, str) else classifier
        heads = tuple({f"{module.partition('.')[0]}." for module in modules})
        state = {k: v for k, v in state.items() if not k.startswith(heads)}
        state |= {k: v for k, v in target.items() if k.startswith(heads)}
        if model.num_classes:
            logger.warning(
                "%s: the weights have %d classes and the model %d: its head is random, train it before use",
                name,
                num_classes,
                model.num_classes,
            )
    return state


def check_state_dict(
    state: Mapping[str, Tensor], model: nn.Module, name: str, dtype: torch.dtype | None = None
) -> None:
    """Raises WeightsError unless weights are finite and have the keys, shapes and dtypes of a model.

    The model may be on the meta device. Floating-point weights may have any dtype that converts to `dtype` without
    rounding. The default of `dtype` is the dtype of the model's tensors.
    """
    target = model.state_dict()
    pairs = [(k, state[k], v) for k, v in target.items() if k in state]

    def fits(value: Tensor, like: Tensor) -> bool:
        if not like.is_floating_point():
            return like.dtype == value.dtype
        return value.dtype in FLOATS and torch.promote_types(dtype or like.dtype, value.dtype) == (dtype or like.dtype)

    differences = {
        "missing": [k for k in target if k not in state],
        "unexpected": name_unexpected([k for k in state if k not in target], state),
        "of another shape": [f"{k} {tuple(s.shape)} for {tuple(v.shape)}" for k, s, v in pairs if s.shape != v.shape],
        "of another dtype": [f"{k} {s.dtype} for {dtype or v.dtype}" for k, s, v in pairs if not fits(s, v)],
    }
    if any(differences.values()):
        listed = "; ".join(f"{what}: {some(keys)}" for what, keys in differences.items() if keys)
        raise WeightsError(
            f"{name} does not fit {type(model).__name__}: {listed}. Build the model as the weights were made (see "
            "`convrnn-zoo info`, or the config.json next to them), or pass pretrained=False"
        )
    if broken := not_finite(state):
        raise WeightsError(f"{name}: {some(broken)} holds NaN or Inf; use other weights")


def name_unexpected(keys: Iterable[str], state: Mapping[str, Tensor]) -> list[str]:
    """Returns keys for a message; those of a tensor that has another key as well, as tied weights, with that key."""
    keys = list(keys)
    others = [(k, v) for k, v in state.items() if k not in keys and v.numel() > 1]
    same = {key: next((k for k, v in others if torch.equal(v, state[key])), None) for key in keys}
    return [f"{key} (the same values as {k}; leave it out)" if k else key for key, k in same.items()]


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the keys of tensors with NaN or Inf, among those whose dtype is one of :data:`FLOATS`."""
    floats = {k: v for k, v in state.items() if v.dtype in FLOATS and not v.is_meta and v.numel()}
    # Extremes are NaN or Inf if a value is, and take no memory.
    return [k for k, v in floats.items() if not all(math.isfinite(end) for end in torch.aminmax(v.detach()))]


def float_dtype(state: Mapping[str, Tensor]) -> torch.dtype:
    """Returns the dtype that all floating-point tensors share, or torch's default if they differ."""
    dtypes = {v.dtype for v in state.values() if v.dtype in FLOATS}
    return dtypes.pop() if len(dtypes) == 1 else torch.get_default_dtype()


# ---- loading -------------------------------------------------------------------------------------------------------
def load_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads checked weights into a model, strictly; for tensors on the meta device, the model keeps its values."""
    current = model.state_dict()
    model.load_state_dict({k: current[k] if v.is_meta else v for k, v in state.items()}, strict=True)


class NoInitialization(TorchFunctionMode):
    """Torch function mode in which parameters that its thread creates are not initialized; buffers are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensor = args[0] if args else (kwargs or {}).get("tensor")
        return tensor if func in _FILLS and isinstance(tensor, nn.Parameter) else func(*args, **(kwargs or {}))


def assign_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads checked weights of a file like :func:`load_state_dict`, but takes over the memory of :data:`LARGE` tensors.

    They are mapped from the file copy-on-write, so that training does not change it.
    """
    current, values = model.state_dict(), {}
    for key, value in state.items():
        like = current[key]
        is_taken = value.nbytes >= LARGE and (value.device, value.dtype) == (like.device, like.dtype)
        values[key] = value if is_taken else like.copy_(value)
    model.load_state_dict(values, strict=True, assign=True)


def load_weights(model: Model, path: str | Path) -> Model:
    """Loads a safetensors file into a model and returns the model. An error leaves the model unchanged.

    Args:
        model: a model or layer of the zoo, also a compiled one, built with the arguments of the training.
        path: the ``.safetensors`` file.

    Raises:
        WeightsError: the file is not a safetensors file, is damaged, does not fit, or holds NaN or Inf.
        HubAccessError: (an OSError) the file is missing, or the system does not allow reading it.

    Example:
        >>> import convrnn_zoo, pathlib, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     _ = convrnn_zoo.save_pretrained(model, d)
        ...     _ = load_weights(model, pathlib.Path(d) / "model.safetensors")
    """
    path = Path(path).expanduser()
    state, target = read_safetensors(path, str(path)), uncompiled(model)
    check_state_dict(state, target, str(path))
    load_state_dict(target, state)
    if hasattr(target, "pretrained_cfg"):  # a layer has no metadata
        metadata: Any = target.metadata
        if metadata is None or file_sha256(path) != metadata.sha256:
            clear_metadata(target)
    return model


def uncompiled(model: nn.Module) -> nn.Module:
    """Returns the module that ``torch.compile`` wraps, or else the module itself."""
    module: nn.Module = getattr(model, "_orig_mod", model)
    return module


# ---- metadata ------------------------------------------------------------------------------------------------------
def clear_metadata(model: Any) -> None:
    """Removes the metadata of a model's weights, because the model no longer has these weights."""
    model.metadata = None
    for key in WEIGHTS_CFG_KEYS:
        model.pretrained_cfg.pop(key, None)


def has_weights(model: nn.Module, metadata: WeightsMetadata) -> bool:
    """Returns whether a model still has the weights that the metadata describe."""
    return to_safetensors(model.state_dict(), metadata.origin)[1] == metadata.sha256
