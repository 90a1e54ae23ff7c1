"""Tables of the scores of the shipped nowcast on the test events, for :mod:`tools.docs`."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

from benchmarks.tables import markdown
from references.nowcast.calibration import MIN_PIXELS, worst_difference
from references.nowcast.intervals import ALL, Comparison, compare, find_baselines

NOWCASTS = Path(__file__).with_name("nowcasts.json")
"""Scores of the shipped nowcast by test event, from ``python -m references.nowcast.evaluate --members 20 --json``."""


CALIBRATION = Path(__file__).with_name("nowcast_calibration.json")
"""Results of ``python -m references.nowcast.calibration convgru_advection.nowcast``."""


@cache
def _events() -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(NOWCASTS.read_text(encoding="utf-8"))
    return scores


def nowcasts(page: str) -> str:
    """Lists CSI and MSE of the nowcast weights and of the best baseline, per event and group of lead times."""
    rows: list[tuple[object, ...]] = []
    for event in _events().values():
        ours, mse = event["forecast"], {name: event[name]["MSE"] for name in find_baselines(event)}
        best_mse = min(mse, key=mse.__getitem__)
        for i, group in enumerate(ours["CSI 0.5"]):
            csi = [f"{ours[k][group]:.3f} ({best} {event[best][k][group]:.3f})" for k, best in _best_csi(event, group)]
            ratio = f"{ours['MSE'] / mse['extrapolation']:.2f} ({best_mse} {mse[best_mse] / mse['extrapolation']:.2f})"
            rows.append((event["title"], group, *csi, "" if i else ratio))
    csi_columns = [f"CSI {t} mm/h (best baseline)" for t in ("0.5", "2", "5")]
    return markdown(("event", "lead time", *csi_columns, "MSE / extrapolation's (best baseline)"), rows)


def _best_csi(event: Mapping[str, Any], group: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each CSI and the best baseline for a group of lead times."""
    for key in ("CSI 0.5", "CSI 2", "CSI 5"):
        yield key, max(find_baselines(event), key=lambda name: event[name][key][group])


def _gains() -> list[float]:
    """Returns the differences in CSI from the best baseline, for all events, thresholds and lead times."""
    events = _events().values()
    groups = list(next(iter(events))["forecast"]["CSI 0.5"])
    return [e["forecast"][k][g] - e[best][k][g] for e in events for g in groups for k, best in _best_csi(e, g)]


def nowcast_meaning() -> str:
    """Describes the scores in a sentence for readers who know none of them."""
    ratio = fmean(e["forecast"]["MSE"] / min(e[name]["MSE"] for name in find_baselines(e)) for e in _events().values())
    gains = _gains()
    return (
        f"{100 - 100 * ratio:.0f} % less squared error than the best method of pysteps; CSI (hits) at least as good "
        f"in {sum(g >= 0 for g in gains)} of {len(gains)} comparisons"
    )


def nowcast_summary(page: str) -> str:
    """Counts the groups of events, thresholds and lead times in which the nowcast reaches the best baseline."""
    events, gains = list(_events().values()), _gains()
    mse = [e["forecast"]["MSE"] / min(e[name]["MSE"] for name in find_baselines(e)) for e in events]
    text = (
        f"The CSI is at least that of the best baseline in {sum(g >= 0 for g in gains)} of {len(gains)} groups of "
        f"events, thresholds and lead times. The mean difference is {fmean(gains):+.3f}, the lowest {min(gains):+.3f}. "
        f"The MSE is {min(mse):.2f} to {max(mse):.2f} of that of the best baseline, {fmean(mse):.2f} on average."
    )
    for title, key in (("CRPS", "CRPS"), *((f"Brier score of {t} mm/h", f"Brier {t}") for t in ("0.5", "2", "5"))):
        means = [[fmean(e["ensembles"][m][f"{key} by window"]) for m in ("forecast", "STEPS")] for e in events]
        ratios = [ours / theirs for ours, theirs in means]
        text += f" The {title} is {fmean(ratios):.2f} of STEPS', at worst {max(ratios):.2f}."
    return "\n".join(wrap(text.replace("-0.", "−0."), 120))


def spreads(page: str) -> str:
    """Lists the ratio of the spread to the error of the ensembles of the nowcast and of STEPS."""
    rows = [
        (
            e["title"],
            *(
                f"{e['ensembles'][m]['spread / error'][g]:.2f}"
                for m in ("forecast", "STEPS")
                for g in e["ensembles"][m]["spread / error"]
            ),
        )
        for e in _events().values()
    ]
    groups = list(next(iter(_events().values()))["forecast"]["CSI 0.5"])
    return markdown(("event", *(f"{m}{g}" for m in ("", "STEPS, ") for g in groups)), rows)


@cache
def _comparisons() -> tuple[Comparison, ...]:
    return tuple(compare(_events()))


def _differences(titles: Mapping[str, str]) -> str:
    """Lists differences of scores with their intervals, one column per score, and which intervals include zero."""
    shown = [c for c in _comparisons() if c.score in titles]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for c in sorted(shown, key=lambda c: (c.event == ALL, c.event)):
        rows.setdefault((c.event, c.group) if c.group else (c.event,), {})[c.score] = _signed(c)
    unclear = [
        f"* {', '.join(filter(None, (c.event, c.group, titles[c.score])))}"
        for c in shown
        if not c.difference.is_distinguishable
    ]
    header = ("event", *["lead time"] * any(c.group for c in shown), *titles.values())
    table = markdown(header, [(*key, *(cells[score] for score in titles)) for key, cells in rows.items()])
    return f"{table}\n\nNot distinguishable from zero:\n\n" + ("\n".join(unclear) or "* none")


def _signed(c: Comparison) -> str:
    return str(c.difference).replace("-", "−")


def intervals(page: str) -> str:
    """Lists the differences between the CSI of the nowcast and of the best baseline with their intervals."""
    return _differences({f"CSI {t}": f"CSI {t} mm/h" for t in ("0.5", "2", "5")})


def fractions(page: str) -> str:
    """Lists differences in FSS between the nowcast and the best baseline, and counts better and worse events."""
    shown = [c for c in _comparisons() if c.score.startswith("FSS")]
    rows: dict[tuple[str, str], list[str]] = {}
    for c in shown:
        if c.event == ALL:
            end = "" if c.difference.is_distinguishable else ", not distinguishable from zero"
            rows.setdefault((c.score.partition(", ")[2], c.group), []).append(_signed(c) + end)
    single = [c.difference for c in shown if c.event != ALL]
    better, worse = (sum(s * d.mean > 0 and d.is_distinguishable for d in single) for s in (1, -1))
    count = f"{better} are better, {worse} worse, and {len(single) - better - worse} not distinguishable from zero."
    header = ("scale", "lead time", *(f"FSS {t} mm/h" for t in ("0.5", "2", "5")))
    table = markdown(header, [(*key, *cells) for key, cells in rows.items()])
    return f"{table}\n\nOf the {len(single)} differences of single events, {count}"


def ensembles(page: str) -> str:
    """Lists CRPS, Brier scores and reliability errors of the nowcast, and the differences from those of STEPS."""
    rows: list[tuple[object, ...]] = []
    names = (
        "CRPS",
        "CRPS of the hour",
        "CRPS in 20 km",
        "Brier 0.5",
        "Brier 2",
        "Brier 5",
        *(f"reliability error {t}" for t in ("0.5", "2", "5")),
    )
    for event in _events().values():
        means = {m: [fmean(of[f"{n} by window"]) for n in names] for m, of in event["ensembles"].items()}
        pairs = zip(means["forecast"], means["STEPS"], strict=True)
        rows.append((event["title"], *(f"{a:.4f} ({b:.4f})" for a, b in pairs)))
    scores = markdown(("event", *(f"{n} (STEPS)" for n in names)), rows)
    differences = _differences({n: n for n in names})
    return f"{scores}\n\nThe differences to STEPS with 95 % intervals:\n\n{differences}"


def spectra(page: str) -> str:
    """Lists the power of small scales in the forecast and in members, relative to the observed rain."""
    key, rows = "power 4–16 km at 30 and 60 min", []
    for event in _events().values():
        ensembles = event["ensembles"]
        methods = (event["forecast"], ensembles["forecast"], ensembles["STEPS"], ensembles["extrapolation"])
        rows.append((event["title"], *(", ".join(f"{ratio:.2f}" for ratio in method[key]) for method in methods)))
    return markdown(("event", "forecast", "members", "members of STEPS", "extrapolation"), rows)


def calibration(page: str) -> str:
    """Lists how far the observed frequencies are from the probabilities on regions and hours outside training."""
    if not CALIBRATION.exists():
        return "Not measured yet; `python -m references.nowcast.calibration` writes this table."
    rows = []
    for place, by_threshold in json.loads(CALIBRATION.read_text(encoding="utf-8")).items():
        for threshold, diagram in by_threshold.items():
            bins = [
                f"{f:.2f} ({o:.2f})"
                for n, f, o in zip(*(diagram[k] for k in ("count", "forecast", "observed")), strict=True)
                if n >= MIN_PIXELS
            ]
            rows.append((place, f"{threshold} mm/h", ", ".join(bins), f"{worst_difference(diagram):+.3f}"))
    header = ("data", "threshold", "probability (observed frequency)", "largest difference")
    return markdown(header, [[str(cell).replace("-0.", "−0.") for cell in row] for row in rows])
