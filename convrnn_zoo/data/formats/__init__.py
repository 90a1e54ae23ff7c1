"""Formats of labelled frames: every function returns a Dataset of xarray, which `labelled_frames` brings to one form.

To add a format that no engine of xarray reads, write a module with a function ``(path) -> Dataset``.
"""
