"""Downloads from the Hugging Face Hub through its cache, with checks of size and checksum."""

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from .._version import __version__
from .config import CONFIG
from .errors import ConvRNNHubError, HubAccessError, WeightsError
from .limits import check_size
from .state_dict import file_checksum

logger = logging.getLogger("convrnn_zoo")
T = TypeVar("T")
HTTP_ERROR: type[Exception] = [
    cls for cls in errors.HfHubHTTPError.__mro__ if cls.__module__.split(".")[0] not in ("huggingface_hub", "builtins")
][-1]
"""Base class of errors of huggingface_hub's HTTP library: requests before its version 1.0, httpx or httpx2 since."""
CLIENT_ERRORS = (OSError, HTTP_ERROR, ValueError, RuntimeError)
"""Errors that huggingface_hub raises."""
_ATTEMPTS, _WAIT, _MAX_SECONDS = 3, 0.5, 3.0


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hub."""

    repo_id: str
    filename: str = ""
    revision: str | None = None
    cache_dir: Any = None
    token: str | bool | None = field(default=None, repr=False)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo_id}{revision}" + (f", {self.filename}" if self.filename else "")

    @property
    def is_fixed(self) -> bool:
        """Whether the revision is a full commit hash, whose content never changes."""
        return bool(re.fullmatch("[0-9a-f]{40}", self.revision or ""))


def download(file: HubFile, sha256: str | None = None, max_bytes: int | None = None) -> Path:
    """Returns the path of a file in the cache, after downloading it if the cache has no current copy.

    The content is compared with `sha256`, or else with the checksum that the Hub announces. A damaged copy is
    downloaded again, once. The default size limit is that of :func:`~convrnn_zoo.size_limit`.

    Raises:
        HubAccessError: the file cannot be downloaded. The cache is unchanged.
        WeightsError: the file is too large or damaged. If a second download is damaged too, the file is removed.
    """
    with hub_errors(file):
        path, announced = _current_copy(file, max_bytes)
        # The cache links to contents by their checksum, except on systems without links.
        expected = sha256 or (Path(os.readlink(path)).name if path.is_symlink() else announced)
        if expected is None:
            if file.filename != CONFIG:  # of which every field is checked
                logger.warning("%s: its checksum is unknown, so damage cannot be detected", file)
            return path
        if file_checksum(path, expected) == expected:
            return path
        logger.warning("%s: the copy in the cache is damaged and is downloaded again", file)
        try:
            path = _hub_download(file, force_download=True)
        except CLIENT_ERRORS as e:
            raise WeightsError(
                f"{file}: the copy in the cache is damaged (expected checksum {expected}) and cannot be downloaded "
                f"again: {hub_error(e, file)}"
            ) from e
        if file_checksum(path, expected) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise WeightsError(
                f"{file}: the content differs from the expected checksum {expected}, also after a second download, and "
                "was removed from the cache; try again later, and tell the owner of the repository if it stays so"
            )
        return path


def _current_copy(file: HubFile, max_bytes: int | None) -> tuple[Path, str | None]:
    """Downloads a file if the cache has no current copy; returns its path, and its checksum if the Hub stated it.

    The size is checked before the download. Without a connection, the copy in the cache is used, with a warning.
    """
    cached = try_to_load_from_cache(file.repo_id, file.filename, cache_dir=file.cache_dir, revision=file.revision)
    if isinstance(cached, str) and file.is_fixed:
        return Path(cached), None
    url = hf_hub_url(file.repo_id, file.filename, revision=file.revision)
    try:
        metadata = retry(lambda: get_hf_file_metadata(url, token=file.token))
    except (OSError, HTTP_ERROR) as e:
        if not isinstance(cached, str) or isinstance(e, errors.RevisionNotFoundError | errors.EntryNotFoundError):
            raise
        level = logging.INFO if isinstance(e, errors.OfflineModeIsEnabled) else logging.WARNING
        logger.log(level, "%s. The copy in the cache is used", hub_error(e, file))
        return Path(cached), None
    check_size(metadata.size or 0, str(file), max_bytes)
    is_current = isinstance(cached, str) and Path(cached).parent.name == metadata.commit_hash
    return Path(str(cached)) if is_current else _hub_download(file), metadata.etag


def _hub_download(file: HubFile, **options: Any) -> Path:
    options |= {"revision": file.revision, "cache_dir": file.cache_dir, "token": file.token}
    options |= {"library_name": "convrnn_zoo", "library_version": __version__}
    return Path(retry(lambda: hf_hub_download(file.repo_id, file.filename, **options)))


# ---- errors --------------------------------------------------------------------------------------------------------
_HINTS: tuple[tuple[type[BaseException] | tuple[int, ...], str], ...] = (
    (errors.HFValidationError, "write owner/name for a repository, or give a directory that exists"),
    (errors.OfflineModeIsEnabled, "offline mode is on and the file is not in the cache: unset HF_HUB_OFFLINE"),
    (errors.GatedRepoError, "ask for access at {url}, then run `hf auth login` or set HF_TOKEN"),
    (errors.RevisionNotFoundError, "correct the revision; {url}/commits/main lists the commits"),
    (
        errors.RepositoryNotFoundError,
        "check the spelling, write a directory as ./NAME, or log in with `hf auth login` if the repository is private",
    ),
    (errors.LocalEntryNotFoundError, "check the connection, the proxy and HF_ENDPOINT"),
    (errors.EntryNotFoundError, "the repository has no model that this zoo can read; pickled weights are never read"),
    ((401,), "renew the token with `hf auth login`, or unset HF_TOKEN: public repositories need none"),
    ((403,), "the token lacks the permission; create one at {endpoint}/settings/tokens"),
    ((429,), "too many requests: wait some minutes"),
    ((500, 502, 503, 504), "the Hub failed: try again later"),
    ((409, 412), "the repository has changed meanwhile: try again"),
)
_ERRNO_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free disk space, or set HF_HOME to a larger disk"),
    **dict.fromkeys((errno.EACCES, errno.EROFS, errno.EPERM), "set HF_HOME or pass cache_dir= to a writable directory"),
}


def system_hint(error: BaseException) -> str:
    """Returns a hint for an error of the file system, or "" for other errors."""
    hint = _ERRNO_HINTS.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"; {hint}" if hint else ""


def find_root(error: BaseException) -> tuple[BaseException, int | None]:
    """Unwraps an error of huggingface_hub; returns the original error, and its HTTP status or None."""
    wraps = isinstance(error, errors.LocalEntryNotFoundError | ValueError | RuntimeError)
    cause = error.__cause__ if wraps and not isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(cause, OSError | HTTP_ERROR):
        return find_root(cause)
    return error, getattr(getattr(error, "response", None), "status_code", None)


def hub_error(error: BaseException, file: HubFile) -> ConvRNNHubError:
    """Converts an error of huggingface_hub to one of this package, with the file, the reason and a hint."""
    root, status = find_root(error)
    reason = " ".join(str(root).split())[:300] or type(root).__name__
    if status is not None and str(status) not in reason:
        reason += f" (status {status})"
    hints = [text for on, text in _HINTS if (status in on if isinstance(on, tuple) else isinstance(root, on))]
    if status is None and isinstance(root, HTTP_ERROR):
        hints.append("check the connection, the proxy and HF_ENDPOINT, and try again; files in the cache load offline")
    url = f"{constants.ENDPOINT}/{file.repo_id}"
    hint = system_hint(root) or "".join(f"; {text}" for text in hints[:1]).format(endpoint=constants.ENDPOINT, url=url)
    cls = HubAccessError if isinstance(root, OSError | HTTP_ERROR) else WeightsError
    return cls(f"{file}: {reason}{hint}")


@contextmanager
def hub_errors(file: HubFile) -> Iterator[None]:
    """Context manager that raises errors of huggingface_hub as errors of this package."""
    try:
        yield
    except ConvRNNHubError:
        raise
    except CLIENT_ERRORS as e:
        raise hub_error(e, file) from e


def _is_transient(error: Exception) -> bool:
    """Returns whether an error of huggingface_hub is a broken connection, an incomplete file or a status 5xx."""
    root, status = find_root(error)
    if isinstance(root, OSError) and "Consistency check failed" in str(root):
        return True
    return isinstance(root, HTTP_ERROR) if status is None else status >= 500


def retry(
    act: Callable[[], T],
    is_transient: Callable[[Exception], bool] = _is_transient,
    max_seconds: float = _MAX_SECONDS,
    name: str = "",
) -> T:
    """Calls a function, up to three times if it fails within `max_seconds` with a transient error.

    huggingface_hub itself retries slow calls, and since its version 1.0 also a status 5xx. `name` is for the message.
    """
    for _ in range(_ATTEMPTS - 1):
        start = time.monotonic()
        try:
            return act()
        except Exception as e:
            if time.monotonic() - start > max_seconds or not is_transient(e):
                raise
            reason = " ".join(str(find_root(e)[0]).split())[:200]
            logger.warning("%s%s; trying again", f"{name}: " if name else "", reason)
            time.sleep(_WAIT)
    return act()
