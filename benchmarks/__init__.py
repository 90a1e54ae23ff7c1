"""Benchmarks of speed and memory against other implementations of the same layers.

``python -m benchmarks`` times inference and a training step over a list of shapes. All implementations take turns in
one process. It writes a table (Markdown), the numbers (JSON) and a chart (PNG). :mod:`benchmarks.peers` describes how
to add another implementation, or the layers of another checkout of this project.
"""
