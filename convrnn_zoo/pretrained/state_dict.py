"""Files of weights: the size, the checksum, the header, and only then the values. Nothing but safetensors is read."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from .._atomic import atomic_write
from .errors import HubAccessError, WeightsError
from .meta import check_size

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def sha256_of(path: Path) -> str:
    """The checksum of a file, as a record states it."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_file(path: Path, origin: str, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, its size, checksum and header checked.

    They are the file's own memory: of their values nothing is read before it is looked at.

    Raises:
        WeightsError: not a file of weights, too large, damaged, or with a header that does not hold together.
        HubAccessError: the system does not let it be read.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{origin}: weights are read from .safetensors files only; load them in PyTorch and save them with "
            "safetensors.torch.save_file, or see `convrnn-zoo convert`"
        )
    if not path.is_file():
        raise WeightsError(f"{origin}: no such file of weights; correct the path, or install or fetch it anew")
    try:
        check_size(path.stat().st_size, origin)
        if sha256 is not None and (found := sha256_of(path)) != sha256:
            raise WeightsError(
                f"{origin}: its sha256 is {found}, expected {sha256}: the file is damaged or another; fetch it anew"
            )
        return safetensors.torch.load_file(path)
    except WeightsError:
        raise
    except OSError as e:
        raise HubAccessError(f"{origin}: cannot be read ({e}); check the path and its permissions") from e
    except Exception as e:  # whatever the library makes of an untrusted header
        raise WeightsError(f"{origin}: not a valid safetensors file ({e!r:.300}); fetch it anew") from e


def write_file(state: Mapping[str, Tensor], path: Path) -> str:
    """Writes tensors as a safetensors file, whole or not at all, and gives its sha256; the same are the same bytes."""
    # One entry of metadata: with more, their order and so the checksum differ from run to run.
    content = safetensors.torch.save(plain(state), {"format": "pt"})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that a file can hold: the format takes no channels_last and no tied tensors."""
    return {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The keys of what holds NaN or Inf."""
    return [k for k, v in state.items() if v.is_floating_point() and not v.is_meta and not torch.isfinite(v).all()]
