"""Estimated motion is accurate to a tenth of a pixel, and advection agrees with pysteps."""

import importlib.util
import math

import numpy as np
import pytest
import torch

from convrnn_zoo.layers.warp import warp
from convrnn_zoo.models.nowcast.motion import estimate_motion, fill_gaps, fill_unknown, trajectories

HEIGHT, WIDTH = 112, 128
Y, X = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
needs_pysteps = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("pysteps", "cv2"))), reason="needs the extra nowcast"
)


def showers(y, x, count=40):
    """Rain in mm/h at places that need not be whole pixels."""
    g = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=g) * torch.tensor([HEIGHT, WIDTH])
    size, rate = 2 + 4 * torch.rand(count, generator=g), 15 * torch.rand(count, generator=g) ** 2
    squares = (y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2
    return (rate * (-squares / (2 * size**2)).exp()).sum(-1)


def moving(kind, amount):
    """Four frames of showers and their true motion."""
    cy, cx = (HEIGHT - 1) / 2, (WIDTH - 1) / 2
    frames = []
    for t in torch.arange(4) - 1.5:
        if kind == "shift":
            frames.append(showers(Y - amount[1] * t, X - amount[0] * t))
            truth = torch.tensor(amount)[:, None, None].expand(2, HEIGHT, WIDTH)
        elif kind == "rotation":
            a = math.radians(amount)
            c, s = torch.cos(-a * t), torch.sin(-a * t)
            frames.append(showers(cy + (X - cx) * s + (Y - cy) * c, cx + (X - cx) * c - (Y - cy) * s))
            truth = torch.stack([-(Y - cy) * a, (X - cx) * a])
        else:
            k = torch.exp(-amount * t)
            frames.append(showers(cy + (Y - cy) * k, cx + (X - cx) * k))
            truth = torch.stack([(X - cx) * amount, (Y - cy) * amount])
    return torch.stack(frames), truth


def errors(motion, truth, frames, margin=16):
    """Lengths of the errors where it rains, away from the edge, over which rain comes from nowhere."""
    wet = (frames.nan_to_num(0) > 0.5).all(0)[margin:-margin, margin:-margin]
    return (motion - truth).norm(dim=0)[margin:-margin, margin:-margin][wet]


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        *(("shift", v) for v in ((0.0, 0.0), (0.3, -0.7), (3.5, 2.25), (-8.0, 5.0), (12.0, -9.0))),
        *(("rotation", degrees) for degrees in (1.0, -3.0)),
        *(("zoom", part) for part in (0.01, -0.02)),
    ],
)
def test_synthetic_motion_is_estimated_to_a_tenth_of_a_pixel(kind, amount):
    frames, truth = moving(kind, amount)
    observed = errors(estimate_motion(frames[None])[0], truth, frames)
    assert observed.mean() < 0.05
    assert observed.quantile(0.95) < 0.1


def test_motion_of_each_sequence_from_any_number_of_frames():
    frames, truth = moving("shift", (1.5, 0.5))
    pair = estimate_motion(torch.stack([frames, frames.flip(0)]))
    torch.testing.assert_close(pair[0], estimate_motion(frames[None])[0], rtol=1e-4, atol=1e-4)
    assert errors(pair[1], -truth, frames).mean() < 0.05
    assert errors(estimate_motion(frames[None, 1:3])[0], truth, frames).mean() < 0.05


def test_nothing_known_or_no_rain_is_no_motion():
    for value in (0.0, math.nan):
        assert (estimate_motion(torch.full((1, 3, 32, 32), value)) == 0).all()


def test_unknown_pixels_go_on_from_the_known_ones():
    x = X.expand(1, 1, HEIGHT, WIDTH).clone()
    known = (X < 100).float().expand(1, 1, HEIGHT, WIDTH)
    filled = fill_unknown(x.masked_fill(known == 0, 1e6), known)
    assert torch.equal(filled[known > 0], x[known > 0])
    assert (filled[known == 0] < 100).all()
    assert (filled[..., 100] - 99).abs().max() < 8  # no step where the known part ends
    assert (fill_unknown(x, torch.zeros_like(known)) == 0).all()


@needs_pysteps
def test_extrapolation_is_pysteps_extrapolation():
    from convrnn_zoo.verify.baselines import quiet_pysteps

    frames, truth = moving("rotation", 2.0)
    truth = truth + torch.tensor([1.5, -0.5])[:, None, None]
    theirs = quiet_pysteps("extrapolation.semilagrangian").extrapolate(frames[-1].double().numpy(), truth.numpy(), 8)
    ours = warp(frames[-1].expand(8, 1, -1, -1), trajectories(truth[None], 8)[0], "reflection")[:, 0]
    there = torch.from_numpy(np.isfinite(theirs))
    assert there.float().mean() > 0.7
    assert (ours - torch.from_numpy(theirs))[there].abs().max() < 1e-3


@needs_pysteps
def test_motion_of_real_rain_is_near_pysteps_and_forecasts_as_well():
    from convrnn_zoo.cli.demo import SAMPLE
    from convrnn_zoo.data import open_frames
    from convrnn_zoo.verify.baselines import extrapolation, quiet_pysteps

    frames = open_frames(SAMPLE.with_name("rain.npz")).read()[:, 0]
    inputs, truth = frames[:4], frames[4:16]
    ours = estimate_motion(inputs[None])[0]
    theirs = torch.from_numpy(quiet_pysteps("motion.lucaskanade").dense_lucaskanade(inputs.double().numpy())).float()
    wet = (inputs > 0.5).all(0)
    assert (ours - theirs).norm(dim=0)[wet].mean() < 0.25 * theirs.norm(dim=0)[wet].mean()

    def csi(actual):
        hits, either = ((actual > 0.5) & (truth > 0.5)).sum(), ((actual > 0.5) | (truth > 0.5)).sum()
        return float(hits / either)

    carried = warp(inputs[-1].nan_to_num(0).expand(12, 1, -1, -1), trajectories(ours[None], 12)[0], "reflection")[:, 0]
    assert csi(carried) > csi(extrapolation(inputs[None, :, None], 12)[0, :, 0]) - 0.01


def test_rejects_frames_without_a_batch():
    with pytest.raises(ValueError, match=r"frames.*\(3, 32, 32\)"):
        estimate_motion(torch.zeros(3, 32, 32))


def test_no_motion_is_invented_along_a_front():
    """Of a straight front, only the motion across it can be seen."""
    frames = torch.stack([15 * (-((X + Y - 120 - 2 * t) ** 2) / 200).exp() for t in range(4)])  # one pixel in x and y
    motion = estimate_motion(frames[None])[0]
    wet = (frames > 1).all(0)[16:-16, 16:-16]
    x, y = (axis[16:-16, 16:-16][wet] for axis in motion)
    across, along = (x + y) / 2, (x - y) / 2
    assert (across - 1).abs().max() < 0.02
    assert along.abs().mean() < 0.2


@pytest.mark.parametrize("missing", [[1], [2], [1, 2]])
def test_missing_frames_are_those_around_them_moved_to_their_time(missing):
    frames, _ = moving("shift", (4.0, -3.0))
    frames = frames.reshape(1, 4, 1, HEIGHT, WIDTH)
    frames[..., :4, :] = torch.nan
    holes = frames.clone()
    holes[:, missing] = torch.nan
    filled = fill_gaps(holes)
    inside = (0, missing, 0, slice(16, -16), slice(16, -16))
    error = (filled - frames)[inside].square().mean()
    unmoved = (frames[:, :1] - frames)[inside].square().mean()
    assert error < 0.05 * unmoved
    others = [t for t in range(4) if t not in missing]
    torch.testing.assert_close(filled[:, others], frames[:, others], equal_nan=True, rtol=0, atol=0)
    assert 0 < filled[:, missing].isnan().float().mean() < 0.1
    both = fill_gaps(torch.cat([frames, holes]))
    torch.testing.assert_close(both, torch.cat([frames, filled]), equal_nan=True, rtol=0, atol=0)
