"""OpenSTL's original recurrent networks, for the benchmark of published networks. Install its requirements first."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

CLASSES = {
    "predrnn_pp": ("PredRNNpp_Model", 128, 4),
    "mim": ("MIM_Model", 128, 4),
    "mau": ("MAU_Model", 64, 1),
    "e3d_lstm": ("E3DLSTM_Model", 128, 4),
    "phydnet": ("PhyDNet_Model", 0, 4),
}
"""Maps our name to the class, the width of its four layers and the patch size of its Moving MNIST configuration."""
OPTIONS = {"mau": {"tau": 5, "cell_mode": "normal", "model_mode": "normal"}}
"""Configuration of some classes that their weights do not contain."""


class OpenSTL(nn.Module):
    """A network from a checkout of OpenSTL, applied to frames ``(1, T, 1, H, W)``. It reads its own forecasts."""

    def __init__(self, name: str, directory: Path, size: int, horizon: int, inputs: int = 4) -> None:
        super().__init__()
        sys.path.insert(0, str(directory))
        class_name, width, self.patch = CLASSES[name]
        self.inputs, self.horizon = inputs, horizon
        config = SimpleNamespace(
            in_shape=(inputs, 1, size, size),
            patch_size=self.patch,
            filter_size=5,
            stride=1,
            layer_norm=0,
            pre_seq_length=inputs,
            aft_seq_length=horizon,
            total_length=inputs + horizon,
            sr_size=4,
            **OPTIONS["mau"],
            reverse_scheduled_sampling=0,
            device="cpu",
        )
        build = getattr(importlib.import_module("openstl.models"), class_name)
        self.model = build(config) if not width else build(4, [width] * 4, config)
        self.physical = not width

    def forward(self, x: Tensor) -> Tensor:
        """Returns the forecast. In training, PhyDNet makes no forecast and returns its loss."""
        for part in self.model.modules():
            if hasattr(part, "convlstm_c"):
                part.convlstm_c = None  # the state that MIM keeps from the previous call
        ahead = torch.zeros(len(x), self.horizon, *x.shape[2:])
        if self.physical:
            derivatives = torch.eye(49).reshape(49, 7, 7)
            if torch.is_grad_enabled():
                return self.model(x, ahead, derivatives, 0.0)
            return self.model.inference(x, ahead, derivatives, return_loss=False)[0]
        patches = nn.functional.pixel_unshuffle(torch.cat([x, ahead], dim=1), self.patch).movedim(2, -1)
        true_mask = torch.zeros(len(x), self.horizon - 1, *patches.shape[2:])
        output = self.model(patches, true_mask, return_loss=False)[0]
        if self.patch > 1:
            output = nn.functional.pixel_shuffle(output.movedim(-1, 2), self.patch)
        return output[:, -self.horizon :]
