"""Scores of forecasts and of classes, the losses that have gradients, baselines to compare with, and figures."""

from ._values import find_value_range, finite
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
    Evaluation,
    Occurrences,
    ProbabilityScores,
    Scores,
    average,
    better,
    ensemble_scores,
    evaluate,
    frame_scores,
    make_metrics,
    skill,
    split_known,
    with_units,
)

__all__ = [
    "FIGURES", "LOSSES", "Baseline", "Confusion", "Evaluation", "Loss", "Occurrences", "Panels", "ProbabilityScores",
    "Scores", "animate", "anvil", "average", "better", "choose_baselines", "count_confusions", "draw_confusion",
    "draw_losses", "draw_scores", "ensemble_scores", "ensemble_strip", "evaluate", "extrapolation", "fair_crps",
    "find_climatology", "find_loss", "find_value_range", "finite", "frame_scores", "last_frame", "linda",
    "make_metrics", "probability_strip", "quantile_crps", "save_images", "skill", "split_known", "sprog", "steps",
    "strip", "with_units", "write_confusion",
]  # fmt: skip
