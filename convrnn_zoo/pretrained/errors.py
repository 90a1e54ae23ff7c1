"""Errors of weights and their sources."""


class ConvRNNHubError(Exception):
    """Base class of errors in loading, saving and pushing weights.

    :class:`WeightsError`, also a ValueError, is raised for invalid files, and :class:`HubAccessError`, also an OSError,
    for files that cannot be read, downloaded or pushed.

    Example:
        >>> issubclass(WeightsError, ValueError), issubclass(HubAccessError, OSError)
        (True, True)
    """


class WeightsError(ConvRNNHubError, RuntimeError, ValueError):
    """Weights, a config or a card are missing, damaged, or not those of the model."""


class HubAccessError(ConvRNNHubError, OSError):
    """A repository, revision or file cannot be reached, read or written."""
