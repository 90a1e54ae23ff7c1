"""``convrnn-zoo eval``."""

import json
import math
from pathlib import Path
from typing import Any

import click
import torch

from .._atomic import check_suffix, write_text
from ..data import FrameFiles
from ..models import Ensemble, Forecaster, ZooModel
from ..predict import resolve_preprocessing
from ..recipes import ClassifierRecipe, ForecasterRecipe, find_recipe
from ..train.classifier import evaluate_classifier
from ..train.forecaster import load_sequences
from ..train.task import warn_if_other_part
from ..verify import (
    FIGURES,
    Scores,
    average,
    better,
    draw_scores,
    evaluate,
    find_climatology,
    skill,
    with_units,
    write_confusion,
)
from ._options import (
    WEIGHTS_EPILOG,
    check_not_input,
    data_option,
    device_option,
    json_option,
    load_model,
    local_path,
    output_file,
    quiet_option,
    set_threads,
    threads_option,
)
from ._text import columns


@click.command("eval", epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@data_option
@click.option("--recipe", help="Recipe of the weights, by name or as a file [default: the one in their metadata].")
@click.option("--sequences", type=click.IntRange(min=1), help="Number of test sequences [default: as in the recipe].")
@output_file(
    "File to write; repeatable. Scores: .json. Figure of the scores by lead time, or of the confusion matrix of a "
    "classifier: .png, .svg. Counts of the confusion matrix: .csv.",
    name="outputs",
    multiple=True,
)
@click.option(
    "--members",
    "ensemble_size",
    type=click.IntRange(min=0),
    help="Number of ensemble members for CRPS, Brier scores and reliability [default: as in the recipe, or "
    "20 for a nowcast by probabilities].",
)
@click.option("--seed", type=int, help="Seed of the ensemble members [default: 0].")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    help="Baseline of a forecaster, such as 'last frame' or extrapolation; repeatable [default: all that apply].",
)
@json_option
@device_option
@threads_option
@quiet_option
def eval_weights(
    weights: str,
    data: Path | None,
    recipe: str | None,
    outputs: tuple[Path, ...],
    as_json: bool,
    device: torch.device,
    threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Evaluate WEIGHTS on the test split of their data, and compare them with baselines.

    The printed scores of a forecaster are means over pixels and lead times; the files and --json have one value per
    lead time. The baselines of rain include extrapolation, S-PROG, ANVIL and LINDA of pysteps, if it is installed: pip
    install 'convrnn-zoo[nowcast]'. The last table has the skill against the best baseline: 1 is perfect, and 0 is as
    good as the baseline. Models that forecast probabilities or ensembles are also scored by CRPS, Brier scores and
    reliability; for rain, STEPS of pysteps is one more baseline. The scores of a classifier are its accuracy, the
    recall of each class and the confusion matrix.

    \b
    convrnn-zoo eval run --data radar
    convrnn-zoo eval convgru_forecaster.moving_mnist --data mnist -o scores.json -o mse.png
    convrnn-zoo eval run --data clips -o confusion.png
    """
    options["baselines"] = options["baselines"] or None
    for output in outputs:
        check_suffix(output, (".json", *FIGURES, ".csv"))
        check_not_input(output, () if data is None else [data], local_path(weights))
    set_threads(threads)
    model = load_model(weights, quiet).to(device)
    scores, text = _evaluate_weights(model, weights, recipe, data, outputs, not quiet, options)
    for output in outputs:
        if output.suffix == ".json":
            write_text(output, scores)
    click.echo(scores if as_json else text, nl=not as_json)


def _evaluate_weights(
    model: ZooModel,
    weights: str,
    source: str | None,
    data: Any,
    outputs: tuple[Path, ...],
    progress: bool,
    options: dict[str, Any],
) -> tuple[str, str]:
    """Returns the scores of a model as JSON and as tables; writes figures and tables of them."""
    recipe, architecture = find_recipe(model, source), model.pretrained_cfg["architecture"]
    if recipe is None:
        raise ValueError(f"{weights} has no training metadata; pass its recipe with --recipe")
    if recipe.architecture != architecture:
        raise ValueError(f"the recipe trains {recipe.weights}, but {weights} is a {architecture}; pass its recipe")
    if isinstance(recipe, ClassifierRecipe):
        if any(value is not None for value in options.values()):
            raise ValueError(
                f"--sequences, --members, --seed, --baseline: only valid for forecasters; {weights} is a classifier"
            )
        return _evaluate_classifier(model, recipe, data, outputs, progress)
    if not (isinstance(model, Forecaster) and isinstance(recipe, ForecasterRecipe)):
        raise ValueError(f"{weights} is not the forecaster or classifier of its recipe; pass another with --recipe")
    resolve_preprocessing(model, weights, source, recipe)
    if options["seed"] is not None and not isinstance(model, Ensemble):
        raise ValueError(f"--seed: only valid for models with members; {weights} makes one forecast")
    options["seed"] = options["seed"] or 0
    return _evaluate_forecaster(model, recipe, data, outputs, progress=progress, **options)


def _evaluate_classifier(
    model: Any, recipe: ClassifierRecipe, data: Any, outputs: tuple[Path, ...], progress: bool
) -> tuple[str, str]:
    """Returns the scores of a classifier as JSON and as tables; writes the confusion matrix."""
    accuracies, matrix = evaluate_classifier(model, recipe, data, progress)
    for output in outputs:
        if output.suffix != ".json":
            write_confusion(matrix, output, f"{recipe.weights}: accuracy {accuracies['prediction']:.1f} %")
    scores = {**{k: {"accuracy": [v]} for k, v in accuracies.items()}, **matrix.to_json()}
    table = columns([("accuracy", *(f"{v:.2f} %" for v in accuracies.values()))], header=("", *accuracies))
    return json.dumps(scores, indent=2, ensure_ascii=False) + "\n", table


def _evaluate_forecaster(
    model: Forecaster, recipe: ForecasterRecipe, data: Any, outputs: tuple[Path, ...], **options: Any
) -> tuple[str, str]:
    """Returns the scores of a forecaster as JSON and as tables; writes figures of them."""
    for output in outputs:
        check_suffix(output, (".json", *FIGURES))
    recipe = with_units(recipe, model.preprocessing)
    dataset = recipe.data
    data = dataset.find_data(data) if isinstance(dataset, FrameFiles) else data
    has_dates = isinstance(dataset, FrameFiles) and data and all(f.is_dated for f in dataset.open(data))
    is_drawn = isinstance(dataset, FrameFiles) and isinstance(dataset.split, str)
    is_compared = is_drawn and model.metadata is not None and bool(model.metadata.training_part)
    parts = ["test", "train"] if has_dates or is_compared else ["test"]
    test, *train = load_sequences(recipe, data, parts)  # reads each file once
    if train:
        options["climatology"] = find_climatology(train[0], test)
        warn_if_other_part(model.metadata, dataset, train[0])
    evaluation = evaluate(model, recipe, test, **options)
    for output in outputs:
        if output.suffix in FIGURES:
            draw_scores(evaluation, output, f"{recipe.weights} on {recipe.data.title}", recipe.data.step)
    return evaluation.to_json(), format_scores(evaluation.scores)


def format_scores(scores: Scores) -> str:
    """Returns three tables of the metrics.

    The first has the mean of each metric for each method, the second the lead times at which the forecast is better,
    and the third the skill against the best baseline; see :func:`~convrnn_zoo.verify.skill`.

    If a score is undefined at some lead times, its mean states their number, such as "0.5 (9 of 12)". A baseline is
    averaged over the lead times at which the score of the forecast is defined.
    """
    others = [name for name in scores if name != "forecast"]
    rows = [
        (metric, *(str(average(by[metric], ours if average(ours).count else None)) for by in scores.values()))
        for metric, ours in scores["forecast"].items()
    ]
    compared = [(metric, *(better(scores, metric, b) for b in others)) for metric in scores["forecast"]]
    skills = [(metric, *skill(scores, metric)) for metric in scores["forecast"]]
    best = [(metric, name, "" if math.isnan(value) else f"{value:+.3f}") for metric, name, value in skills]
    return "\n\n".join(
        [
            columns(rows, header=("mean over lead times", *scores)),
            columns(compared, header=("forecast is better than", *others)),
            columns(best, header=("", "best baseline", "skill against it")),
        ]
    )
