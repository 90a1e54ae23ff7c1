"""How fast the layers are, and how much memory they take, beside other ways to compute the same thing.

``python -m benchmarks`` times inference and a training step over a list of shapes, every scheme in turn in one
process, and writes a table (Markdown), the numbers (JSON) and a chart (PNG). :mod:`benchmarks.peers` tells how to
enter a scheme of one's own, or the layers of another checkout of this project.
"""
