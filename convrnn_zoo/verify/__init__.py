"""Losses of forecasts, and scores of trained models on datasets, with baselines to compare with and figures.

Recipes name the losses; training and predictions use the scores.
"""

from .baselines import (
    Baseline,
    anvil,
    choose_baselines,
    extrapolation,
    find_climatology,
    last_frame,
    linda,
    sprog,
    steps,
)
from .confusion import Confusion, count_confusions, draw_confusion, write_confusion
from .evaluation import Evaluation, Scores, average, better, evaluate, make_metrics, skill, with_units
from .figures import (
    FIGURES,
    Panels,
    animate,
    draw_losses,
    draw_scores,
    ensemble_strip,
    probability_strip,
    save_images,
    strip,
)
from .losses import LOSSES, Loss, fair_crps, find_loss, quantile_crps
from .metrics import (
    METRICS,
    MetricInfo,
    Occurrences,
    ProbabilityScores,
    ensemble_scores,
    find_metric,
    find_value_range,
    finite,
    frame_scores,
)

__all__ = [
    "FIGURES",
    "LOSSES",
    "METRICS",
    "Baseline",
    "Confusion",
    "Evaluation",
    "Loss",
    "MetricInfo",
    "Occurrences",
    "Panels",
    "ProbabilityScores",
    "Scores",
    "animate",
    "anvil",
    "average",
    "better",
    "choose_baselines",
    "count_confusions",
    "draw_confusion",
    "draw_losses",
    "draw_scores",
    "ensemble_scores",
    "ensemble_strip",
    "evaluate",
    "extrapolation",
    "fair_crps",
    "find_climatology",
    "find_loss",
    "find_metric",
    "find_value_range",
    "finite",
    "frame_scores",
    "last_frame",
    "linda",
    "make_metrics",
    "probability_strip",
    "quantile_crps",
    "save_images",
    "skill",
    "sprog",
    "steps",
    "strip",
    "with_units",
    "write_confusion",
]
