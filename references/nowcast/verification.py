"""Verification of nowcasts on rain events with the scores of pysteps, by lead time and by window."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convrnn_zoo._extras import need
from convrnn_zoo.train._values import finite

from .events import quiet_pysteps

Nowcast = Callable[[Tensor, int], Tensor]
"""Frames ``(T, H, W)`` in mm/h to rates ``(horizon, H, W)``."""
Ensemble = Callable[[Tensor, int], Tensor]
"""The same to ``(members, horizon, H, W)``."""

THRESHOLDS = (0.5, 2.0, 5.0)
GROUPS = {"5–15 min": slice(0, 3), "20–30 min": slice(3, 6), "35–60 min": slice(6, 12)}
"""Groups of lead times, for frames five minutes apart."""
SCALES = {"4–16 km": (4, 16), "16–64 km": (16, 64)}
"""Wavelengths over which the power spectra of forecast and observation are compared."""
SPECTRA = (5, 11)
"""Frames whose spectra are compared, counted from 0."""

np: Any = need("numpy", "cli")


class Window(NamedTuple):
    """Input frames and the observed frames that follow, ``(T, H, W)`` in mm/h."""

    inputs: Tensor
    truth: Tensor


def windows(frames: Tensor, inputs: int = 4, horizon: int = 12, every: int = 6) -> Iterator[Window]:
    """Yields the windows of an event, one every `every` frames.

    Example:
        >>> [float(w.inputs[0, 0, 0]) for w in windows(torch.arange(30.0).reshape(30, 1, 1))]
        [0.0, 6.0, 12.0]
    """
    for start in range(0, len(frames) - inputs - horizon + 1, every):
        window = frames[start : start + inputs + horizon]
        yield Window(window[:inputs], window[inputs:])


def last_frame(frames: Tensor, horizon: int) -> Tensor:
    """Repeats the last frame."""
    return frames[-1:].expand(horizon, -1, -1)


def verify(methods: Mapping[str, Nowcast], frames: Tensor, every: int = 6) -> dict[str, Any]:
    """Scores nowcasts of one event.

    A pixel is scored if the observation and the last input frame are known. Pixels that a method leaves unknown there
    are taken as dry. CSI and frequency bias are over all pixels of all windows, and CSI also of each window.

    Returns:
        Of each method a dictionary: ``"CSI 0.5"`` and so on by group of lead times, ``"CSI 0.5 by window"`` a list of
        such, ``"CSI 0.5 by frame"``, ``"frequency bias 0.5 by frame"``, ``"MSE"``, and by frame, ``"bias by frame"``
        (mean forecast over mean truth), and the power at scales as a part of the truth's, ``"power 4–16 km at …"``.
    """
    cat, cont = quiet_pysteps("verification.detcatscores"), quiet_pysteps("verification.detcontscores")
    spectral = quiet_pysteps("utils.spectral")
    tables: dict[str, list[Any]] = {name: [] for name in methods}
    errors: dict[str, list[Any]] = {name: [] for name in methods}
    power: dict[str, list[Any]] = {name: [] for name in (*methods, "truth")}
    for window in windows(frames, every=every):
        horizon = len(window.truth)
        unknown = ~window.inputs[-1].isfinite()
        truth = window.truth.masked_fill(unknown, torch.nan).double().numpy()
        spectra = [k for k in SPECTRA if k < horizon]
        power["truth"].append([spectrum(spectral, truth[k]) for k in spectra])
        for name, method in methods.items():
            predicted = np.where(np.isnan(truth), np.nan, method(window.inputs, horizon).nan_to_num(0).double().numpy())
            counted = {t: [cat.det_cat_fct_init(t) for _ in range(horizon)] for t in THRESHOLDS}
            erred = [cont.det_cont_fct_init() for _ in range(horizon)]
            for k in range(horizon):
                cont.det_cont_fct_accum(erred[k], predicted[k], truth[k])
                for t in THRESHOLDS:
                    cat.det_cat_fct_accum(counted[t][k], predicted[k], truth[k])
            tables[name].append(counted)
            errors[name].append(erred)
            power[name].append([spectrum(spectral, predicted[k]) for k in spectra])
    of_truth = np.array(power["truth"]).mean(0)  # (frame, band)
    return {
        name: {
            **_occurrences(cat, tables[name]),
            **_errors(cont, errors[name]),
            **{
                f"power {band} at frames 6 and 12": _numbers(np.array(power[name]).mean(0)[:, i] / of_truth[:, i])
                for i, band in enumerate(SCALES)
            },
        }
        for name in methods
    }


def _occurrences(cat: Any, counted: Sequence[Mapping[float, Sequence[Any]]]) -> dict[str, Any]:
    def merged(tables: Sequence[Any]) -> Any:  # merging changes the first
        return functools.reduce(cat.det_cat_fct_merge, tables[1:], copy.deepcopy(tables[0]))

    def csi(tables: Sequence[Any]) -> float:
        return float(cat.det_cat_fct_compute(merged(tables), "CSI")["CSI"])

    out: dict[str, Any] = {}
    for t in THRESHOLDS:
        frames = [[w[t][k] for w in counted] for k in range(len(counted[0][t]))]
        out[f"CSI {t:g}"] = {g: csi([table for frame in frames[part] for table in frame]) for g, part in GROUPS.items()}
        out[f"CSI {t:g} by window"] = [{g: csi(list(w[t][part])) for g, part in GROUPS.items()} for w in counted]
        out[f"CSI {t:g} by frame"] = [csi(f) for f in frames]
        bias = [float(cat.det_cat_fct_compute(merged(f), "BIAS")["BIAS"]) for f in frames]
        out[f"frequency bias {t:g} by frame"] = _numbers(bias)
    return out


def _errors(cont: Any, erred: Sequence[Sequence[Any]]) -> dict[str, Any]:
    n = np.array([[e["n"] for e in w] for w in erred], dtype=float)
    mse = np.array([[float(cont.det_cont_fct_compute(e, "MSE")["MSE"]) for e in w] for w in erred])
    predicted = np.array([[float(e["mpred"]) for e in w] for w in erred])
    came = np.array([[float(e["mobs"]) for e in w] for w in erred])
    return {
        "MSE": float((mse * n).sum() / n.sum()),
        "MSE by window": _numbers((mse * n).sum(1) / n.sum(1)),
        "MSE by frame": _numbers((mse * n).sum(0) / n.sum(0)),
        "bias by frame": _numbers((predicted * n).sum(0) / (came * n).sum(0)),
    }


def spectrum(spectral: Any, frame: Any) -> list[float]:
    """The power of a frame of 2 km pixels in each band of :data:`SCALES`, radially averaged."""
    power, frequency = spectral.rapsd(np.nan_to_num(frame), fft_method=np.fft, return_freq=True, d=2.0)
    with np.errstate(divide="ignore"):
        length = 1 / frequency
    return [float(power[(length >= low) & (length < high)].sum()) for low, high in SCALES.values()]


def verify_ensembles(methods: Mapping[str, Ensemble], frames: Tensor, every: int = 6) -> dict[str, Any]:
    """CRPS in mm/h and Brier scores by frame, and reliability, of ensembles of equally likely rates.

    A pixel counts where the truth is known and every member of every method.
    """
    prob = quiet_pysteps("verification.probscores")
    crps: dict[str, list[Any]] = {}
    brier: dict[tuple[str, float], list[list[float]]] = {}
    diagrams: dict[tuple[str, float], Any] = {}
    for window in windows(frames, every=every):
        horizon = len(window.truth)
        predicted = {name: method(window.inputs, horizon) for name, method in methods.items()}
        known = window.truth.isfinite() & window.inputs[-1].isfinite()
        for members in predicted.values():
            known = known & members.isfinite().all(0)
        for name, members in predicted.items():
            scores = crps.setdefault(name, [prob.CRPS_init() for _ in range(horizon)])
            for k in range(horizon):
                x = members[:, k][:, known[k]].double().numpy()
                truth = window.truth[k][known[k]].double().numpy()
                prob.CRPS_accum(scores[k], x, truth)
                for t in THRESHOLDS:
                    p = (x > t).mean(0)
                    error = float(((p - (truth > t)) ** 2).mean())
                    brier.setdefault((name, t), [[] for _ in range(horizon)])[k].append(error)
                    diagram = diagrams.setdefault((name, t), prob.reldiag_init(t, n_bins=10, min_count=10))
                    prob.reldiag_accum(diagram, p, truth)
    out: dict[str, Any] = {}
    for name in methods:
        out[name] = {"CRPS by frame": [float(prob.CRPS_compute(c)) for c in crps[name]]}
        for t in THRESHOLDS:
            out[name][f"Brier {t:g} by frame"] = [float(np.mean(b)) for b in brier[name, t]]
            with np.errstate(invalid="ignore", divide="ignore"):
                forecast, observed = prob.reldiag_compute(diagrams[name, t])
            out[name][f"reliability {t:g}"] = {"forecast": _numbers(forecast), "observed": _numbers(observed)}
    return out


def _numbers(values: Any) -> Any:
    """Converts numbers for JSON, with None for NaN."""
    return finite(np.asarray(values, dtype=float).tolist())
