"""What is raised when a model is not exported."""

NO_STEP = "a bidirectional model reads a sequence from its end as well and has no step; export the sequence form"


class ExportError(ValueError):
    """This model cannot be exported so, or what was exported does not agree with it. No file was written."""
