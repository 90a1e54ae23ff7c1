"""What the Hub's client, the network and the disk may throw, in words that say where, what, and what to do."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..models import ConvRNNHubError, HubAccessError, WeightsError

TRANSPORT: type[Exception] = [
    kind for kind in HfHubHTTPError.__mro__ if kind.__module__.split(".")[0] not in ("huggingface_hub", "builtins")
][-1]
"""The root of the HTTP library's errors. Which library it is depends on the client's version, and the client's own
error says it: requests below 1.0, httpx or its successor since."""
_UNREACHABLE = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "NewConnectionError",
    "NameResolutionError",
}
_TIMEOUT = {"TimeoutException", "Timeout", "TimeoutError"}
_UNANSWERED = {"RemoteProtocolError", "RemoteDisconnected"}


@dataclass(frozen=True)
class Where:
    """A file of a repository at a revision."""

    repo_id: str
    revision: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repo_id}{at}" + (f", {self.filename}" if self.filename else "")


def _kinds(error: BaseException | None) -> set[str]:
    """The names of the classes of an error and of what led to it: those that HTTP libraries share."""
    if error is None:
        return set()
    return {kind.__name__ for kind in type(error).__mro__} | _kinds(error.__cause__ or error.__context__)


def is_broken(error: BaseException) -> bool:
    """Whether a connection that stood broke off in mid-answer."""
    return isinstance(error, TRANSPORT) and not _kinds(error) & (_UNREACHABLE | _TIMEOUT | _UNANSWERED)


def _status(*codes: int) -> Callable[[Any], bool]:
    return lambda e: e.response.status_code in codes


def _errno(*codes: int) -> Callable[[Any], bool]:
    return lambda e: e.errno in codes


class _Row(NamedTuple):
    kind: type[BaseException] | tuple[type[BaseException], ...]
    happened: str
    cure: str
    applies: Callable[[Any], bool] = lambda e: True
    error: type[ConvRNNHubError] = HubAccessError


# The first row that applies is taken: the particular stand before the general.
_ROWS = (
    _Row(HFValidationError, "not the name of a repository ({error})",
         "write it as owner/name, or give a directory that exists", error=WeightsError),
    _Row(OfflineModeIsEnabled, "offline mode is on (HF_HUB_OFFLINE) and it is not in the cache",
         "unset HF_HUB_OFFLINE and load it once while online, or point HF_HOME to the cache that has it"),
    _Row(GatedRepoError, "the repository is gated and this account has no access yet",
         "ask for access at {endpoint}/{repo}, then log in with `hf auth login` or pass token="),
    _Row(DisabledRepoError, "the Hub has disabled the repository", "use another, or ask its owner"),
    _Row(RevisionNotFoundError, "the repository has no such branch, tag or commit",
         "correct the revision; {endpoint}/{repo}/commits/main lists the commits"),
    _Row(RepositoryNotFoundError, "no such repository, or a private one that this account may not see",
         "check the spelling; for a private one log in with `hf auth login` or pass token="),
    _Row(LocalEntryNotFoundError, "it is not in the cache and the Hub could not be asked ({error})",
         "check the connection, the proxy and HF_ENDPOINT, then run it again"),
    _Row(EntryNotFoundError, "the repository has no such file, so it holds no model that this zoo can read",
         "check the name; its author can push it with convrnn_zoo.push_to_hub. Pickled weights are never read"),
    _Row(HfHubHTTPError, "the Hub does not know the token (401)",
         "renew it with `hf auth login`, or unset HF_TOKEN: public repositories need none", _status(401)),
    _Row(HfHubHTTPError, "the token does not allow it (403)",
         "take one with the permission at {endpoint}/settings/tokens: read to load, write to push", _status(403)),
    _Row(HfHubHTTPError, "the Hub has had too many requests from here (429)",
         "wait some minutes and run it again; logging in raises the limit", _status(429)),
    _Row(HfHubHTTPError, "the repository has changed meanwhile (409, 412)", "run it again", _status(409, 412)),
    _Row(HfHubHTTPError, "the Hub failed ({error})",
         "run it again later; status.huggingface.co tells of outages", lambda e: e.response.status_code >= 500),
    _Row(HfHubHTTPError, "the Hub refused ({error})", "mend what it names and run it again"),
    _Row(FileMetadataError, "what answered is not a Hub ({error})", "check HF_ENDPOINT and the proxy"),
    _Row(TRANSPORT, "{endpoint} cannot be reached ({error})",
         "check the connection, the proxy and HF_ENDPOINT; what is in the cache loads without",
         lambda e: bool(_kinds(e) & _UNREACHABLE)),
    _Row(TRANSPORT, "the Hub did not answer in time ({error})",
         "run it again; HF_HUB_DOWNLOAD_TIMEOUT (seconds) allows it more", lambda e: bool(_kinds(e) & _TIMEOUT)),
    _Row(TRANSPORT, "the connection broke off ({error})", "run it again"),
    _Row(OSError, "no space is left ({error})", "free some, or set HF_HOME to a larger disk",
         _errno(errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    _Row(OSError, "the directory cannot be written ({error})",
         "set HF_HOME, or pass cache_dir=, to one that can", _errno(errno.EACCES, errno.EROFS, errno.EPERM)),
    _Row(OSError, "the download came incomplete ({error})", "run it again; nothing of it was kept",
         lambda e: "Consistency check failed" in str(e)),
    _Row(OSError, "the system failed ({error})", "mend what it names and run it again"),
    _Row((ValueError, RuntimeError), "the Hub's client refused ({error})", "mend what it names and run it again",
         error=WeightsError),
)  # fmt: skip
_TELLS_ITS_CAUSE = (LocalEntryNotFoundError, ValueError, RuntimeError)
CLIENT_ERRORS = (OSError, TRANSPORT, ValueError, RuntimeError)
"""What the client throws, be it told of the network, the disk, its arguments, or an upload that failed."""


def root_of(error: BaseException) -> BaseException:
    """What happened first: the client wraps it where it looked into the cache or was told to fetch anew."""
    cause = error.__cause__
    wraps = isinstance(error, _TELLS_ITS_CAUSE) and not isinstance(error, HfHubHTTPError)
    return root_of(cause) if wraps and isinstance(cause, OSError | TRANSPORT) else error


def explain(error: BaseException, where: Where) -> ConvRNNHubError:
    """The error of this package that tells of `error`."""
    root = root_of(error)
    row = next(r for r in _ROWS if isinstance(root, r.kind) and r.applies(root))
    words = {
        "error": " ".join(str(root).split())[:300] or type(root).__name__,
        "endpoint": constants.ENDPOINT,
        "repo": where.repo_id,
    }
    return row.error(f"{where}: {row.happened.format(**words)}; {row.cure.format(**words)}")


@contextmanager
def explained(where: Where) -> Iterator[None]:
    """Turns what is thrown within into errors of this package."""
    try:
        yield
    except ConvRNNHubError:
        raise
    except CLIENT_ERRORS as e:
        raise explain(e, where) from e
