"""One file from the Hub: from the cache if it is there, else downloaded; whole and as the Hub announced it, or not at
all. A damaged copy is fetched anew once."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError
from huggingface_hub.file_download import REGEX_COMMIT_HASH
from huggingface_hub.utils import validate_repo_id

from .._version import __version__
from ..models import WeightsError
from ..models._safetensors import sha256_of
from ..models._sketch import check_size
from ._errors import CLIENT_ERRORS, TRANSPORT, Where, explain, explained, is_broken, root_of

logger = logging.getLogger("convrnn_zoo")
_TOKEN: ContextVar[str | bool | None] = ContextVar("token", default=None)
_TRIES = 3
T = TypeVar("T")


@contextmanager
def with_token(token: str | bool | None) -> Iterator[None]:
    """Within it, files are fetched with this token; None is that of the user's login."""
    before = _TOKEN.set(token)
    try:
        yield
    finally:
        _TOKEN.reset(before)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which can never come to mean other content."""
    return bool(revision and REGEX_COMMIT_HASH.fullmatch(revision))


def commit_of(path: Path) -> str:
    """The commit of a file in the cache."""
    return path.parent.name


def fetch(where: Where, cache_dir: Any = None, sha256: str | None = None) -> Path:
    """The path of a file in the cache, its content as the Hub, or else `sha256`, vouches for.

    Raises:
        HubAccessError: it cannot be had; the cache is as it was.
        WeightsError: it is larger than the limit, or damaged even when fetched anew; it is not kept in the cache.
    """
    with explained(where):
        validate_repo_id(where.repo_id)
        path, announced = _look_up(where, cache_dir)
        if path is None:
            path = _download(where, cache_dir)
        expected = sha256 or _blob_name(path) or announced
        if expected is None:
            logger.warning("%s: the cache keeps no checksum of it, so damage would pass unseen", where)
            return path
        if not _matches(path, expected):
            path = _fetch_anew(where, cache_dir, path, expected)
        return path


def _look_up(where: Where, cache_dir: Any) -> tuple[Path | None, str | None]:
    """The file in the cache if it is the current one, and the checksum that the Hub announces, if it was asked."""
    if is_commit(where.revision) and (path := _cached(where, cache_dir)):
        return path, None
    try:
        url = hf_hub_url(where.repo_id, str(where.filename), revision=where.revision)
        # One question first, without the client's half minute of retries and before a byte of content is had.
        meta = patiently(where, lambda: get_hf_file_metadata(url, token=_TOKEN.get()))
    except (RevisionNotFoundError, EntryNotFoundError):
        raise
    except (OSError, TRANSPORT) as e:
        if path := _cached(where, cache_dir):
            log = logger.info if isinstance(e, OfflineModeIsEnabled) else logger.warning
            log("%s. Going on with the copy in the cache", explain(e, where))
            return path, None
        raise
    check_size(meta.size or 0, str(where))
    path = _cached(where, cache_dir)
    return (path if path and commit_of(path) == meta.commit_hash else None), meta.etag


def _cached(where: Where, cache_dir: Any) -> Path | None:
    found = try_to_load_from_cache(where.repo_id, str(where.filename), cache_dir=cache_dir, revision=where.revision)
    return Path(found) if isinstance(found, str) else None


def _download(where: Where, cache_dir: Any, force: bool = False) -> Path:
    return patiently(
        where,
        lambda: Path(
            hf_hub_download(
                where.repo_id, str(where.filename), revision=where.revision, cache_dir=cache_dir, token=_TOKEN.get(),
                force_download=force, library_name="convrnn_zoo", library_version=__version__,
            )
        ),
    )  # fmt: skip


def patiently(where: Where, act: Callable[[], T]) -> T:
    """Tries again, shortly, where the client does not: after a reset, a failure of the server, a short body."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            return act()
        except CLIENT_ERRORS as e:
            if not left or not _may_pass(root_of(e)):
                raise
            logger.warning("%s. Trying again", explain(e, where))
            time.sleep(0.5)
    raise AssertionError("unreachable")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (500, 502, 503, 504)
    return is_broken(error) or (isinstance(error, OSError) and "Consistency check failed" in str(error))


# ---- checksums -------------------------------------------------------------------------------------------------
def _blob_name(path: Path) -> str | None:
    """The checksum by which the cache names the content, where it links to it."""
    return Path(os.readlink(path)).name if path.is_symlink() else None


def _matches(path: Path, expected: str) -> bool:
    """Whether a file has a checksum: sha256, or git's sha1 as the Hub gives it for small files."""
    if len(expected) == 64:
        return sha256_of(path) == expected
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == expected


def _fetch_anew(where: Where, cache_dir: Any, path: Path, expected: str) -> Path:
    logger.warning("%s: the copy in the cache is damaged; fetching it anew", where)
    try:
        again = _download(where, cache_dir, force=True)
    except CLIENT_ERRORS as e:
        raise WeightsError(
            f"{where}: the copy in the cache is damaged (expected checksum {expected}) and could not be fetched anew: "
            f"{explain(e, where)}"
        ) from e
    if _matches(again, expected):
        return again
    for part in {again, again.resolve(), again.parent / os.readlink(again) if again.is_symlink() else again}:
        part.unlink(missing_ok=True)
    raise WeightsError(
        f"{where}: the content is not what was announced (expected checksum {expected}), also when fetched anew, and "
        "was removed from the cache; run it again later, and tell the repository's owner if it stays so"
    )
