"""From the name of a model to its weights: registry, configuration, download, safe loading. Knows no architecture."""
