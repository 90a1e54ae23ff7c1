"""Tables of the scores of the shipped nowcast on the test events, for :mod:`tools.docs`."""

from collections.abc import Callable
from functools import cache
from statistics import fmean
from textwrap import wrap
from typing import Any

from benchmarks.tables import markdown, table
from references.nowcast.calibration import MIN_PIXELS, worst_difference
from references.nowcast.intervals import ALL, Comparison, compare, find_baselines

from .. import recorded

NOWCASTS = "tools/nowcasts.json"
"""Scores of the shipped nowcast by test event, from ``python -m references.nowcast.evaluate --members 20 --json``."""
CALIBRATION = "tools/nowcast_calibration.json"
"""Results of ``python -m references.nowcast.calibration convgru_advection.nowcast``."""
THRESHOLDS = ("0.5", "2", "5")
METHODS = ("forecast", "STEPS")


@cache
def events() -> list[Any]:
    """Returns the scores of each event."""
    return list(recorded(NOWCASTS).values())


@cache
def _comparisons() -> list[Comparison]:
    return list(compare({event["title"]: event for event in events()}))


# ---- forecasts ---------------------------------------------------------------------------------------------------
def _csi(event: Any, threshold: str, group: str) -> tuple[float, str, float]:
    """Returns the CSI of the nowcast, and the best baseline with its CSI."""
    scores = {name: event[name][f"CSI {threshold}"][group] for name in ("forecast", *find_baselines(event))}
    ours = scores.pop("forecast")
    return ours, *max(scores.items(), key=lambda item: item[1])


def _mse(event: Any) -> tuple[float, str, float]:
    """Returns the MSE of the nowcast, and the best baseline with its MSE, relative to the MSE of extrapolation."""
    errors = {n: event[n]["MSE"] / event["extrapolation"]["MSE"] for n in ("forecast", *find_baselines(event))}
    ours = errors.pop("forecast")
    return ours, *min(errors.items(), key=lambda item: item[1])


def nowcasts(page: str) -> str:
    """Lists CSI and MSE of the nowcast weights and of the best baseline, per event and group of lead times."""
    columns: dict[str, Any] = {"event": "{title}", "lead time": "{group}"}
    for t in THRESHOLDS:
        columns[f"CSI {t} mm/h (best baseline)"] = lambda e, t=t: "{:.3f} ({} {:.3f})".format(*_csi(e, t, e["group"]))
    columns["MSE / extrapolation's (best baseline)"] = lambda e: (
        "{:.2f} ({} {:.2f})".format(*_mse(e)) if e["group"] == next(iter(e["forecast"]["CSI 0.5"])) else ""
    )
    return table([{**event, "group": group} for event in events() for group in event["forecast"]["CSI 0.5"]], columns)


def _compared() -> tuple[list[float], list[float]]:
    """Returns the differences in CSI, and the ratios in MSE, between the nowcast and the best baseline."""
    csi = (_csi(e, t, group) for e in events() for group in e["forecast"]["CSI 0.5"] for t in THRESHOLDS)
    return [ours - best for ours, _, best in csi], [ours / best for ours, _, best in map(_mse, events())]


def nowcast_meaning() -> str:
    """Describes the scores in a sentence for readers who know none of them."""
    gains, mse = _compared()
    return (
        f"{100 - 100 * fmean(mse):.0f} % less squared error than the best method of pysteps; CSI (hits) "
        f"at least as good in {sum(g >= 0 for g in gains)} of {len(gains)} comparisons"
    )


def nowcast_summary(page: str) -> str:
    """Counts the groups of events, thresholds and lead times in which the nowcast reaches the best baseline."""
    gains, mse = _compared()
    text = (
        f"The CSI is at least that of the best baseline in {sum(g >= 0 for g in gains)} of {len(gains)} groups of "
        f"events, thresholds and lead times. The mean difference is {fmean(gains):+.3f}, the lowest {min(gains):+.3f}. "
        f"The MSE is {min(mse):.2f} to {max(mse):.2f} of that of the best baseline, {fmean(mse):.2f} on average."
    )
    for title, key in (("CRPS", "CRPS"), *((f"Brier score of {t} mm/h", f"Brier {t}") for t in THRESHOLDS)):
        ratios = [_mean(e, "forecast", key) / _mean(e, "STEPS", key) for e in events()]
        text += f" The {title} is {fmean(ratios):.2f} of STEPS', at worst {max(ratios):.2f}."
    return "\n".join(wrap(text.replace("-0.", "−0."), 120))


def fractions(page: str) -> str:
    """Lists differences in FSS between the nowcast and the best baseline, and counts better and worse events."""
    known = [c for c in _comparisons() if c.score.startswith("FSS")]
    single = [c.difference for c in known if c.event != ALL]
    better, worse = (sum(s * d.mean > 0 and d.is_distinguishable for d in single) for s in (1, -1))
    lines = _differences(
        [c for c in known if c.event == ALL],
        {"scale": lambda c: c.score.partition(", ")[2], "lead time": lambda c: c.group},
        lambda c: f"{c.score.partition(', ')[0]} mm/h",
    )
    return f"{lines} Of the {len(single)} differences of single events, {better} are better and {worse} worse."


def intervals(page: str) -> str:
    """Lists the differences between the CSI of the nowcast and of the best baseline with their intervals."""
    known = [c for c in _comparisons() if c.score in [f"CSI {t}" for t in THRESHOLDS]]
    keys = {"event": lambda c: c.event, "lead time": lambda c: c.group}
    return _differences(known, keys, lambda c: f"{c.score} mm/h")


def _differences(known: list[Comparison], keys: dict[str, Any], title: Callable[[Comparison], str]) -> str:
    """Lists differences with their intervals, a row for each of `keys` and a column for each title."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for c in sorted(known, key=lambda c: (c.event == ALL, c.event)):
        text = str(c.difference).replace("-", "−")
        cells = rows.setdefault(tuple(key(c) for key in keys.values()), {})
        cells[title(c)] = f"**{text}**" if c.difference.is_distinguishable else text
    header = (*keys, *next(iter(rows.values())))
    return (
        f"{markdown(header, [(*key, *cells.values()) for key, cells in rows.items()])}\n\nBold intervals exclude zero."
    )


# ---- members and probabilities -----------------------------------------------------------------------------------
def _mean(event: Any, method: str, score: str) -> float:
    return fmean(event["ensembles"][method][f"{score} by window"])


def ensembles(page: str) -> str:
    """Lists CRPS, Brier scores and reliability errors of the nowcast, and the differences from those of STEPS."""
    names = ["CRPS", "CRPS of the hour", "CRPS in 20 km"]
    names += [f"{score} {t}" for score in ("Brier", "reliability error") for t in THRESHOLDS]
    columns: dict[str, Any] = {"event": "{title}"}
    for n in names:
        columns[f"{n} (STEPS)"] = lambda e, n=n: "{:.4f} ({:.4f})".format(*(_mean(e, m, n) for m in METHODS))
    known = [c for c in _comparisons() if c.score in names]
    differences = _differences(known, {"event": lambda c: c.event}, lambda c: c.score)
    return f"{table(events(), columns)}\n\nThe differences to STEPS with 95 % intervals:\n\n{differences}"


def spreads(page: str) -> str:
    """Lists the ratio of the spread to the error of the ensembles of the nowcast and of STEPS."""
    columns = {"event": "{title}"}
    for method, prefix in zip(METHODS, ("", "STEPS, "), strict=True):
        for group in events()[0]["forecast"]["CSI 0.5"]:
            columns[prefix + group] = f"{{ensembles[{method}][spread / error][{group}]:.2f}}"
    return table(events(), columns)


def spectra(page: str) -> str:
    """Lists the power of small scales in the forecast and in members, relative to the observed rain."""
    paths = {"forecast": ("forecast",), "members": ("ensembles", "forecast")}
    paths |= {"members of STEPS": ("ensembles", "STEPS"), "extrapolation": ("ensembles", "extrapolation")}
    columns = {"event": "{title}"}
    for title, (first, *rest) in paths.items():
        place = first + "".join(f"[{key}]" for key in (*rest, "power 4–16 km at 30 and 60 min"))
        columns[title] = f"{{{place}[0]:.2f}}, {{{place}[1]:.2f}}"
    return table(events(), columns)


def calibration(page: str) -> str:
    """Lists how far the observed frequencies are from the probabilities on regions and hours outside training."""
    rows = []
    for place, by_threshold in recorded(CALIBRATION).items():
        for threshold, diagram in by_threshold.items():
            bins = zip(*(diagram[k] for k in ("count", "forecast", "observed")), strict=True)
            shown = ", ".join(f"{f:.2f} ({o:.2f})" for n, f, o in bins if n >= MIN_PIXELS)
            worst = f"{worst_difference(diagram):+.3f}".replace("-0.", "−0.")
            rows.append((place, f"{threshold} mm/h", shown, worst))
    return markdown(("data", "threshold", "probability (observed frequency)", "largest difference"), rows)
