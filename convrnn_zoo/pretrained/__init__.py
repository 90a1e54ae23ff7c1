"""From a name to a model with its weights, and back: registry, configuration, download and safe loading."""
