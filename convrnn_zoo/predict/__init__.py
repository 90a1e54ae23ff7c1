"""Predictions of trained models for files: forecasts of frames with their labels, and classes of recordings.

The recipe in the metadata of the weights determines how files are read. Nothing here trains.
"""

from .files import forecast_files
from .forecast import NUMBERS, SUFFIXES, Forecast
from .labelled import to_dataset, write_dataset
from .options import ForecastOptions, resolve_preprocessing
from .recordings import (
    classify_files,
    draw_classes,
    draw_probabilities,
    draw_spots,
    spot_files,
    spot_words,
    stream_probabilities,
)

__all__ = [
    "NUMBERS",
    "SUFFIXES",
    "Forecast",
    "ForecastOptions",
    "classify_files",
    "draw_classes",
    "draw_probabilities",
    "draw_spots",
    "forecast_files",
    "resolve_preprocessing",
    "spot_files",
    "spot_words",
    "stream_probabilities",
    "to_dataset",
    "write_dataset",
]
