"""What is raised when a model is not exported."""


class ExportError(ValueError):
    """This model cannot be exported so, or what was exported does not agree with it. No file was written."""
