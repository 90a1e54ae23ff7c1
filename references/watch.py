"""Shoulder exercises measured by a smartwatch: writes the data for the recipe `watch`, and scores a random forest.

``python -m references.watch write watch.npz`` cuts the recordings of ``seglearn.datasets.load_watch`` into windows of
four seconds that begin every two seconds; the last window of a recording may have two seconds only. A step is a fifth
of a second: a map of 10 samples with the 6 channels of the accelerometer (g) and the gyroscope (rad/s). The group of a
window is the person. ``convrnn-zoo train watch --data watch.npz`` trains the shipped weights, and ``python -m
references.classifiers watch --data watch.npz --groups …`` measures the accuracy on each person with a network that was
trained on the others.

``python -m references.watch forest`` measures those of a random forest on statistics of the same windows; with
``--weights-dir``, it adds them to the metadata of the weights.

Reference:
    Burns, D. M. et al. (2018). Shoulder physiotherapy exercise recognition: machine learning the inertial signals from
    a smartwatch. Physiological Measurement 39(7). https://doi.org/10.1088/1361-6579/aacfd9
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from convrnn_zoo import WeightsMetadata
from convrnn_zoo._extras import need
from convrnn_zoo.data.datasets.splits import assign_parts

WEIGHTS = "convgru1d_bi_2layer.watch_example"

NAMES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
SAMPLES, STEPS = 10, 20
"""Samples in a step, and steps in a window; there are 50 samples per second."""


class Windows(NamedTuple):
    """Windows ``(N, T, 6, 10)``, padded with zeros, their numbers of steps, exercises and persons."""

    x: Any
    lengths: Any
    labels: Any
    groups: Any


def cut_windows() -> Windows:
    """Returns all windows of all recordings."""
    data = need("seglearn.datasets", "data").load_watch()
    rows = []
    for signal, label, person in zip(data["X"], data["y"], data["subject"], strict=True):
        steps = signal[: len(signal) // SAMPLES * SAMPLES].reshape(-1, SAMPLES, 6).swapaxes(1, 2)
        for start in range(0, len(steps) - STEPS // 2 + 1, STEPS // 2):
            window = steps[start : start + STEPS]
            padded = np.pad(window, ((0, STEPS - len(window)), (0, 0), (0, 0)))
            rows.append((padded.astype("float32"), len(window), NAMES[data["y_labels"][label]], f"person {person:02}"))
    return Windows(*map(np.array, zip(*rows, strict=True)))


def describe(window: Any) -> Any:
    """Returns statistics ``(66,)`` of a window ``(T, 6, 10)``.

    They are the mean, standard deviation, extremes, quartiles, mean absolute difference of neighbours and strongest
    frequency of each channel, and the correlations of the channels.
    """
    signal = window.swapaxes(0, 1).reshape(6, -1)
    spectrum = np.abs(np.fft.rfft(signal - signal.mean(1, keepdims=True)))
    quartiles = np.percentile(signal, [0, 25, 50, 75, 100], axis=1)
    changes = np.abs(np.diff(signal)).mean(1)
    frequency = spectrum.argmax(1) / signal.shape[1]
    correlations = np.corrcoef(signal)[np.triu_indices(6, 1)]
    return np.concatenate([signal.mean(1), signal.std(1), *quartiles, changes, frequency, np.nan_to_num(correlations)])


@click.group()
def main() -> None:
    """Data and baseline of the recipe `watch`."""


@main.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
def write(output: Path) -> None:
    """Write the windows to the .npz file OUTPUT."""
    windows = cut_windows()
    np.savez_compressed(output, **windows._asdict())
    click.echo(f"{output}: {len(windows.labels):,} windows of {len(set(windows.groups))} persons")


def forest_accuracies(trees: int = 500, selected_on: Sequence[str] = ()) -> dict[str, float]:
    """Returns the accuracies of a random forest in per cent, by the names of the metrics of the weights.

    Of the metric "accuracy", training and test persons are those of ``split = "group"``. The persons `selected_on` are
    not in the mean over the persons.
    """
    ensemble, windows = need("sklearn.ensemble", "data"), cut_windows()
    statistics = np.stack([describe(x[:n]) for x, n in zip(windows.x, windows.lengths, strict=True)])

    def accuracy(persons: Sequence[str]) -> float:
        test = np.isin(windows.groups, persons)
        model = ensemble.RandomForestClassifier(trees, random_state=0).fit(statistics[~test], windows.labels[~test])
        return 100 * float(np.mean(model.predict(statistics[test]) == windows.labels[test]))

    persons = [str(person) for person in np.unique(windows.groups)]
    each = {person: accuracy([person]) for person in persons}
    unseen = float(np.mean([value for person, value in each.items() if person not in selected_on]))
    tested = [p for p, part in zip(persons, assign_parts(persons, "group"), strict=True) if part == "test"]
    scores = {"accuracy": accuracy(tested), "accuracy, unseen groups": unseen}
    scores |= {f"accuracy, {person} unseen": value for person, value in each.items()}
    return {name: round(value, 2) for name, value in scores.items()}


@main.command()
@click.option("--trees", default=500, show_default=True, help="Number of trees.")
@click.option("--selected-on", multiple=True, metavar="PERSON", help="Leave a person out of the mean.")
@click.option(
    "--weights-dir", "into", type=click.Path(path_type=Path), help="Directory of weights to add the scores to."
)
def forest(trees: int, selected_on: tuple[str, ...], into: Path | None) -> None:
    """Print the accuracies of a random forest, and add them to the metadata of the weights."""
    scores = forest_accuracies(trees, selected_on)
    for name, value in scores.items():
        click.echo(f"{name}: {value:g} %")
    if into is not None:
        metadata = WeightsMetadata.from_json((into / f"{WEIGHTS}.json").read_text(encoding="utf-8"))
        metrics = [
            dataclasses.replace(m, baselines={**m.baselines, "random forest": scores[m.name]}) for m in metadata.metrics
        ]
        dataclasses.replace(metadata, metrics=tuple(metrics)).save(into)


if __name__ == "__main__":
    main()
