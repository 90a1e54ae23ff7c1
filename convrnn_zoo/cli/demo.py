"""``convrnn-zoo demo``."""

from pathlib import Path

import click

from ..models import WEIGHTS, create_model
from ._classify import classify, load_arrays, read_sequences
from ._text import columns

NAME = "convlstm1d_bi_1layer.japanese_vowels"
HEADER = ("recording", "steps", "truth", "prediction", "probability", "")
SAMPLE = Path(__file__).parent.parent / "demo" / "japanese_vowels.npz"


def recordings() -> tuple[list[tuple[object, ...]], int]:
    """A row a recording of the demo, and how many were told right."""
    named, labels = read_sequences(SAMPLE), load_arrays(SAMPLE)["labels"]
    predictions = classify(create_model(NAME, pretrained=True), named)
    truths = [WEIGHTS[NAME].label_names[i] for i in labels]
    rows: list[tuple[object, ...]] = [
        (i, len(x), truth, p.label, f"{p.probability:.3f}", "" if p.label == truth else "wrong")
        for i, ((_, x), truth, p) in enumerate(zip(named, truths, predictions, strict=True))
    ]
    return rows, sum(row[-1] == "" for row in rows)


@click.command()
def demo() -> None:
    """Classify real test recordings of unequal length with a pretrained bidirectional ConvLSTM."""
    record = WEIGHTS[NAME]
    rows, right = recordings()
    click.echo(f"{NAME}: {record.description}\n")
    click.echo(columns(rows, header=HEADER))
    click.echo(f"\naccuracy {right}/{len(rows)} = {100 * right / len(rows):.1f} % of these recordings")
    click.echo(f"{record.metrics[0].value:g} % on the {record.metrics[0].split} of {record.dataset}")
