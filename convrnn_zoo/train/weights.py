"""The safetensors file of trained weights."""

import os
from pathlib import Path

import safetensors.torch
from torch import nn


def write_tensors(model: nn.Module, path: Path) -> Path:
    """Writes the state dict, whole or not at all; the same weights are the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".part{os.getpid()}")
    # One entry of metadata: with more, their order and so the checksum differ from run to run.
    state = {k: v.cpu().contiguous() for k, v in model.state_dict().items()}
    try:
        safetensors.torch.save_file(state, temporary, {"format": "pt"})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
