"""Mutated input for the readers of untrusted files. Not part of the package."""
