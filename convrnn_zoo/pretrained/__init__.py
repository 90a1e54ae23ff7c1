"""Registry of models, and configuration, download and safe loading of their weights."""
