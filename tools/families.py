"""Trains a small copy of every family of forecasters on a moving spot and plots the forecasts in one figure.

``python -m tools.families FILE.png`` takes some minutes on one core.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import convrnn_zoo

NARROW: dict[str, Any] = {"hidden_channels": 16, "num_layers": 2, "patch_size": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "convgru_forecaster": {"hidden_channels": [24, 24], "kernel_size": 3, "patch_size": 2},
    "convlstm_shi2015_radar": {"hidden_channels": [24, 24]},
    "convlstm_ef": {"hidden_channels": [8, 16, 16]},
    "trajgru_hko7": {"hidden_channels": [16, 24, 24]},
    "convlstm_openstl_s": NARROW,
    "predrnn_v2": NARROW,
    "predrnn_pp": NARROW,
    "mim": {**NARROW, "img_size": 32},
    "sa_convlstm": NARROW,
    "motionrnn_predrnn": NARROW,
    "mau": {"hidden_channels": 24, "num_layers": 2, "img_size": 32},
    "phydnet": {"hidden_channels": (32, 32, 16)},
    "e3d_lstm": {"hidden_channels": 16, "num_layers": 2, "img_size": 32},
    "convgru_irene": {"num_blocks": 2},
    "dgmr": {"context_channels": 16, "latent_channels": 32, "noise_channels": 1},
}
"""One architecture of each family, with arguments that make it small."""
SIZES = {"trajgru_hko7": 60, "dgmr": 64}
"""Widths of maps in pixels, where the network cannot read 32."""
INPUTS, HORIZON, STEPS = 4, 4, 120


def moving_spots(count: int, size: int = 32, frames: int = INPUTS + HORIZON, seed: int = 0) -> Tensor:
    """Returns sequences ``(N, T, 1, H, W)`` of a spot that moves at constant speed and bounces off the borders."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, count, 1, 2, generator=generator)
    position = start * 2 + 0.3 * (speed - 0.5) * torch.arange(frames)[:, None]
    center = 0.15 + 0.7 * (position % 2 - 1).abs()
    grid = torch.linspace(0, 1, size)
    y, x = ((grid - center[..., i, None]).square() for i in range(2))
    return torch.exp(-(y[..., :, None] + x[..., None, :]) / 0.01)[:, :, None]


def train(name: str) -> tuple[Tensor, Tensor, int]:
    """Trains a family; returns a test sequence, the forecast of its last frames and the number of parameters."""
    torch.manual_seed(0)
    model: Any = convrnn_zoo.create_model(name, **FAMILIES[name])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    size = SIZES.get(name, 32)
    for step in range(STEPS):
        x = moving_spots(4, size, seed=step + 1)
        loss = (model(x[:, :INPUTS], horizon=HORIZON) - x[:, INPUTS:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    test = moving_spots(1, size)
    with torch.no_grad():
        forecast = model.eval()(test[:, :INPUTS], horizon=HORIZON)
    return test[0, :, 0], forecast[0, :, 0], sum(p.numel() for p in model.parameters())


def main(path: Path) -> None:
    """Trains all families and writes the figure."""
    rows: list[tuple[str, Tensor]] = []
    for name in FAMILIES:
        test, forecast, parameters = train(name)
        if not rows:
            rows.append(("observed", test))
        error = (forecast - test[INPUTS:]).square().mean() / (test[INPUTS - 1] - test[INPUTS:]).square().mean()
        rows.append((f"{name}\n{parameters:,} parameters", torch.cat([test[:INPUTS] * torch.nan, forecast])))
        print(name, f"{float(error):.2f} of the error of the last frame", flush=True)
    figure = Figure(figsize=(9, 0.95 * len(rows)), layout="constrained", dpi=90)
    figure.suptitle(f"Small copies after {STEPS} steps of training on a moving spot", fontsize=11)
    for line, (title, frames) in zip(figure.subplots(len(rows), INPUTS + HORIZON), rows, strict=True):
        for t, (axes, frame) in enumerate(zip(line, frames, strict=True)):
            axes.axis("off")
            if not frame.isnan().any():
                axes.imshow(frame.numpy(), cmap="gray", vmin=0, vmax=1)
            if title == "observed":
                axes.set_title(f"{t + 1 - INPUTS:+d}".replace("+0", "0"), fontsize=9)
        line[0].text(0, 0.5, title, transform=line[0].transAxes, fontsize=9, va="center")
    figure.savefig(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
