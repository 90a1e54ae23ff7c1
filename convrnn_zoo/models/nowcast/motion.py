"""Optical flow of rain and semi-Lagrangian advection.

A motion is a map ``(N, 2, H, W)`` in pixels per step, x (to the right) before y (down), as in pysteps.
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._autocast import no_autocast
from ...layers._run import Loop, Maps, is_traced
from ...layers.warp import warp
from ..base.blocks import unroll_loop

COARSE = 4
"""Edge in pixels of the squares that share one motion vector during the estimate."""
RESOLUTIONS, ITERATIONS = 5, 3
"""Maximum number of resolutions of the estimate, each half the previous one, and corrections at each resolution."""
WIDE, WHOLE = 0.05, 0.01
"""Weights of a window four times as wide and of the entire map, relative to the 8-pixel window."""
MAX_DISTANCE = 24
"""Largest distance in pixels that :func:`distance_to_known` distinguishes."""


def trajectories(motion: Tensor, steps: int, loop: Loop = unroll_loop) -> Tensor:
    """Returns displacements from each pixel to where its rain was 1, 2, … steps earlier, ``(N, steps, 2, H, W)``.

    Each step is traced backward with the motion at its midpoint, which one fixed-point iteration estimates. Outside the
    map, the motion is that of the nearest pixel.

    Reference:
        Germann, U. and Zawadzki, I. (2002). Scale-Dependence of the Predictability of Precipitation from Continental
        Radar Images. Part I. https://doi.org/10.1175/1520-0493(2002)130%3C2859:SDOTPO%3E2.0.CO;2

    Example:
        >>> trajectories(torch.ones(1, 2, 3, 3), 2)[0, :, 0, 1, 1].tolist()  # x: one, then two pixels to the left
        [-1.0, -2.0]
    """
    with no_autocast(motion):  # positions in a map need a higher precision than bfloat16

        def trace_back(_: Maps, state: Maps) -> Maps:
            total, step = state
            total = total - warp(motion, total - step / 2, "border")
            return total, warp(motion, total, "border")

        totals, _ = loop(trace_back, first=(torch.zeros_like(motion), motion), xs=(torch.zeros(steps),))
        return totals.transpose(0, 1)


def estimate_motion(frames: Tensor, loop: Loop = unroll_loop) -> Tensor:
    """Estimates the motion ``(N, 2, H, W)`` of rain over a few frames ``(N, T, H, W)``, in pixels per step.

    The method is the least squares of Lucas and Kanade from coarse to fine resolution. It reads ``log(rate + 0.1)``, so
    that showers and drizzle have similar weight. The window is a Gaussian with a standard deviation of 8 pixels. To
    get a motion in dry areas, a wider window and the entire map are added with small weights. Pixels that differ much
    between frames, such as new rain, have less weight. The motion is zero if there is only one frame, or no rain. A
    correction is at most 1.5 pixels of its resolution, so that motions of up to 70 pixels per step are found.

    Args:
        frames: rain rates in mm/h, NaN where unknown, always with a batch axis.

    References:
        Lucas, B. D. and Kanade, T. (1981). An Iterative Image Registration Technique with an Application to Stereo
        Vision. https://www.ijcai.org/Proceedings/81-2/Papers/017.pdf
        Bouguet, J.-Y. (2001). Pyramidal Implementation of the Affine Lucas Kanade Feature Tracker.

    Example:
        >>> y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
        >>> shower = [20 * (-((x - 20 - 1.5 * t) ** 2 + (y - 24 + t) ** 2) / 50).exp() for t in range(3)]
        >>> [round(v, 1) for v in estimate_motion(torch.stack(shower)[None])[0, :, 24, 22].tolist()]
        [1.5, -1.0]
    """
    if frames.dim() != 4:
        raise ValueError(f"frames must be (N, T, H, W), got {tuple(frames.shape)}; add the missing axes, first N")
    n, steps, height, width = frames.shape
    if steps == 1:
        return torch.zeros_like(frames).expand(n, 2, height, width).clone()
    with torch.no_grad(), no_autocast(frames):
        frames = frames.detach() if frames.dtype == torch.float64 else frames.detach().float()
        strides = _strides(height, width)
        unit = COARSE * math.prod(strides)
        known = torch.isfinite(frames).to(frames.dtype)
        x = (frames.nan_to_num(0).clamp_min(0) + 0.1).log()
        x, known = _pad(x, unit), _pad(known, unit)
        windows = _window(1.0, x), _window(8.0 / COARSE, x)
        x = _blur(x * known, windows[0]) / _blur(known, windows[0]).clamp_min(1e-6)
        pyramid = [(x, known)]
        for stride in strides:
            x, known = _block_means(x * known, stride), _block_means(known, stride)
            x = x / known.clamp_min(1e-6)
            pyramid.append((x, known))
        motion = x.new_zeros(n, 2, x.shape[2] // COARSE, x.shape[3] // COARSE)
        for (x, known), ratio in zip(reversed(pyramid), [None, *reversed(strides)], strict=True):
            if ratio is not None:
                size = (x.shape[2] // COARSE, x.shape[3] // COARSE)
                motion = 2 * (ratio - 1) * _resize(motion, *size)  # zero before the first resolution
            before, after = (torch.cat([x[:, part], known[:, part]], 1) for part in (slice(-1), slice(1, None)))
            step = partial(_iterate, before, after, windows)
            _, (motion,) = loop(step, (torch.zeros(ITERATIONS),), (motion,))
        return _crop(_larger(motion, COARSE), height, width).contiguous()


def fill_gaps(frames: Tensor) -> Tensor:
    """Replaces frames without a value between others by those around them, advected to their time.

    The motion from the frame before a gap to the frame after it, divided by the steps between them, advects both to the
    time of each missing frame. Their mean is weighted by the distance in time. Other frames are unchanged.

    Args:
        frames: rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown.

    Example:
        >>> frames = torch.stack([torch.eye(32) * 5, torch.full((32, 32), torch.nan), torch.eye(32) * 5])
        >>> round(fill_gaps(frames[None, :, None])[0, 1, 0, 3, 3].item(), 3)
        5.0
    """
    if len(frames) > 1:
        return torch.cat([fill_gaps(part) for part in frames.split(1)])
    known = frames.isfinite().flatten(2).any(2)[0].nonzero().flatten().tolist()
    for before, after in itertools.pairwise(known):
        if (steps := after - before) > 1:
            pair = frames[:, [before, after]]
            motion = estimate_motion(pair.sum(2)) / steps
            forward, backward = trajectories(motion, steps - 1), trajectories(-motion, steps - 1)
            gap = [
                torch.lerp(
                    warp(pair[:, 0], forward[:, i - 1], "reflection"),
                    warp(pair[:, 1], backward[:, steps - i - 1], "reflection"),
                    i / steps,
                )
                for i in range(1, steps)
            ]
            frames = torch.cat([frames[:, : before + 1], torch.stack(gap, 1), frames[:, after:]], 1)
    return frames


class AdvectedFrames(NamedTuple):
    """Frames advected to the time of the last frame, and their motion; all in float32 or float64."""

    rate: Tensor
    """Rain rate of the last frame ``(N, C, H, W)`` in mm/h; unknown pixels are filled."""
    known: Tensor
    """Mask of the last frame, ``(N, 1, H, W)``: 1 where it is known, else 0."""
    distance: Tensor
    """:func:`distance_to_known` of the last frame, ``(N, 1, H, W)``."""
    amount: Tensor
    """Rates of all frames on the scale of :func:`scaled`, advected to the time of the last one, ``(N, T, C, H, W)``."""
    amount_known: Tensor
    """Share of known pixels in `amount`, ``(N, T, 1, H, W)``."""
    motion: Tensor
    """Motion ``(N, 2, H, W)`` in pixels per step."""
    origins: Tensor
    """Displacements in pixels from each forecast pixel to its origin in the last frame, ``(N, horizon, 2, H, W)``."""

    def at(self, steps: Sequence[int]) -> "AdvectedFrames":
        """Returns the last frame once for each of the lead times `steps`, counted from 0, as a batch of (lead, N)."""
        origins = torch.cat([self.origins[:, k] for k in steps]).unsqueeze(1)
        names = ("rate", "known", "distance")
        maps = {name: getattr(self, name).expand(len(steps), *[-1] * 4).flatten(0, 1) for name in names}
        return self._replace(origins=origins, **maps)


def advect(x: Tensor, horizon: int, loop: Loop = unroll_loop) -> AdvectedFrames:
    """Advects frames ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to the time of the last frame."""
    steps = x.shape[1]
    with no_autocast(x):
        x = x if x.dtype == torch.float64 else x.float()
        finite = x.isfinite().all(2, keepdim=True)
        known = finite.to(x.dtype)
        rate = torch.where(finite, x, 0).clamp_min(0)
        motion = estimate_motion(torch.where(finite, rate, torch.nan).sum(2), loop)
        rate = fill_unknown(rate.flatten(0, 1), known.flatten(0, 1)).unflatten(0, known.shape[:2])
        past = trajectories(motion, max(steps - 1, 1), loop)
        amount, amount_known = [scaled(rate[:, -1])], [known[:, -1]]
        for k in range(steps - 1):  # from the last but one to the first
            amount.insert(0, warp(scaled(rate[:, -2 - k]), past[:, k], "reflection"))
            amount_known.insert(0, warp(known[:, -2 - k], past[:, k]))
        amounts = torch.stack(amount, 1), torch.stack(amount_known, 1)
        origins, distance = trajectories(motion, horizon, loop), distance_to_known(known[:, -1])
        return AdvectedFrames(rate[:, -1], known[:, -1], distance, *amounts, motion, origins)


def extrapolate(c: AdvectedFrames, k: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Extrapolates the last frame to lead time number `k`, counted from 0.

    Returns three maps. The first two ``(N, C, H, W)`` are ``log(rate + floor)`` of the advected and of the unmoved last
    frame. The third ``(N, 1, H, W)`` is the smoothed share of pixels whose origin in the last frame is known.
    """
    origins = c.origins[:, k]
    known = smooth(warp(c.known, origins), 9)
    return (warp(c.rate, origins, "reflection") + floor).log(), (c.rate + floor).log(), known


def distance_to_known(known: Tensor) -> Tensor:
    """Returns the distance in pixels from each pixel to the nearest known one, at most :data:`MAX_DISTANCE`.

    Rows, columns and diagonals count alike. `known` ``(N, 1, H, W)`` is 1 for known pixels and 0 for unknown pixels.

    Example:
        >>> distance_to_known(torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])).tolist()
        [[[[0.0, 1.0, 2.0, 3.0]]]]
    """
    distance = 1 - known
    if not is_traced() and known.device.type == "cpu" and bool(known.all()):
        return distance
    for _ in range(MAX_DISTANCE - 1):
        known = F.max_pool2d(known, 3, 1, 1)
        distance = distance + (1 - known)
    return distance


def distance_outside(c: AdvectedFrames, k: int) -> Tensor:
    """Returns the distance in pixels from where the rain of lead time `k` was to the nearest pixel that was known then.

    It is 0 for pixels ``(N, 1, H, W)`` whose origin in the last frame is on the map and known.
    """
    origins = c.origins[:, k]
    height, width = origins.shape[-2:]
    beyond = []
    for axis, size, view in ((0, width, (1, -1)), (1, height, (-1, 1))):
        place = torch.arange(size, device=origins.device, dtype=origins.dtype).reshape(view)
        position = place + origins[:, axis]
        beyond.append((-0.5 - position).clamp_min(0) + (position - place.max() - 0.5).clamp_min(0))
    unknown = (warp(c.distance, origins, "border") - 0.5).clamp_min(0)
    return unknown + (beyond[0].square() + beyond[1].square()).sqrt().unsqueeze(1)


def scaled(rate: Tensor) -> Tensor:
    """Converts rain rates in mm/h to a logarithmic scale, ``log(1 + rate / 0.1) / 4``: 0 where dry, 1 at 5.4 mm/h."""
    return (rate / 0.1).log1p() / 4


def smooth(x: Tensor, size: int) -> Tensor:
    """Returns the mean of the `size`×`size` pixels around each pixel (`size` is odd), without those outside the map."""
    x = F.avg_pool2d(x, (1, size), 1, (0, size // 2), count_include_pad=False)
    return F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)


def fill_unknown(x: Tensor, known: Tensor) -> Tensor:
    """Fills unknown pixels smoothly from the known ones around them.

    Known pixels are averaged over 2×2 until one pixel is left. Each unknown pixel takes the value of the next coarser
    map, interpolated bilinearly. `known` ``(N, 1, H, W)`` is 1 for known pixels and 0 for unknown pixels. The values of
    unknown pixels in `x` ``(N, C, H, W)`` are ignored but must be finite.

    Reference:
        Gortler, S. et al. (1996). The Lumigraph, section 3.4 (pull–push). https://doi.org/10.1145/237170.237200

    Example:
        >>> fill_unknown(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]]])).tolist()
        [[[[3.0, 3.0]]]]
    """
    size = x.shape[-2:]
    return _fill(x, known, 13 if _is_dynamic(*size) else (max(size) - 1).bit_length())  # 13 for 8,192 pixels


def _fill(x: Tensor, known: Tensor, levels: int) -> Tensor:
    if not levels:
        return x * known
    means, share = F.avg_pool2d(_pad(torch.cat([x * known, known], 1), 2), 2).tensor_split([x.shape[1]], dim=1)
    means = means / share.clamp_min(1e-6)
    around = _larger(_fill(means, (share > 0).to(x.dtype), levels - 1), 2)
    return torch.where(known > 0, x, _crop(around, *x.shape[-2:]))


def _iterate(before: Tensor, after: Tensor, windows: Maps, _: Maps, state: Maps) -> Maps:
    """Performs one Gauss–Newton step of the motion, and smooths it with its confidence as weight.

    `before` and `after` ``(N, 2·P, H, W)`` are the earlier or the later frames of P pairs, followed by their masks.
    """
    (motion,) = state
    half = _larger(motion, COARSE) / 2  # the pairs share it, so that they are sampled at once
    before, known_before = warp(before, -half, "border").chunk(2, dim=1)
    after, known_after = warp(after, half, "border").chunk(2, dim=1)
    difference = after - before
    p = F.pad((after + before) / 2, (1, 1, 1, 1), mode="replicate")
    gx, gy = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2
    weight = (known_before * known_after).square() / (1 + difference.square())
    factors = ((gx, gx), (gx, gy), (gy, gy), (gx, difference), (gy, difference))
    sums = torch.cat([F.avg_pool2d((a * b).mul_(weight).sum(1, keepdim=True), COARSE) for a, b in factors], dim=1)
    narrow = _blur(sums, windows[1])
    wide = _crop(_larger(_blur(F.avg_pool2d(_pad(sums, 4), 4), windows[1]), 4), *sums.shape[-2:])
    sums = narrow + WIDE * wide + WHOLE * sums.mean((2, 3), keepdim=True)
    xx, xy, yy, xd, yd = sums.split(1, dim=1)
    ridge = _add_tiny(0.02 * (xx + yy))  # no motion is invented along a front
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy
    step = torch.cat([xy * yd - yy * xd, xy * xd - xx * yd], dim=1) / determinant
    confidence = _add_tiny(narrow[:, :1] + narrow[:, 2:3] + WIDE * (wide[:, :1] + wide[:, 2:3]))
    # Within 1.5 pixels the linear approximation holds.
    return (_blur(confidence * (motion + step.clamp(-1.5, 1.5)), windows[0]) / _blur(confidence, windows[0]),)


def in_convolution_layout(x: Tensor) -> Tensor:
    """Returns maps ``(N, C, H, W)`` in channels-last format on a CPU, where convolutions of few channels are faster."""
    if x.device.type != "cpu" or is_traced():
        return x
    n, _, height, _ = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    # torch recognizes the format by the strides, and those of an axis of one map may be any.
    return x.permute(0, 2, 3, 1).flatten(0, 1).unflatten(0, (n, height)).permute(0, 3, 1, 2)


def _add_tiny(x: Tensor) -> Tensor:
    """Adds 1e-9 by subtractions, because the optimizer of ONNX files drops additions of less than 1e-8."""
    return -(-1e-9 - x)


def _window(sigma: float, like: Tensor) -> Tensor:
    """Returns the weights of a Gaussian window with standard deviation `sigma` in pixels."""
    radius = int(2.5 * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    taps = (-(taps**2) / (2 * sigma**2)).exp()
    return taps / taps.sum()


def _blur(x: Tensor, taps: Tensor) -> Tensor:
    """Convolves each map ``(N, C, H, W)`` with a :func:`_window`, with zeros beyond the edge."""
    radius, channels = len(taps) // 2, x.shape[1]
    x = in_convolution_layout(x)  # in which oneDNN convolves single channels 20 times as fast
    x = F.conv2d(x, taps.expand(channels, 1, 1, -1), padding=(0, radius), groups=channels)
    x = F.conv2d(x, taps[:, None].expand(channels, 1, -1, 1), padding=(radius, 0), groups=channels)
    return x.contiguous()


def _larger(x: Tensor, factor: int) -> Tensor:
    return _resize(x, factor * x.shape[-2], factor * x.shape[-1])


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


# ---- sizes: integers, or symbols while torch.export traces a dynamic size ---------------------------------------
def _strides(height: int, width: int) -> list[int]:
    """Returns the ratios between successive resolutions: ``[2]`` for maps from 32×32 on, ``[2, 2]`` from 64×64 on, ….

    With a dynamic size there are always :data:`RESOLUTIONS` - 1 ratios. A ratio is 1 if the map is too small for it.
    """
    if not _is_dynamic(height, width):
        return [2] * (max(1, min(RESOLUTIONS, min(height, width).bit_length() - 4)) - 1)
    smallest = torch.minimum(_count(height), _count(width))
    return [_new_size(1 + (smallest >= 32 << i).long()) for i in range(RESOLUTIONS - 1)]


def _is_dynamic(*sizes: int) -> bool:
    return any(isinstance(size, torch.SymInt) for size in sizes)


def _count(size: int) -> Tensor:
    return torch.scalar_tensor(size, dtype=torch.int64)


def _new_size(count: Tensor) -> int:
    """Returns a count as a new symbolic size, because torch.export takes minutes over sizes with nested divisions."""
    size: Any = count.item()
    torch._check(size >= 1)
    return size


def _divide_up(size: int, unit: int) -> int:
    count = (size + unit - 1) // unit
    return _new_size(_count(count)) if _is_dynamic(count) else count


def _pad(x: Tensor, unit: int) -> Tensor:
    """Pads maps with zeros on the right and at the bottom, to sizes that are multiples of `unit`."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, unit * _divide_up(width, unit) - width, 0, unit * _divide_up(height, unit) - height))


def _crop(x: Tensor, height: int, width: int) -> Tensor:
    torch._check(height <= x.shape[-2])
    torch._check(width <= x.shape[-1])
    return x.narrow(-2, 0, height).narrow(-1, 0, width)


def _block_means(x: Tensor, edge: int) -> Tensor:
    """Averages maps over squares whose `edge` is 1 or 2 pixels; `edge` may be symbolic."""
    if not _is_dynamic(edge):
        return F.avg_pool2d(x, edge)
    for axis in (2, 3):
        first = edge * torch.arange(COARSE * _divide_up(x.shape[axis], COARSE * edge), device=x.device)
        x = (x.index_select(axis, first) + x.index_select(axis, first + (edge - 1))) / 2
    return x
