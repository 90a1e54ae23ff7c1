"""Scores of frames, of the occurrence of events, and of ensembles.

To add a metric of frames that recipes name in `metrics`, write a function ``(forecast, truth)`` and an entry of
:data:`METRICS`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from .._extras import need
from .._hints import similar
from ..values.preprocessing import Encoding
from ..values.tensors import to_tensor
from .losses import SSIM_WINDOW, fair_crps, quantile_crps

FSS_WINDOW = 9
"""Edge of the neighbourhood of the fractions skill score in pixels."""
BINS = 10
"""Number of bins of a reliability diagram."""


# ---- scores of frames --------------------------------------------------------------------------------------------
def bias(forecast: Tensor, truth: Tensor) -> Tensor:
    """Returns the mean of forecast minus truth over known pixels of each frame: ``(N, T)`` for ``(N, T, C, H, W)``.

    Example:
        >>> bias(torch.full((1, 1, 1, 1, 2), 3.0), torch.tensor([[[[[1.0, torch.nan]]]]])).tolist()
        [[2.0]]
    """
    known = truth.isfinite()
    return torch.where(known, forecast - truth, 0).sum((2, 3, 4)) / known.sum((2, 3, 4))


class MetricInfo(NamedTuple):
    """Meaning of a metric: which values are better, the perfect value, and the unit."""

    better: Literal["lower", "higher", "nearest"]
    """Which of two values is better: the lower, the higher, or the one nearest to the perfect value."""
    perfect: float
    unit: str = ""
    """Unit, in which ``{unit}`` stands for the unit of the data."""
    is_summed: bool = False
    """Whether publications also report the sum over the pixels of a frame."""
    of: Callable[[Tensor, Tensor], Tensor] | None = None
    """Function of forecast and truth ``(N, T, C, H, W)`` in the unit of the data, NaN where the truth is unknown.

    It returns the value of each frame ``(N, T)``. Recipes name metrics with a function; the others are always computed.
    """

    def rank(self, value: float) -> float:
        """Returns a number that is lower for better values."""
        return {"lower": value, "higher": -value, "nearest": abs(value - self.perfect)}[self.better]


METRICS = {
    "MSE": MetricInfo("lower", 0.0, "({unit})²", is_summed=True),
    "MAE": MetricInfo("lower", 0.0, "{unit}", is_summed=True),
    "SSIM": MetricInfo("higher", 1.0),
    "PSNR": MetricInfo("higher", math.inf, "dB"),
    "CSI": MetricInfo("higher", 1.0),
    "POD": MetricInfo("higher", 1.0),
    "FAR": MetricInfo("lower", 0.0),
    "FSS": MetricInfo("higher", 1.0),
    "CRPS": MetricInfo("lower", 0.0, "{unit}"),
    "Brier": MetricInfo("lower", 0.0),
    "bias": MetricInfo("nearest", 0.0, "{unit}", of=bias),
}
"""Metrics by the first word of their names, such as CSI of ``"CSI 2 mm/h of rain"``."""


def find_metric(name: str) -> MetricInfo:
    """Returns the entry of :data:`METRICS` for a metric; raises KeyError if there is none."""
    word = name.partition(" ")[0]
    if word not in METRICS:
        raise KeyError(f"no metric {word!r}{similar(word, METRICS)}; METRICS of {__name__} has {', '.join(METRICS)}")
    return METRICS[word]


def frame_scores(
    forecast: Tensor, truth: Tensor, value_range: tuple[float, float] | None, metrics: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Returns MSE, MAE, SSIM, PSNR and further `metrics` of every frame: ``(N, T)`` for frames ``(N, T, C, H, W)``.

    The errors are means over the pixels whose truth is known, and NaN if the forecast is NaN at one of them. For SSIM
    and PSNR, values are clipped to `value_range`, and its lower bound is subtracted. Both are left out if `value_range`
    is None. SSIM is the mean over all windows of 7×7 pixels without an unknown pixel; frames are reflected at their
    edges. Frames smaller than 7×7 have no SSIM.

    References:
        Wang, Z. et al. (2004). Image quality assessment. https://doi.org/10.1109/TIP.2003.819861

    Example:
        >>> frames = torch.rand(2, 3, 1, 8, 8)
        >>> scores = frame_scores(frames * 0, frames * 0 + 0.5, (0.0, 1.0))
        >>> scores["MSE"][0, 0].item(), scores["MAE"][0, 0].item()
        (0.25, 0.5)
    """
    image = need("torchmetrics.functional.image", "eval")
    known = torch.isfinite(truth)
    share = known.float().mean((2, 3, 4))
    further = {name: find_metric(name).of(forecast.clone(), truth.clone()) for name in metrics}  # type: ignore[misc]
    forecast, truth = (torch.where(known, x, 0) for x in (forecast, truth))
    error = forecast - truth
    scores = {"MSE": error.square().mean((2, 3, 4)) / share, "MAE": error.abs().mean((2, 3, 4)) / share} | further
    if value_range is None:
        return scores
    low, high = value_range
    flat = [torch.where(known, x.clamp(low, high) - low, 0).flatten(0, 1) for x in (forecast, truth)]
    if min(error.shape[-2:]) >= SSIM_WINDOW:
        _, similarity = image.structural_similarity_index_measure(
            *flat,
            gaussian_kernel=False,
            kernel_size=SSIM_WINDOW,
            data_range=high - low,
            reduction="none",
            return_full_image=True,
        )
        around = F.pad((~known).float().flatten(0, 1), (SSIM_WINDOW // 2,) * 4, mode="reflect")  # as torchmetrics does
        complete = F.max_pool2d(around, SSIM_WINDOW, 1) == 0
        total, count = torch.where(complete, similarity, 0).sum((1, 2, 3)), complete.sum((1, 2, 3))
        scores["SSIM"] = (total / count).reshape(error.shape[:2])
    psnr = image.peak_signal_noise_ratio(*flat, data_range=high - low, reduction="none", dim=(1, 2, 3))
    scores["PSNR"] = psnr.reshape(error.shape[:2]) + 10 * share.log10()
    return scores


def _to_host(name: str, x: Any) -> Tensor:
    """Converts to a tensor on the host, where sums are kept in float64, which not every device has."""
    return to_tensor(name, x).cpu()


def check_frames(forecast: Any, truth: Any, horizon: int) -> tuple[Tensor, Tensor]:
    """Returns forecast and truth on the host, or raises ValueError unless both are ``(N, horizon, C, H, W)``."""
    forecast, truth = _to_host("forecast", forecast), _to_host("truth", truth)
    if forecast.shape != truth.shape or forecast.dim() != 5 or forecast.shape[1] != horizon:
        shapes = f"{tuple(forecast.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"expected forecast and truth of one shape (N, {horizon}, C, H, W), got {shapes}")
    return forecast, truth


class Occurrences:
    """CSI, POD, FAR and FSS of a threshold at every lead time, over all pixels of all sequences.

    A pixel is a hit if forecast and truth reach the threshold, a miss if only the truth does, and a false alarm if only
    the forecast does. With their numbers H, M and F: CSI = H / (H + M + F), POD = H / (H + M), FAR = F / (H + F). The
    fractions skill score (FSS) compares the fractions of pixels that reach the threshold in windows of 9×9 pixels. A
    score is NaN where its denominator is 0. Pixels whose truth is unknown (NaN) do not count; in the windows of the
    FSS, they are below the threshold, as in pysteps.

    Args:
        threshold: in the unit of the frames.
        horizon: number of lead times.
        window: edge of the windows in pixels, an odd number unless `counts_outside`.
        counts_outside: whether pixels outside the frame count as below the threshold, as in pysteps. Otherwise, windows
            at the edges are smaller.

    References:
        Shi, X. et al. (2015), section 4.2. https://arxiv.org/abs/1506.04214
        Roberts, N. M. and Lean, H. W. (2008). Scale-selective verification of rainfall accumulations.
        https://doi.org/10.1175/2007MWR2123.1

    Example:
        >>> occurrences = Occurrences(0.5, horizon=1)
        >>> forecast, truth = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]).reshape(2, 1, 1, 1, 1, 4)
        >>> occurrences.add(forecast, truth)
        >>> {k: [round(v, 3) for v in values] for k, values in occurrences.scores().items()}
        {'CSI': [0.333], 'POD': [0.5], 'FAR': [0.5], 'FSS': [1.0]}
    """

    def __init__(
        self, threshold: float, horizon: int, window: int = FSS_WINDOW, *, counts_outside: bool = False
    ) -> None:
        if check.positive_int("window", window) % 2 == 0 and not counts_outside:
            raise ValueError(f"window must be an odd number of pixels unless counts_outside is set, got {window}")
        self.threshold, self.window, self.counts_outside = threshold, window, counts_outside
        self.counts = torch.zeros(3, horizon, dtype=torch.float64)  # hits, misses, false alarms
        self.error, self.reference = torch.zeros(2, horizon, dtype=torch.float64)

    def add(self, forecast: Tensor, truth: Tensor) -> None:
        """Adds forecast and true frames ``(N, T, C, H, W)``; pixels that are NaN in one of them are left out."""
        forecast, truth = check_frames(forecast, truth, self.counts.shape[1])
        pixels = (0, 2, 3, 4)
        known = truth.isfinite() & ~forecast.isnan()
        occurs = [(x >= self.threshold) & known for x in (forecast, truth)]
        hits, predicted, observed = (x.sum(pixels) for x in (occurs[0] & occurs[1], *occurs))
        self.counts += torch.stack([hits, observed - hits, predicted - hits])
        f, o = (self._fractions(x.float().flatten(0, 2)).reshape(x.shape).double() for x in occurs)
        self.error += (f - o).square().sum(pixels)
        self.reference += (f.square() + o.square()).sum(pixels)

    def _fractions(self, maps: Tensor) -> Tensor:
        """Returns the mean of each window of maps ``(B, H, W)``."""
        size = self.window
        if self.counts_outside:
            return F.avg_pool2d(F.pad(maps, (size // 2, (size - 1) // 2) * 2), size, 1)
        return F.avg_pool2d(maps, size, 1, size // 2, count_include_pad=False)

    def scores(self) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        hits, missed, false = self.counts
        scores = {
            "CSI": hits / (hits + missed + false),
            "POD": hits / (hits + missed),
            "FAR": false / (hits + false),
            "FSS": 1 - self.error / self.reference,
        }
        return {name: values.tolist() for name, values in scores.items()}


# ---- scores of ensembles -----------------------------------------------------------------------------------------
def ensemble_scores(members: Tensor, truth: Tensor, are_quantiles: bool = False) -> dict[str, list[float]]:
    """Returns three scores of an ensemble by lead time: the CRPS, the RMSE of the ensemble mean, and the spread.

    The RMSE is the root mean square error. In a calibrated ensemble, the spread equals the RMSE of the ensemble mean.
    For M random members, the spread is the root of ``(M + 1) / M`` times their mean variance, since the mean of the
    members is random, too. For quantiles, it is the root of their mean variance. The CRPS is that of
    :func:`~convrnn_zoo.verify.losses.fair_crps` or :func:`~convrnn_zoo.verify.losses.quantile_crps`.

    Args:
        members: ``(M, T, H, W)`` in the unit of the data, such as ``model.forecast(frames, members=20, seed=0)``.
        truth: ``(T, H, W)``. Pixels that are NaN in the truth or in a member are left out.
        are_quantiles: whether the members are quantiles at each pixel, as those of ``convgru_advection``, and not
            random.

    Raises:
        ValueError: the shape of a member is not that of the truth.

    References:
        Fortin, V. et al. (2014). Why should ensemble spread match the RMSE of the ensemble mean?
        https://doi.org/10.1175/JHM-D-14-0008.1
    """
    members, truth = _to_host("members", members), _to_host("truth", truth)
    if members.dim() < 2 or members.shape[1:] != truth.shape or not len(members):
        raise ValueError(
            f"expected members (M, T, H, W) of truth (T, H, W), got {tuple(members.shape)} and {tuple(truth.shape)}"
        )
    members, truth, count = members.double(), truth.double(), len(members)
    crps = (quantile_crps if are_quantiles else fair_crps)(members, truth)
    error = (members.mean(0) - truth).square()
    variance = members.var(0, correction=0)
    if not are_quantiles and count > 1:
        variance = variance * (count + 1) / (count - 1)
    variance = variance.masked_fill(error.isnan(), torch.nan)
    return {
        "CRPS": crps.flatten(1).nanmean(1).tolist(),
        "RMSE of the mean": error.flatten(1).nanmean(1).sqrt().tolist(),
        "spread": variance.flatten(1).nanmean(1).sqrt().tolist(),
    }


class BrierScores:
    """Brier scores of probabilities by lead time: means of ``(p − o)²`` over known pixels, o being 0 or 1.

    If p is the fraction of M random members that reach the threshold, ``p (1 − p) / (M − 1)`` is subtracted, so that
    the expected score does not depend on M (Ferro 2014, https://doi.org/10.1002/qj.2270).

    Example:
        >>> brier = BrierScores([1.0], horizon=1)
        >>> brier.add(1.0, torch.full((1, 1, 1, 2, 2), 0.5), torch.tensor([[[[[0.0, 2.0], [3.0, torch.nan]]]]]))
        >>> brier.scores("mm/h")
        {'Brier 1 mm/h': [0.25]}
    """

    def __init__(self, thresholds: Iterable[float], horizon: int) -> None:
        self.sums = {t: torch.zeros(2, horizon, dtype=torch.float64) for t in thresholds}  # errors, known pixels

    def add(self, threshold: float, probability: Tensor, truth: Tensor, members: int = 0) -> None:
        """Adds the probabilities that a threshold is reached, and true frames, both ``(N, T, C, H, W)``.

        `members` is the number of random members whose fractions the probabilities are, if they are. Pixels that
        are NaN in one of the two are left out.
        """
        probability, truth = check_frames(probability, truth, self.sums[threshold].shape[1])
        known, occurred = truth.isfinite() & ~probability.isnan(), (truth >= threshold).to(probability.dtype)
        error = (probability - occurred).square()
        if members > 1:
            error = error - probability * (1 - probability) / (members - 1)
        error = torch.where(known, error, 0)
        self.sums[threshold] += torch.stack([x.double().sum((0, 2, 3, 4)) for x in (error, known)])

    def scores(self, unit: str) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        return {f"Brier {t:g} {unit}".rstrip(): (error / known).tolist() for t, (error, known) in self.sums.items()}


class ProbabilityScores:
    """CRPS and Brier scores of ensembles by lead time, and their reliability diagrams over all lead times.

    The members are random, or `are_quantiles` at each pixel; see :func:`ensemble_scores`.

    Example:
        >>> scores = ProbabilityScores((1.0,), horizon=1, are_quantiles=True)
        >>> scores.add(torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1) * 3)
        >>> scores.scores(""), scores.reliability("")["1"]["observed"][5]
        ({'CRPS': [1.5], 'Brier 1': [0.25]}, 1.0)
    """

    def __init__(self, thresholds: Sequence[float], horizon: int, are_quantiles: bool = False) -> None:
        self.are_quantiles = are_quantiles
        self.crps = torch.zeros(2, horizon, dtype=torch.float64)  # sum and number of frames
        self.brier = BrierScores(thresholds, horizon)
        self.bins = {t: torch.zeros(3, BINS, dtype=torch.float64) for t in thresholds}  # count, forecast, observed

    def add(self, members: Tensor, truth: Tensor) -> None:
        """Adds members ``(M, N, T, C, H, W)`` and true frames ``(N, T, C, H, W)``; pixels with NaN are left out."""
        members, truth = _to_host("members", members), _to_host("truth", truth)
        check_frames(members[0], truth, self.crps.shape[1])
        known = truth.isfinite() & members.isfinite().all(0)
        truth = truth.masked_fill(~known, torch.nan)
        crps = quantile_crps if self.are_quantiles else fair_crps
        score = crps(members.nan_to_num(0).double(), truth.nan_to_num(0).double())
        by_frame = torch.where(known, score, 0).sum((2, 3, 4)) / known.sum((2, 3, 4))  # as the MAE
        self.crps += torch.stack([by_frame.nansum(0), by_frame.isfinite().double().sum(0)])
        for threshold, bins in self.bins.items():
            probability = (members >= threshold).double().mean(0)
            self.brier.add(threshold, probability, truth, 0 if self.are_quantiles else len(members))
            numbers = (probability * BINS).long().clamp_max(BINS - 1)[known]
            for total, values in zip(bins, (torch.ones(()), probability, (truth >= threshold).double()), strict=True):
                total += torch.bincount(numbers, values.expand_as(probability)[known], BINS)

    def scores(self, unit: str) -> dict[str, list[float]]:
        """Returns each score by lead time."""
        total, count = self.crps
        return {"CRPS": (total / count).tolist(), **self.brier.scores(unit)}

    def reliability(self, unit: str) -> dict[str, dict[str, list[float]]]:
        """Returns the mean forecast, observed frequency and pixel count of each bin of probability, by threshold."""
        return {
            f"{t:g} {unit}".rstrip(): {
                "forecast": (forecast / count).tolist(),
                "observed": (observed / count).tolist(),
                "count": count.tolist(),
            }
            for t, (count, forecast, observed) in self.bins.items()
        }


# ---- values --------------------------------------------------------------------------------------------------
def finite(value: Any) -> Any:
    """Replaces numbers that are not finite, which JSON cannot express, by None.

    Example:
        >>> finite({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def find_value_range(values: Encoding, frames: Tensor) -> tuple[float, float] | None:
    """Returns the lowest and the highest value for SSIM, PSNR and figures; see :func:`find_value_ranges`."""
    return find_value_ranges([values], [[frames]])[0]


def find_value_ranges(
    targets: Sequence[Encoding], parts: Iterable[Sequence[Tensor]]
) -> list[tuple[float, float] | None]:
    """Returns the lowest and the highest value of each target for SSIM, PSNR and figures, or None for equal bounds.

    A bound that the encoding does not declare is the minimum or maximum of the target's frames in all `parts`. These
    have a tensor for each target, and are not read if all bounds are declared.
    """
    declared = [
        (0.0, target.top)
        if target.encoding == "log"
        else (0.0, target.highest or 100.0)
        if target.encoding == "dbz"
        else (target.lowest, target.highest)
        for target in targets
    ]
    observed = [(math.inf, -math.inf)] * len(targets)
    for part in parts if any(None in bounds for bounds in declared) else ():
        for i, frames in enumerate(part):
            known, (lowest, highest) = torch.isfinite(frames), observed[i]
            lowest = min(lowest, torch.where(known, frames, math.inf).min().item())
            highest = max(highest, torch.where(known, frames, -math.inf).max().item())
            observed[i] = lowest, highest
    ranges = [
        (lowest if low is None else low, highest if high is None else high)
        for (low, high), (lowest, highest) in zip(declared, observed, strict=True)
    ]
    return [bounds if bounds[0] < bounds[1] else None for bounds in ranges]
