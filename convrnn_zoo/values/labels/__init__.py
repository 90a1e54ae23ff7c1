"""Labelled frames: their normal form, and its inverse, which labels a forecast.

A Dataset in normal form has one variable per channel with the dimensions ``([realization,] time, [channel,] y, x)``:
decoded numbers, NaN where missing. Static maps ``(y, x)`` and series ``(time,)`` may be variables, too. The first row
is the northernmost and the first column the westernmost, if the coordinates state positions. Coordinates are those of
the source; `time` has dates of NumPy or cftime (UTC), or times since an unknown date.
"""
