"""``convrnn-zoo demo``."""

from pathlib import Path

import click
import numpy as np

from ..models import WEIGHTS, create_model
from ._classify import classify, read_sequences
from ._text import columns

NAME = "convlstm1d_bi_1layer.japanese_vowels"
SAMPLE = Path(__file__).parent.parent / "demo" / "japanese_vowels.npz"


@click.command()
def demo() -> None:
    """Classify real test recordings of unequal length with a pretrained bidirectional ConvLSTM."""
    named, labels = read_sequences(SAMPLE), np.load(SAMPLE)["labels"]
    record = WEIGHTS[NAME]
    predictions = classify(create_model(NAME, pretrained=True), named)
    truths = [record.label_names[i] for i in labels]
    rows = [
        (i, len(x), truth, p.label, f"{p.probability:.3f}", "" if p.label == truth else "wrong")
        for i, ((_, x), truth, p) in enumerate(zip(named, truths, predictions, strict=True))
    ]
    right = sum(p.label == truth for p, truth in zip(predictions, truths, strict=True))
    click.echo(f"{NAME}: {record.description}\n")
    click.echo(columns(rows, header=("recording", "steps", "truth", "prediction", "probability", "")))
    click.echo(f"\naccuracy {right}/{len(rows)} = {100 * right / len(rows):.1f} % of these recordings")
    click.echo(f"{record.metrics[0].value:g} % on the {record.metrics[0].split} of {record.dataset}")
