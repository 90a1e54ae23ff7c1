"""Verification of nowcasts on rain events, by lead time and by window."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo._extras import need
from convrnn_zoo.verify import Occurrences, ProbabilityScores, fair_crps, finite, quantile_crps
from convrnn_zoo.verify.baselines import quiet_pysteps

Nowcast = Callable[[Tensor, int], Tensor]
"""Frames ``(T, H, W)`` in mm/h to rates ``(horizon, H, W)``."""
Ensemble = Callable[[Tensor, int], Tensor]
"""Forecasts an ensemble ``(members, horizon, H, W)`` from the same arguments."""

INPUTS = 4
"""Number of input frames."""
THRESHOLDS = (0.5, 2.0, 5.0)
"""Thresholds in mm/h of the scores."""
GROUPS = {"5–15 min": (0, 15), "20–30 min": (15, 30), "35–60 min": (30, 60)}
"""Groups of lead times: longer than the first number of minutes, up to the second."""
HOUR = "5–60 min"
"""All lead times, as a group of the fractions skill score."""
HOURLY = (HOUR, slice(None))
SCALES = {"4–16 km": (4, 16), "16–64 km": (16, 64)}
"""Wavelengths over which the power spectra of forecast and observation are compared."""
FRACTIONS = {"2 km": 1, "10 km": 5, "20 km": 10}
"""Edges of the squares of the fractions skill score (FSS), in pixels of 2 km."""
SPECTRA = (30, 60)
"""Lead times in minutes whose spectra are compared."""

SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "CRPS of the hour": lambda x: x.mean(-3),
    "CRPS in 20 km": lambda x: F.avg_pool2d(x, min(10, *x.shape[-2:])),
}
"""Means of rain ``(…, horizon, H, W)`` over time or space, which depend on the pixels that are wet together."""

np: Any = need("numpy", "cli")


class Window(NamedTuple):
    """Input frames and the observed frames that follow, ``(T, H, W)`` in mm/h."""

    inputs: Tensor
    truth: Tensor


def windows_of_hours(frames: Tensor, minutes: float, every: float) -> Iterator[Window]:
    """Yields windows of four input frames and one hour of truth; a window begins every `every` minutes.

    Example:
        >>> [float(w.inputs[0, 0, 0]) for w in windows_of_hours(torch.arange(30.0).reshape(30, 1, 1), 5, 30)]
        [0.0, 6.0, 12.0]
    """
    length = INPUTS + int(60 // minutes)
    for start in range(0, len(frames) - length + 1, int(every // minutes)):
        window = frames[start : start + length]
        yield Window(window[:INPUTS], window[INPUTS:])


def lead_times(minutes: float) -> dict[str, slice]:
    """Returns the indices of the forecast frames in each group of lead times, for frames `minutes` apart.

    Example:
        >>> lead_times(6.0)
        {'5–15 min': slice(0, 2, None), '20–30 min': slice(2, 5, None), '35–60 min': slice(5, 10, None)}
    """
    return {name: slice(int(first // minutes), int(last // minutes)) for name, (first, last) in GROUPS.items()}


def last_frame(frames: Tensor, horizon: int) -> Tensor:
    """Repeats the last frame."""
    return frames[-1:].expand(horizon, -1, -1)


def verify(methods: Mapping[str, Nowcast], frames: Tensor, minutes: float = 5.0, every: float = 30.0) -> dict[str, Any]:
    """Scores nowcasts of one event.

    A pixel is scored if it is known in the observation and in the last input frame. Where a method has no value for
    such a pixel, the pixel counts as dry. CSI and frequency bias are computed over all pixels of all windows, and CSI
    also for each window. An amount equal to a threshold reaches it.

    Args:
        methods: nowcasts by name.
        frames: the event, ``(T, H, W)`` in mm/h.
        minutes: minutes between frames.
        every: minutes between the first frames of windows.

    Returns:
        Scores of each method by name. In the names below, 0.5 stands for each threshold in mm/h. ``"CSI 0.5"`` is a
        dictionary by group of lead times. ``"CSI 0.5 by window"`` and ``"FSS 0.5, 10 km by window"`` are lists of such
        dictionaries; those of the FSS include the complete hour. Lists of numbers are ``"CSI 0.5 by frame"``,
        ``"frequency bias 0.5 by frame"``, ``"bias by frame"`` (mean forecast over mean truth), ``"MSE by frame"`` and
        ``"MSE by window"``. ``"MSE"`` is a number. ``"power 4–16 km at 30 and 60 min"`` is the spectral power in a band
        of wavelengths, divided by the power of the truth.
    """
    spectral = quiet_pysteps("utils.spectral")
    counted: dict[str, list[Any]] = {name: [] for name in methods}
    errors: dict[str, list[Tensor]] = {name: [] for name in methods}
    power: dict[str, list[Any]] = {name: [] for name in (*methods, "truth")}
    groups = lead_times(minutes)
    for window in windows_of_hours(frames, minutes, every):
        horizon = len(window.truth)
        spectra = [int(lead // minutes) - 1 for lead in SPECTRA]
        known = window.truth.isfinite() & window.inputs[-1].isfinite()
        truth = window.truth.double().where(known, torch.nan)
        power["truth"].append([spectrum(spectral, truth[k].numpy()) for k in spectra])
        for name, method in methods.items():
            predicted = method(window.inputs, horizon).nan_to_num(0).double().where(known, torch.nan)
            counters = {}
            for t, (scale, pixels) in itertools.product(THRESHOLDS, FRACTIONS.items()):
                counters[t, scale] = Occurrences(t, horizon, pixels, counts_outside=True)  # the FSS of pysteps
                counters[t, scale].add(predicted[None, :, None], truth[None, :, None])
            counted[name].append(counters)
            squared = (predicted - truth).square()
            errors[name].append(torch.stack([x.nansum((1, 2)) for x in (known.double(), squared, predicted, truth)]))
            power[name].append([spectrum(spectral, predicted[k].numpy()) for k in spectra])
    ratio = _power_ratios(power)
    return {
        name: {
            **_occurrences(counted[name], groups),
            **_errors(torch.stack(errors[name])),
            **_fractions(counted[name], groups),
            **ratio[name],
        }
        for name in methods
    }


def _csi(counts: Tensor) -> Any:
    """Returns the CSI of numbers of hits, misses and false alarms, along the first axis."""
    return _numbers(counts[0] / counts.sum(0))


def _occurrences(counted: Sequence[Mapping[Any, Occurrences]], groups: Mapping[str, slice]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for t in THRESHOLDS:
        counts = torch.stack([w[t, next(iter(FRACTIONS))].counts for w in counted])  # (window, 3, lead time)
        hits, missed, false = frames = counts.sum(0)
        by_window = {g: counts[:, :, part].sum(-1) for g, part in groups.items()}
        out[f"CSI {t:g}"] = {g: _csi(counted.sum(0)) for g, counted in by_window.items()}
        out[f"CSI {t:g} by window"] = [
            {g: _csi(counted[i]) for g, counted in by_window.items()} for i in range(len(counts))
        ]
        out[f"CSI {t:g} by frame"] = _csi(frames)
        out[f"frequency bias {t:g} by frame"] = _numbers((hits + false) / (hits + missed))
    return out


def _fractions(counted: Sequence[Mapping[Any, Occurrences]], groups: Mapping[str, slice]) -> dict[str, Any]:
    """Returns the FSS of each window by threshold, scale and group of lead times; None if nothing occurs."""
    out: dict[str, Any] = {}
    for t, scale in itertools.product(THRESHOLDS, FRACTIONS):
        windows = out[f"FSS {t:g}, {scale} by window"] = []
        for counter in (w[t, scale] for w in counted):
            sums = {g: (counter.error[p].sum(), counter.reference[p].sum()) for g, p in [*groups.items(), HOURLY]}
            windows.append({g: float(1 - error / all_) if all_ else None for g, (error, all_) in sums.items()})
    return out


def _errors(sums: Tensor) -> dict[str, Any]:
    """Returns scores from the count, squared errors, forecasts and truths, summed over pixels: ``(window, 4, T)``."""
    count, squared, _, _ = sums.sum((0, 2))
    by_window, by_frame = sums.sum(2), sums.sum(0)
    return {
        "MSE": float(squared / count),
        "MSE by window": _numbers(by_window[:, 1] / by_window[:, 0]),
        "MSE by frame": _numbers(by_frame[1] / by_frame[0]),
        "bias by frame": _numbers(by_frame[2] / by_frame[3]),
    }


def _power_ratios(power: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Returns the power in each band relative to the truth, by method. `power` is nested by window, frame and band."""
    of_truth = np.array(power["truth"]).mean(0)  # (frame, band)
    with np.errstate(invalid="ignore", divide="ignore"):  # without rain
        ratios = {name: np.array(values).mean(0) / of_truth for name, values in power.items()}
    return {
        name: {f"power {band} at 30 and 60 min": _numbers(ratio[:, i]) for i, band in enumerate(SCALES)}
        for name, ratio in ratios.items()
    }


def spectrum(spectral: Any, frame: Any) -> list[float]:
    """Returns the radially averaged power of a frame with pixels of 2 km in each band of :data:`SCALES`."""
    power, frequency = spectral.rapsd(np.nan_to_num(frame), fft_method=np.fft, return_freq=True, d=2.0)
    with np.errstate(divide="ignore"):
        length = 1 / frequency
    return [float(power[(length >= low) & (length < high)].sum()) for low, high in SCALES.values()]


def verify_ensembles(
    methods: Mapping[str, Ensemble],
    frames: Tensor,
    minutes: float = 5.0,
    every: float = 30.0,
    are_quantiles: Collection[str] = ("forecast",),
) -> dict[str, Any]:
    """Scores ensembles of equally likely rates.

    A pixel is scored if it is known in the truth, in the last input frame and in every member of every method. The
    arguments are those of :func:`verify`, and the names of the methods whose members `are_quantiles` at each pixel. All
    scores are fair: their expectation does not depend on the number of members. The CRPS of quantiles is
    :func:`~convrnn_zoo.verify.losses.quantile_crps`. That of random members is
    :func:`~convrnn_zoo.verify.losses.fair_crps`. Means of quantiles over pixels or lead
    times are scored like quantiles, although noise arranges them, which overestimates their CRPS.

    Returns:
        Scores of each method by name, as in :func:`verify`. ``"CRPS by frame"`` and ``"CRPS by window"`` are in mm/h.
        Each of :data:`SUMMARIES` also has a CRPS by window, in which unknown pixels count as dry. Brier scores are
        ``"Brier 0.5 by frame"`` and ``"Brier 0.5 by window"``. ``"reliability 0.5"`` has the mean forecast and the
        observed frequency in ten classes of probability. ``"reliability error 0.5 by window"`` is the mean squared
        difference between forecast and frequency. ``"power 4–16 km at 30 and 60 min"`` is the mean spectral power of
        the members in a band of wavelengths, divided by the power of the truth. ``"spread / error"`` is the ratio of
        the ensemble's spread to the root mean squared error of its mean, by group of lead times.
    """
    spectral = quiet_pysteps("utils.spectral")
    power: dict[str, list[Any]] = {name: [] for name in (*methods, "truth")}
    spectra, groups = [int(lead // minutes) - 1 for lead in SPECTRA], lead_times(minutes)
    summarized: dict[tuple[str, str], list[float]] = {}
    scored: dict[str, list[ProbabilityScores]] = {name: [] for name in methods}
    crps: dict[str, list[list[float]]] = {name: [] for name in methods}  # windows of frames, as are the next
    spreads: dict[str, list[list[Any]]] = {name: [] for name in methods}
    for window in windows_of_hours(frames, minutes, every):
        horizon = len(window.truth)
        predicted = {name: method(window.inputs, horizon) for name, method in methods.items()}
        known = window.truth.isfinite() & window.inputs[-1].isfinite()
        for members in predicted.values():
            known = known & members.isfinite().all(0)
        truth = window.truth.double().where(known, torch.nan)
        power["truth"].append([spectrum(spectral, truth[k].numpy()) for k in spectra])
        for name, members in predicted.items():
            is_random = name not in are_quantiles and len(members) > 1
            pixel_crps = fair_crps if is_random else quantile_crps
            member_maps = [members[:, k].where(known[k], 0).numpy() for k in spectra]
            power[name].append([np.mean([spectrum(spectral, member) for member in maps], 0) for maps in member_maps])
            for key, summarize in SUMMARIES.items():
                summary, observed = (summarize(x.where(known, 0).double()) for x in (members, window.truth))
                summarized.setdefault((name, key), []).append(float(pixel_crps(summary, observed).mean()))
            scores = ProbabilityScores(THRESHOLDS, horizon, are_quantiles=not is_random)
            scores.add(members.double()[:, None, :, None], truth[None, :, None])
            scored[name].append(scores)
            pairs = [(members[:, k][:, known[k]].double(), truth[k][known[k]]) for k in range(horizon)]
            crps[name].append([float(pixel_crps(*pair).mean()) for pair in pairs])
            spreads[name].append([_spread(*pair, is_random) for pair in pairs])
    out: dict[str, Any] = {}
    ratio = _power_ratios(power)
    for name, windows in scored.items():
        count = torch.stack([w.brier.sums[THRESHOLDS[0]][1] for w in windows])  # known pixels, (window, lead time)
        total_crps = count * torch.tensor(crps[name], dtype=torch.float64).nan_to_num(0)
        squares = np.array(spreads[name]).sum(0)  # (frame, 2): squared spread and squared error of the mean
        with np.errstate(invalid="ignore", divide="ignore"):  # of a perfect forecast
            ratios = {group: _numbers(np.sqrt(np.divide(*squares[part].sum(0)))) for group, part in groups.items()}
        out[name] = {
            "spread / error": ratios,
            "CRPS by frame": _numbers(total_crps.sum(0) / count.sum(0)),
            "CRPS by window": _numbers(total_crps.sum(1) / count.sum(1)),
            **{f"{key} by window": summarized[name, key] for key in SUMMARIES},
            **ratio[name],
        }
        for t in THRESHOLDS:
            error, number = torch.stack([w.brier.sums[t] for w in windows]).unbind(1)
            total, forecast, observed = torch.stack([w.bins[t] for w in windows]).sum(0)
            out[name][f"Brier {t:g} by frame"] = _numbers((error / number).mean(0))
            out[name][f"Brier {t:g} by window"] = _numbers((error / number).mean(1))
            diagram = {"forecast": forecast / total, "observed": observed / total}
            out[name][f"reliability {t:g}"] = {axis: _numbers(values) for axis, values in diagram.items()}
            out[name][f"reliability error {t:g} by window"] = [reliability_error(w.bins[t]) for w in windows]
    return out


def reliability_error(bins: Tensor) -> float:
    """Returns the mean squared difference of forecast probability and observed frequency over bins of probability.

    `bins` are the count, the sum of forecasts and the sum of occurrences of each: ``(3, bins)``.
    """
    count, forecast, observed = bins
    return float(((forecast - observed).square() / count.clamp_min(1)).sum() / count.sum())


def _spread(members: Tensor, truth: Tensor, is_random: bool) -> tuple[float, float]:
    """Returns the sums of the squared spread and of the squared error of the mean; they are equal if calibrated.

    See :func:`~convrnn_zoo.verify.ensemble_scores`, which explains the factor for random members.
    """
    count = len(members)
    variance = members.var(0, correction=0) * ((count + 1) / (count - 1) if is_random else 1)
    return float(variance.sum()), float((members.mean(0) - truth).square().sum())


def _numbers(values: Any) -> Any:
    """Converts numbers for JSON, with None for NaN."""
    return finite(np.asarray(values, dtype=float).tolist())
