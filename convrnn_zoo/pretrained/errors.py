"""The one family of errors about weights and where they come from."""


class ConvRNNHubError(Exception):
    """Weights or a repository that cannot be had, read, saved or pushed.

    Two kinds: :class:`WeightsError`, also a ValueError, for what was had and is wrong, and
    :class:`HubAccessError`, also an OSError, for what could not be had or written.

    Example:
        >>> issubclass(WeightsError, ValueError), issubclass(HubAccessError, OSError)
        (True, True)
    """


class WeightsError(ConvRNNHubError, RuntimeError, ValueError):
    """Weights, a config or a card that are missing, broken, or not of this model."""


class HubAccessError(ConvRNNHubError, OSError):
    """A repository, revision or file that could not be reached, read or written."""
