"""Base classes and parts that the architectures share. Knows no architecture."""
