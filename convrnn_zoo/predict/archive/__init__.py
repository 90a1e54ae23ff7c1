"""Forecasts of complete archives: issue times as tasks, written to one Zarr store."""

from .run import forecast_archive

__all__ = ["forecast_archive"]
