"""Ensembles of rain maps: quantiles of each pixel, assigned to the members by noise that moves with the rain."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...layers.warp import warp

ROUGHNESS = 0.65
"""Exponent of the rain's amplitude spectrum in the noise.

Selected on training events of the nowcast weights. Half an hour ahead, the power of members between 4 and 16 km is 1.7
times the observed power in KNMI's event and 0.5 times in FMI's. With an exponent of 1, it is 0.6 and 0.2 times."""
CORRELATION_MINUTES = 20.0
"""Time after which the correlation of the noise has fallen to 1 / e."""


def quantiles(probabilities: Tensor, levels: Sequence[float], count: int) -> Tensor:
    """Converts probabilities ``(…, K, H, W)`` of reaching K levels to equally likely values ``(count, …, H, W)``.

    The probability decreases linearly between two levels. Values below the first level are 0, and none exceeds the
    last level.

    Example:
        >>> p = torch.tensor([0.8, 0.5, 0.0]).reshape(3, 1, 1)
        >>> [int((quantiles(p, (0.1, 1.0, 2.0), 20) > level).sum()) for level in (0.1, 1.0, 2.0)]
        [16, 10, 0]
    """
    members = []
    for i in range(count):
        q = 1 - (i + 0.5) / count  # the rate that is reached with this probability
        rate = torch.zeros_like(probabilities[..., 0, :, :])
        for k in range(len(levels) - 1):
            upper, lower = probabilities[..., k, :, :], probabilities[..., k + 1, :, :]
            part = ((upper - q) / (upper - lower).clamp_min(1e-6)).clamp(0, 1)
            rate = torch.where(upper > q, levels[k] + (levels[k + 1] - levels[k]) * part, rate)
        members.append(rate.masked_fill(probabilities[..., 0, :, :].isnan(), torch.nan))
    return torch.stack(members)


def rain_noise(
    rate: Tensor, origins: Tensor, minutes: float, count: int, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yields for each lead time noise maps ``(count, N, C, H, W)`` that look like the rain and move with it.

    White noise is filtered with the amplitude spectrum of the logarithm of the last frame, as in STEPS. Here the
    spectrum is raised to the power :data:`ROUGHNESS`. The noise changes over time as an autoregressive process of first
    order. The variance of the noise is arbitrary.

    Args:
        rate: rates of the last frame in mm/h, ``(N, C, H, W)``; all known.
        origins: displacement from each pixel to where its rain was in the last frame, ``(N, horizon, 2, H, W)``.
        minutes: time between lead times.
        count: number of maps per lead time. All sequences and channels share the same white noise.
        generator: generator on the CPU; by default torch's global one.

    Reference:
        Seed, A. W. (2003). A Dynamic and Spatial Scaling Approach to Advection Forecasting.
        https://doi.org/10.1175/1520-0450(2003)042%3C0381:ADASSA%3E2.0.CO;2
    """
    height, width = rate.shape[-2:]
    window = [torch.hann_window(size, periodic=False, dtype=rate.dtype, device=rate.device) for size in rate.shape[-2:]]
    amount = (rate + 0.1).log()
    amount = (amount - amount.mean((-2, -1), keepdim=True)) * window[0][:, None] * window[1]
    amplitude = torch.fft.rfft2(amount).abs().clamp_min(1e-6) ** ROUGHNESS

    def sample_noise() -> Tensor:
        white = torch.randn(count, 1, 1, height, width, generator=generator, device="cpu", dtype=torch.float32)
        return torch.fft.irfft2(torch.fft.rfft2(white.to(rate)) * amplitude, s=(height, width))

    correlation, noise = math.exp(-minutes / CORRELATION_MINUTES), sample_noise()
    for displacement in origins.unbind(1):
        noise = correlation * noise + math.sqrt(1 - correlation**2) * sample_noise()
        moved = warp(noise.transpose(0, 1).flatten(1, 2), displacement, "reflection")
        yield moved.unflatten(1, (count, -1)).transpose(0, 1)


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
    return torch.empty_like(values).scatter(0, noise.argsort(0), values)
