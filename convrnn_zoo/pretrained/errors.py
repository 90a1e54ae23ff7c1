"""Errors of weights and their sources."""


class ConvRNNHubError(Exception):
    """Base class of errors in loading, saving and pushing weights.

    :class:`WeightsError` is raised for invalid files, and is also a ValueError. :class:`HubAccessError` is raised for
    files that cannot be read, downloaded or pushed, and is also an OSError.

    Example:
        >>> issubclass(WeightsError, ValueError), issubclass(HubAccessError, OSError)
        (True, True)
    """


class WeightsError(ConvRNNHubError, RuntimeError, ValueError):
    """Error for weights, a config or a card that is missing, damaged or of another model."""


class HubAccessError(ConvRNNHubError, OSError):
    """Error for a repository, revision or file that cannot be reached, read or written."""
