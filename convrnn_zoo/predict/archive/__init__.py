"""Forecasts of complete archives: issue times as tasks, written to one Zarr store, and their scores."""

from .run import forecast_archive
from .scores import ArchiveScores, score_archive

__all__ = ["ArchiveScores", "forecast_archive", "score_archive"]
