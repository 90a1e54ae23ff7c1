"""Conversion between data and tensors: preprocessing, log-mel, units, time steps and labels. Opens no files."""
