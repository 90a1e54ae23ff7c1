"""Ensembles of rain maps: quantiles of each pixel, assigned to the members by noise that moves with the rain."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.warp import sampling_grid

ROUGHNESS = 0.65
"""Exponent of the rain's amplitude spectrum in the noise.

Selected on training events of the nowcast weights. Half an hour ahead, the power of members between 4 and 16 km is 1.7
times the observed power in KNMI's event and 0.5 times in FMI's. With an exponent of 1, it is 0.6 and 0.2 times."""
CORRELATION_MINUTES = 20.0
"""Time after which the correlation of the noise has fallen to 1 / e."""
CHUNK = 1 << 15
"""Number of pixels whose members are computed at once on a CPU, so that they stay in its cache."""


def quantiles(probabilities: Tensor, levels: Sequence[float], count: int) -> Tensor:
    """Converts probabilities ``(K, …)`` of reaching K ascending levels to equally likely values ``(count, …)``.

    The probability decreases linearly between two levels. Values below the first level are 0, and none exceeds the
    last level.

    Example:
        >>> p = torch.tensor([0.8, 0.5, 0.0])
        >>> [int((quantiles(p, (0.1, 1.0, 2.0), 20) > level).sum()) for level in (0.1, 1.0, 2.0)]
        [16, 10, 0]
    """
    q = [1 - (i + 0.5) / count for i in range(count)]  # the values are reached with these probabilities
    chance = torch.tensor(q).to(probabilities).reshape(-1, *[1] * (probabilities.dim() - 1))
    value = (probabilities[0] > chance).to(probabilities.dtype).mul_(levels[0])
    for (low, high), (upper, lower) in zip(itertools.pairwise(levels), itertools.pairwise(probabilities), strict=True):
        part = (upper - chance).div_((upper - lower).clamp_min_(1e-12))
        value.add_(part.clamp_(0, 1), alpha=high - low)
    return value


def rain_noise(rate: Tensor, minutes: float, count: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """Yields for each lead time noise maps ``(count, N, C, H, W)`` that look like the rain, but do not move with it.

    White noise is filtered with the amplitude spectrum of the logarithm of the last frame, as in STEPS. Here the
    spectrum is raised to the power :data:`ROUGHNESS`. The noise changes over time as an autoregressive process of first
    order. The variance of the noise is arbitrary. Each lead time overwrites the maps of the one before.

    Args:
        rate: rates of the last frame in mm/h, ``(N, C, H, W)``; all known.
        minutes: time between lead times.
        count: number of maps per lead time. All sequences and channels share the same white noise.
        generator: generator on the CPU; by default torch's global one.

    Reference:
        Seed, A. W. (2003). A Dynamic and Spatial Scaling Approach to Advection Forecasting.
        https://doi.org/10.1175/1520-0450(2003)042%3C0381:ADASSA%3E2.0.CO;2
    """
    size = rate.shape[-2:]
    window = [torch.hann_window(edge, periodic=False, dtype=rate.dtype, device=rate.device) for edge in size]
    amount = (rate + 0.1).log()
    amount = (amount - amount.mean((-2, -1), keepdim=True)) * window[0][:, None] * window[1]
    amplitude = torch.fft.rfft2(amount).abs().clamp_min(1e-6) ** ROUGHNESS
    noise = rate.new_zeros(count, *rate.shape)
    correlation = math.exp(-minutes / CORRELATION_MINUTES)
    for kept, added in itertools.chain([(0.0, 1.0)], itertools.repeat((correlation, math.sqrt(1 - correlation**2)))):
        for member in noise:  # one map at once, which limits the memory
            white = torch.randn(1, 1, *size, generator=generator, device="cpu", dtype=torch.float32)
            filtered = torch.fft.irfft2(torch.fft.rfft2(white.to(rate)) * amplitude, s=size)
            member.mul_(kept).add_(filtered.mul_(added))
        if kept:
            yield noise


def arrange(values: Tensor, noise: Tensor) -> Tensor:
    """Arranges the values of each pixel like the noise: the member with the k-th lowest noise gets the k-th value.

    `values` ``(M, …)`` are sorted in ascending order along the first axis. Each pixel keeps its values, and thus its
    probabilities and CRPS; the members get the spatial structure of the noise.

    Reference:
        Clark, M. et al. (2004). The Schaake Shuffle: A Method for Reconstructing Space–Time Variability in Forecasted
        Precipitation and Temperature Fields. https://doi.org/10.1175/1525-7541(2004)005%3C0243:TSSAMF%3E2.0.CO;2

    Example:
        >>> arrange(torch.tensor([[0.0, 1.0], [5.0, 6.0]]), torch.tensor([[2.0, -1.0], [1.0, 3.0]])).tolist()
        [[5.0, 1.0], [0.0, 6.0]]
    """
    values, noise = (x.movedim(0, -1).contiguous() for x in (values, noise))  # sorting along the last axis is faster
    return torch.empty_like(values).scatter_(-1, noise.argsort(-1), values).movedim(-1, 0)


def draw_members(probabilities: Tensor, levels: Sequence[float], noise: Tensor, displacement: Tensor) -> Tensor:
    """Returns the members ``(M, N, C, H, W)`` of a lead time: :func:`quantiles`, arranged like the moved noise.

    Only pixels at which a member may reach the first level are computed.

    Args:
        probabilities: probabilities ``(N, C, K, H, W)`` of reaching K levels.
        noise: noise ``(M, N, C, H, W)``.
        displacement: displacement ``(N, 2, H, W)`` in pixels from where the noise is to be to where it is.
    """
    count, members = len(noise), torch.zeros_like(noise)
    for n, grid in enumerate(sampling_grid(noise, displacement).flatten(1, 2)):
        p, maps = probabilities[n].flatten(-2).movedim(1, 0), noise[:, n].flatten(0, 1)[None]
        is_wet = ~(p[0] < 0.4 / count).all(0)
        wet = is_wet.nonzero().squeeze(1)
        for pixels in wet.split(CHUNK if wet.device.type == "cpu" else max(1, len(wet))):
            moved = F.grid_sample(maps, grid[pixels][None, None], padding_mode="reflection", align_corners=False)
            values = quantiles(p[..., pixels], levels, count)
            members[:, n].flatten(-2)[..., pixels] = arrange(values, moved.reshape(values.shape))
    return members
