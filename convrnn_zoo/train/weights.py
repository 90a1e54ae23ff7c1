"""The safetensors file of trained weights."""

from pathlib import Path

import safetensors.torch
from torch import nn

from .._whole import whole


def write_tensors(model: nn.Module, path: Path) -> Path:
    """Writes the state dict, whole or not at all; the same weights are the same bytes."""
    # One entry of metadata: with more, their order and so the checksum differ from run to run.
    state = {k: v.cpu().contiguous() for k, v in model.state_dict().items()}
    with whole(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, {"format": "pt"}))
    return path
