"""Further accuracies of classifiers of Digit Motion: for digits, for directions, and without the order of frames.

``python -m references.digit_motion RECIPE --data DIR -o run --weights-dir weights`` trains RECIPE as ``convrnn-zoo
train`` does. It also trains another network on the middle frame of each clip, which shows the digit but not the
direction. The metadata receive the accuracy of this network, and further accuracies of the weights: on clips played
backwards, for the digit only, for the direction only, and on the clips of each digit.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from convrnn_zoo import Metric, from_pretrained
from convrnn_zoo.cli._options import output_directory
from convrnn_zoo.data import Labelled
from convrnn_zoo.data.datasets.labelled_sequences import LazySequences
from convrnn_zoo.data.datasets.moving_mnist import DIRECTIONS, DigitMotion
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import accuracy, accuracy_interval, compute_logits, load_labelled, percent

from .classifiers import train_model, weights_option


def middle_frame(clip: Tensor) -> Tensor:
    """Returns the frame in the middle of a clip, as a clip of one frame."""
    return clip[len(clip) // 2][None]


def backwards(clip: Tensor) -> Tensor:
    """Returns the frames of a clip in reverse order."""
    return clip.flip(0)


def with_clips(data: Labelled, change: Callable[[Tensor], Tensor]) -> Labelled:
    """Returns labelled clips to which a function is applied when they are indexed."""
    return data._replace(sequences=LazySequences(data.sequences, change))


def measure_order(recipe: ClassifierRecipe, model: Any, parts: Sequence[Labelled], out: Path) -> dict[str, float]:
    """Returns accuracies, in per cent: of a network trained on middle frames, and of `model` on clips played backwards.

    The network is trained with the first seed of the recipe. `parts` are the training, test and validation splits.
    """
    frames = [with_clips(part, middle_frame) for part in parts]
    other = train_model(recipe, recipe.seed, frames, name="middle frame", checkpoint=out / "middle-frame.ckpt")
    middle = accuracy(other, frames[1], recipe.batch_size)
    reverse = accuracy(model, with_clips(parts[1], backwards), recipe.batch_size)
    return {"middle frame only": percent(middle), "frames in reverse order": percent(reverse)}


def measure_parts(model: Any, test: Labelled, split: str) -> list[Metric]:
    """Returns the accuracy of the digit, of the direction, and of both on the clips of each digit."""
    predicted, labels, count = compute_logits(model, test).argmax(1), test.labels, len(DIRECTIONS)
    parts = {
        "accuracy, digit only": predicted // count == labels // count,
        "accuracy, direction only": predicted % count == labels % count,
    }
    for digit in range(10):
        parts[f"accuracy, digit {digit}"] = (predicted == labels)[labels // count == digit]
    metrics = []
    for name, correct in parts.items():
        fraction = correct.float().mean().item()
        interval = accuracy_interval(fraction, len(correct))
        metrics.append(Metric(name, percent(fraction), DigitMotion.title, split, interval=interval))
    return metrics


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Directory of the files of MNIST.")
@output_directory("Directory of the runs.", required=True)
@weights_option
def main(recipe: str, data: Path, output: Path, into: Path) -> None:
    """Train RECIPE, measure further accuracies, and write the weights with all metrics."""
    loaded: Any = Recipe.read(recipe)
    if not isinstance(loaded.data, DigitMotion):
        raise click.UsageError(f"{recipe} is not a recipe of the data digit_motion")
    metadata: Any = train(loaded, data=data, out=output, into=into)
    parts = load_labelled(loaded, data, splits=("train", "test", "validation"))
    model = from_pretrained(str(into / f"{metadata.name}.json"))
    first = metadata.metrics[0]
    first = dataclasses.replace(first, baselines={**first.baselines, **measure_order(loaded, model, parts, output)})
    others = measure_parts(model, parts[1], first.split)
    dataclasses.replace(metadata, metrics=(first, *others)).save(into)


if __name__ == "__main__":
    main()
