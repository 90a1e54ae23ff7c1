"""Programs that generate documentation and measurements. They are not part of the package."""
