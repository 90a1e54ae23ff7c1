"""Verification of nowcasts on rain events with the scores of pysteps, by lead time and by window."""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo._extras import need
from convrnn_zoo.verify import finite

from .events import quiet_pysteps

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
    cat, cont = quiet_pysteps("verification.detcatscores"), quiet_pysteps("verification.detcontscores")
    spatial, spectral = quiet_pysteps("verification.spatialscores"), quiet_pysteps("utils.spectral")
    tables: dict[str, list[Any]] = {name: [] for name in methods}
    fractions: dict[str, list[Any]] = {name: [] for name in methods}
    errors: dict[str, list[Any]] = {name: [] for name in methods}
    power: dict[str, list[Any]] = {name: [] for name in (*methods, "truth")}
    groups = lead_times(minutes)
    for window in windows_of_hours(frames, minutes, every):
        horizon = len(window.truth)
        unknown = ~window.inputs[-1].isfinite()
        truth = window.truth.masked_fill(unknown, torch.nan).double().numpy()
        spectra = [int(lead // minutes) - 1 for lead in SPECTRA]
        power["truth"].append([spectrum(spectral, truth[k]) for k in spectra])
        for name, method in methods.items():
            predicted = np.where(np.isnan(truth), np.nan, method(window.inputs, horizon).nan_to_num(0).double().numpy())
            # Rain of exactly t occurs, as in training; pysteps counts rain above a threshold only.
            counted = {t: [cat.det_cat_fct_init(np.nextafter(t, 0)) for _ in range(horizon)] for t in THRESHOLDS}
            erred = [cont.det_cont_fct_init() for _ in range(horizon)]
            for k in range(horizon):
                cont.det_cont_fct_accum(erred[k], predicted[k], truth[k])
                for t in THRESHOLDS:
                    cat.det_cat_fct_accum(counted[t][k], predicted[k], truth[k])
            tables[name].append(counted)
            fractions[name].append(_fractions(spatial, predicted, truth, groups))
            errors[name].append(erred)
            power[name].append([spectrum(spectral, predicted[k]) for k in spectra])
    ratio = _power_ratios(power)
    return {
        name: {
            **_occurrences(cat, tables[name], groups),
            **_errors(cont, errors[name]),
            **{f"FSS {score} by window": [w[score] for w in fractions[name]] for score in fractions[name][0]},
            **ratio[name],
        }
        for name in methods
    }


def _occurrences(
    cat: Any, counted: Sequence[Mapping[float, Sequence[Any]]], groups: Mapping[str, slice]
) -> dict[str, Any]:
    def score(tables: Sequence[Any], name: str = "CSI") -> float:
        merged = functools.reduce(cat.det_cat_fct_merge, tables[1:], copy.deepcopy(tables[0]))  # changes the first
        with np.errstate(invalid="ignore", divide="ignore"):  # nothing was forecast or observed
            return float(cat.det_cat_fct_compute(merged, name)[name])

    out: dict[str, Any] = {}
    for t in THRESHOLDS:
        frames = [[w[t][k] for w in counted] for k in range(len(counted[0][t]))]
        out[f"CSI {t:g}"] = {
            g: score([table for frame in frames[part] for table in frame]) for g, part in groups.items()
        }
        out[f"CSI {t:g} by window"] = [{g: score(w[t][part]) for g, part in groups.items()} for w in counted]
        out[f"CSI {t:g} by frame"] = [score(f) for f in frames]
        out[f"frequency bias {t:g} by frame"] = _numbers([score(f, "BIAS") for f in frames])
    return out


def _fractions(
    spatial: Any, predicted: Any, truth: Any, groups: Mapping[str, slice]
) -> dict[str, dict[str, float | None]]:
    """Returns the FSS of a window by threshold, scale and group of lead times; None if no pixel reaches a threshold."""
    out: dict[str, dict[str, float | None]] = {}
    for t, (name, pixels) in itertools.product(THRESHOLDS, FRACTIONS.items()):
        for group, part in {**groups, HOUR: slice(None)}.items():
            score = spatial.fss_init(t, pixels)
            for frame, observed in zip(predicted[part], truth[part], strict=True):
                spatial.fss_accum(score, frame, observed)
            is_dry = score["sum_fct_sq"] + score["sum_obs_sq"] == 0
            out.setdefault(f"{t:g}, {name}", {})[group] = None if is_dry else float(spatial.fss_compute(score))
    return out


def _errors(cont: Any, erred: Sequence[Sequence[Any]]) -> dict[str, Any]:
    n = np.array([[e["n"] for e in w] for w in erred], dtype=float)
    mse = np.array([[float(cont.det_cont_fct_compute(e, "MSE")["MSE"]) for e in w] for w in erred])
    predicted = np.array([[float(e["mpred"]) for e in w] for w in erred])
    came = np.array([[float(e["mobs"]) for e in w] for w in erred])
    with np.errstate(invalid="ignore", divide="ignore"):  # without rain
        bias = (predicted * n).sum(0) / (came * n).sum(0)
    return {
        "MSE": float((mse * n).sum() / n.sum()),
        "MSE by window": _numbers((mse * n).sum(1) / n.sum(1)),
        "MSE by frame": _numbers((mse * n).sum(0) / n.sum(0)),
        "bias by frame": _numbers(bias),
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
    methods: Mapping[str, Ensemble], frames: Tensor, minutes: float = 5.0, every: float = 30.0
) -> dict[str, Any]:
    """Scores ensembles of equally likely rates.

    A pixel is scored if it is known in the truth, in the last input frame and in every member of every method. The
    arguments are those of :func:`verify`. The CRPS is pysteps': it is that of the members as they are, which are
    quantiles at each pixel for a nowcast by probabilities (:func:`~convrnn_zoo.verify.losses.quantile_crps`) and random
    for STEPS. It is not the fair score, which only suits random members, so compare ensembles of one size.

    Returns:
        Scores of each method by name, as in :func:`verify`. ``"CRPS by frame"`` and ``"CRPS by window"`` are in mm/h.
        Each of :data:`SUMMARIES` also has a CRPS by window, in which unknown pixels count as dry. Brier scores are
        ``"Brier 0.5 by frame"`` and ``"Brier 0.5 by window"``. ``"reliability 0.5"`` has the mean forecast and the
        observed frequency in ten classes of probability. ``"reliability error 0.5 by window"`` is the mean squared
        difference between forecast and frequency. ``"power 4–16 km at 30 and 60 min"`` is the mean spectral power of
        the members in a band of wavelengths, divided by the power of the truth.
    """
    prob, spectral = quiet_pysteps("verification.probscores"), quiet_pysteps("utils.spectral")
    power: dict[str, list[Any]] = {name: [] for name in (*methods, "truth")}
    spectra = [int(lead // minutes) - 1 for lead in SPECTRA]
    summarized: dict[tuple[str, str], list[float]] = {}
    crps: dict[str, list[list[Any]]] = {name: [] for name in methods}  # windows of frames, as is the next
    brier: dict[tuple[str, float], list[list[float]]] = {}
    diagrams: dict[tuple[str, float], Any] = {}
    errors: dict[tuple[str, float], list[float]] = {}
    for window in windows_of_hours(frames, minutes, every):
        horizon = len(window.truth)
        predicted = {name: method(window.inputs, horizon) for name, method in methods.items()}
        known = window.truth.isfinite() & window.inputs[-1].isfinite()
        for members in predicted.values():
            known = known & members.isfinite().all(0)
        power["truth"].append([spectrum(spectral, window.truth[k].where(known[k], 0).numpy()) for k in spectra])
        for name, members in predicted.items():
            member_maps = [members[:, k].where(known[k], 0).numpy() for k in spectra]
            power[name].append([np.mean([spectrum(spectral, member) for member in maps], 0) for maps in member_maps])
            for key, summarize in SUMMARIES.items():
                summary, truth = (summarize(x.where(known, 0).double()) for x in (members, window.truth))
                score = prob.CRPS_init()
                prob.CRPS_accum(score, summary.flatten(1).numpy(), truth.flatten().numpy())
                summarized.setdefault((name, key), []).append(float(prob.CRPS_compute(score)))
            pairs = [
                (members[:, k][:, known[k]].double().numpy(), window.truth[k][known[k]].double().numpy())
                for k in range(horizon)
            ]
            scores = [prob.CRPS_init() for _ in pairs]
            for score, (x, truth) in zip(scores, pairs, strict=True):
                prob.CRPS_accum(score, x, truth)
            crps[name].append(scores)
            for t in THRESHOLDS:
                chances = [((x >= t).mean(0), truth >= t) for x, truth in pairs]
                brier.setdefault((name, t), []).append([float(((p - wet) ** 2).mean()) for p, wet in chances])
                diagram = diagrams.setdefault((name, t), prob.reldiag_init(t, n_bins=10, min_count=10))
                for (p, _), (_, truth) in zip(chances, pairs, strict=True):
                    prob.reldiag_accum(diagram, p, truth)
                chance, occurred = (np.concatenate(arrays) for arrays in zip(*chances, strict=True))
                errors.setdefault((name, t), []).append(_reliability_error(chance, occurred))
    out: dict[str, Any] = {}
    ratio = _power_ratios(power)
    for name in methods:
        sums = np.array([[[score["CRPS_sum"], score["n"]] for score in scores] for scores in crps[name]])
        out[name] = {
            "CRPS by frame": _numbers(sums.sum(0)[:, 0] / sums.sum(0)[:, 1]),
            "CRPS by window": _numbers(sums.sum(1)[:, 0] / sums.sum(1)[:, 1]),
            **{f"{key} by window": summarized[name, key] for key in SUMMARIES},
            **ratio[name],
        }
        for t in THRESHOLDS:
            out[name][f"Brier {t:g} by frame"] = _numbers(np.mean(brier[name, t], 0))
            out[name][f"Brier {t:g} by window"] = _numbers(np.mean(brier[name, t], 1))
            with np.errstate(invalid="ignore", divide="ignore"):
                forecast, observed = prob.reldiag_compute(diagrams[name, t])
            out[name][f"reliability {t:g}"] = {"forecast": _numbers(forecast), "observed": _numbers(observed)}
            out[name][f"reliability error {t:g} by window"] = errors[name, t]
    return out


def _reliability_error(p: Any, wet: Any, classes: int = 10) -> float:
    """Returns the mean squared difference of forecast probability and observed frequency, over equally wide classes."""
    index = np.minimum((p * classes).astype(int), classes - 1)
    counts, forecast, observed = (np.bincount(index, values, classes) for values in (None, p, wet))
    return float(((forecast - observed) ** 2 / np.maximum(counts, 1)).sum() / len(p))


def _numbers(values: Any) -> Any:
    """Converts numbers for JSON, with None for NaN."""
    return finite(np.asarray(values, dtype=float).tolist())
