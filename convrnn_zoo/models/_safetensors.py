"""Files of weights: the size, the checksum, the header, and only then the values. Nothing but safetensors is read."""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ._errors import HubAccessError, WeightsError
from ._sketch import check_size

_LONGEST_HEADER = 16 * 2**20
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key whose shapes are known before a value is read."""

    origin: str
    """Words for where they come from, for messages."""
    header: Mapping[str, Tensor]
    """Each tensor on the meta device."""
    read: Callable[[], dict[str, Tensor]]
    """The tensors themselves, every value finite."""

    @property
    def dtype(self) -> torch.dtype | None:
        """The one dtype of all floating tensors, or None if they differ."""
        kinds = {v.dtype for v in self.header.values() if v.is_floating_point()}
        return kinds.pop() if len(kinds) == 1 else None


def sha256_of(path: Path) -> str:
    """The checksum of a file, as a record states it."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def open_file(path: Path, origin: str, sha256: str | None = None) -> Checkpoint:
    """A safetensors file, its size, checksum and header checked.

    Raises:
        WeightsError: not a file of weights, too large, damaged, or with a header that does not hold together.
        HubAccessError: the system does not let it be read.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"{origin}: weights are read from .safetensors files only; convert it with safetensors")
    if not path.is_file():
        raise WeightsError(f"{origin}: no such file of weights; correct the path, or install or fetch it anew")
    try:
        check_size(path.stat().st_size, origin)
        if sha256 is not None and (got := sha256_of(path)) != sha256:
            raise WeightsError(
                f"{origin}: sha256 is {got}, expected {sha256}: the file is damaged or another; fetch it anew"
            )
        return Checkpoint(origin, _read_header(path, origin), lambda: _read_values(path, origin))
    except OSError as e:
        raise HubAccessError(f"{origin}: cannot be read ({e}); check the path and its permissions") from e


def from_state(state: Mapping[str, Tensor], origin: str) -> Checkpoint:
    """Tensors that the caller already holds."""
    wrong = [k for k, v in state.items() if not isinstance(v, Tensor)]
    if wrong:
        raise WeightsError(f"{origin}: {', '.join(map(str, wrong))} are no tensors; pass what state_dict() gives")
    header = {k: torch.empty(v.shape, dtype=v.dtype, device="meta") for k, v in state.items()}
    return Checkpoint(origin, header, lambda: _finite(dict(state), origin))


def _read_header(path: Path, origin: str) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as f:
        start = f.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 0 < length <= min(size - 8, _LONGEST_HEADER):
        raise WeightsError(
            f"{origin}: not a sound safetensors file: its {size:,} bytes announce a header of {max(length, 0):,}; "
            "fetch it anew, or ask its author to save it with convrnn_zoo.save_pretrained"
        )
    header = {}
    try:
        with safetensors.safe_open(path, framework="pt") as f:
            for key in f.keys():  # noqa: SIM118 — not a mapping
                entry = f.get_slice(key)
                dtype, shape = entry.get_dtype(), entry.get_shape()
                if dtype not in _DTYPES:
                    raise WeightsError(f"{origin}: {key} is of dtype {dtype}; this zoo reads {', '.join(_DTYPES)}")
                header[key] = torch.empty(shape, dtype=_DTYPES[dtype], device="meta")
    except (safetensors.SafetensorError, RuntimeError, ValueError, OverflowError, TypeError) as e:
        if isinstance(e, WeightsError):
            raise
        raise WeightsError(f"{origin}: not a sound safetensors file ({e}); fetch it anew") from e
    return header


def _read_values(path: Path, origin: str) -> dict[str, Tensor]:
    try:
        return _finite(safetensors.torch.load_file(path), origin)
    except safetensors.SafetensorError as e:
        raise WeightsError(f"{origin}: not a sound safetensors file ({e}); fetch it anew") from e


def _finite(state: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(f"{origin}: {key} holds NaN or Inf; these weights are of no use, fetch others")
    return state
