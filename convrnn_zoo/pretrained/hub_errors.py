"""What the Hub's client, the network and the disk may throw, in words that say where, what, and what to do."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
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

from .errors import ConvRNNHubError, HubAccessError, WeightsError

TRANSPORT: type[Exception] = [
    kind for kind in HfHubHTTPError.__mro__ if kind.__module__.split(".")[0] not in ("huggingface_hub", "builtins")
][-1]
"""The root of the HTTP library's errors. Which library it is depends on the client's version, and the client's own
error says it: requests below 1.0, httpx or its successor since."""
CLIENT_ERRORS = (OSError, TRANSPORT, ValueError, RuntimeError)
"""What the client throws, be it told of the network, the disk, its arguments, or an upload that failed."""
UNREACHABLE = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "NewConnectionError"}
TIMEOUT = {"TimeoutException", "Timeout", "TimeoutError"}
CUT = {"RemoteProtocolError", "RemoteDisconnected", "IncompleteRead"}


@dataclass(frozen=True)
class Where:
    """A file of a repository at a revision."""

    repo_id: str
    revision: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repo_id}{at}" + (f", {self.filename}" if self.filename else "")


def kinds(error: BaseException | None) -> set[str]:
    """The names of the classes of an error and of what led to it: those that HTTP libraries share."""
    if error is None:
        return set()
    return {kind.__name__ for kind in type(error).__mro__} | kinds(error.__cause__ or error.__context__)


def is_incomplete(error: BaseException) -> bool:
    """Whether the client got another number of bytes than were announced, for which it has no error of its own."""
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def status_of(error: BaseException) -> int | None:
    """The status of an answer; below 1.0, the client passes on errors of the HTTP library that have one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _status(*codes: int) -> Callable[[Any], bool]:
    return lambda e: status_of(e) in codes


def _errno(*codes: int) -> Callable[[Any], bool]:
    return lambda e: isinstance(e, OSError) and e.errno in codes


def _network(names: set[str]) -> Callable[[Any], bool]:
    return lambda e: isinstance(e, TRANSPORT) and bool(names & kinds(e))


# What happened, and what to do about it. The first row that applies is taken: the particular stand before the general.
_ROWS: tuple[tuple[type[BaseException] | Callable[[Any], bool], str, str], ...] = (
    (HFValidationError, "not the name of a repository ({error})",
     "write it as owner/name, or give a directory that exists"),
    (OfflineModeIsEnabled, "offline mode is on (HF_HUB_OFFLINE) and it is not in the cache",
     "unset HF_HUB_OFFLINE and load it once while online, or point HF_HOME to the cache that has it"),
    (GatedRepoError, "the repository is gated and this account has no access yet",
     "ask for access at {endpoint}/{repo}, then log in with `hf auth login` or pass token="),
    (RevisionNotFoundError, "the repository has no such branch, tag or commit",
     "correct the revision; {endpoint}/{repo}/commits/main lists the commits"),
    (RepositoryNotFoundError, "no such repository, or a private one that this account may not see",
     "check the spelling, or write a directory as ./NAME; for a private one log in with `hf auth login` or pass "
     "token="),
    (LocalEntryNotFoundError, "it is not in the cache and the Hub could not be asked ({error})",
     "check the connection, the proxy and HF_ENDPOINT, then run it again"),
    (EntryNotFoundError, "the repository has no such file, so it holds no model that this zoo can read",
     "check the name; its author can push it with convrnn_zoo.push_to_hub. Pickled weights are never read"),
    (_status(401), "the Hub does not know the token (401)",
     "renew it with `hf auth login`, or unset HF_TOKEN: public repositories need none"),
    (_status(403), "the token does not allow it (403)",
     "take one with the permission at {endpoint}/settings/tokens: read to load, write to push"),
    (_status(429), "the Hub has had too many requests from here (429)",
     "wait some minutes and run it again; logging in raises the limit"),
    (_status(409, 412), "the repository has changed meanwhile (409, 412)", "run it again"),
    (_status(*range(500, 600)), "the Hub failed ({error})",
     "run it again later; status.huggingface.co tells of outages"),
    (_status(*range(400, 500)), "the Hub refused ({error})", "mend what it names and run it again"),
    (FileMetadataError, "what answered is not a Hub ({error})", "check HF_ENDPOINT and the proxy"),
    (_network(UNREACHABLE), "{endpoint} cannot be reached ({error})",
     "check the connection, the proxy and HF_ENDPOINT, or write a directory as ./NAME; what is in the cache loads "
     "without"),
    (_network(TIMEOUT), "the Hub did not answer in time ({error})",
     "run it again; HF_HUB_DOWNLOAD_TIMEOUT (seconds) allows it more"),
    (TRANSPORT, "the connection broke off ({error})", "run it again"),
    (_errno(errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "no space is left ({error})",
     "free some, or set HF_HOME to a larger disk"),
    (_errno(errno.EACCES, errno.EROFS, errno.EPERM), "the directory cannot be written ({error})",
     "set HF_HOME, or pass cache_dir=, to one that can"),
    (is_incomplete, "the download came incomplete ({error})", "run it again; nothing of it was kept"),
    (OSError, "the system failed ({error})", "mend what it names and run it again"),
    (Exception, "the Hub's client refused ({error})", "mend what it names and run it again"),
)  # fmt: skip


def root_of(error: BaseException) -> BaseException:
    """What happened first: the client wraps it where it looked into the cache or was to download again."""
    wraps = isinstance(error, LocalEntryNotFoundError | ValueError | RuntimeError)
    inner = error.__cause__ if wraps and not isinstance(error, HfHubHTTPError) else None
    return root_of(inner) if isinstance(inner, OSError | TRANSPORT) else error


def may_pass(error: BaseException, sends: bool) -> bool:
    """Whether the same request may succeed the next moment; one that sends something may have arrived if it was cut."""
    root = root_of(error)
    if (status := status_of(root)) is not None:
        return status in (500, 502, 503, 504)
    if isinstance(root, TRANSPORT):
        return not kinds(root) & (UNREACHABLE | TIMEOUT | (CUT if sends else set()))
    return is_incomplete(root)


def explain(error: BaseException, where: Where) -> ConvRNNHubError:
    """The error of this package that tells of `error`."""
    root = root_of(error)
    happened, cure = next(
        row for applies, *row in _ROWS
        if (isinstance(root, applies) if isinstance(applies, type) else applies(root))
    )  # fmt: skip
    words = {
        "error": " ".join(str(root).split())[:300] or type(root).__name__,
        "endpoint": constants.ENDPOINT,
        "repo": where.repo_id,
    }
    kind = HubAccessError if isinstance(root, OSError | TRANSPORT) else WeightsError
    return kind(f"{where}: {happened.format(**words)}; {cure.format(**words)}")


@contextmanager
def explained(where: Where) -> Iterator[None]:
    """Turns what is thrown within into errors of this package."""
    try:
        yield
    except ConvRNNHubError:
        raise
    except CLIENT_ERRORS as e:
        raise explain(e, where) from e
