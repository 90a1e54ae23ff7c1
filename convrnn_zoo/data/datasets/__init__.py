"""Datasets of frame sequences and labelled sequences."""
