"""One file from the Hub: from the cache if it is there, else downloaded; whole and as the Hub announced it, or not at
all. A damaged copy is downloaded once more."""

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled, RevisionNotFoundError

from .._version import __version__
from .errors import WeightsError
from .hub_errors import CLIENT_ERRORS, TRANSPORT, Where, explain, explained, may_pass
from .meta import check_size
from .state_dict import sha256_of

logger = logging.getLogger("convrnn_zoo")
Token = str | bool | None
_TRIES, _WAIT, _AT_ONCE = 3, 0.5, 3.0
T = TypeVar("T")


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which can never come to mean other content."""
    return bool(re.fullmatch("[0-9a-f]{40}", revision or ""))


def commit_of(path: Path) -> str:
    """The commit of a file in the cache."""
    return path.parent.name


def fetch(where: Where, cache_dir: Any = None, token: Token = None, sha256: str | None = None) -> Path:
    """The path of a file in the cache, its content as the Hub, or else `sha256`, vouches for.

    Raises:
        HubAccessError: it cannot be had; the cache is as it was.
        WeightsError: it is larger than the limit, or damaged even when downloaded again; it is not kept in the cache.
    """
    with explained(where):
        path, announced = _look_up(where, cache_dir, token)
        path = path or _download(where, cache_dir, token)
        # The cache links to a content by its checksum; where the system has no links, the Hub's word is all there is.
        expected = sha256 or (Path(os.readlink(path)).name if path.is_symlink() else announced)
        if expected is None:
            logger.warning("%s: the cache keeps no checksum of it, so damage would pass unseen", where)
        elif not _matches(path, expected):
            path = _download_again(where, cache_dir, token, expected)
        return path


def _look_up(where: Where, cache_dir: Any, token: Token) -> tuple[Path | None, str | None]:
    """The file in the cache if it is the current one, and the checksum that the Hub announces, if it was asked."""
    found = try_to_load_from_cache(where.repo_id, str(where.filename), cache_dir=cache_dir, revision=where.revision)
    cached = Path(found) if isinstance(found, str) else None
    if cached and is_commit(where.revision):
        return cached, None
    url = hf_hub_url(where.repo_id, str(where.filename), revision=where.revision)
    try:
        # One question first, without the client's half minute of retries and before a byte of content is had.
        meta = retry(where, lambda: get_hf_file_metadata(url, token=token), sends=False)
    except (RevisionNotFoundError, EntryNotFoundError):
        raise
    except (OSError, TRANSPORT) as e:
        if cached is None:
            raise
        log = logger.info if isinstance(e, OfflineModeIsEnabled) else logger.warning
        log("%s. Going on with the copy in the cache", explain(e, where))
        return cached, None
    check_size(meta.size or 0, str(where))
    return (cached if cached and commit_of(cached) == meta.commit_hash else None), meta.etag


def _download(where: Where, cache_dir: Any, token: Token, force: bool = False) -> Path:
    return retry(
        where,
        lambda: Path(
            hf_hub_download(
                where.repo_id, str(where.filename), revision=where.revision, cache_dir=cache_dir, token=token,
                force_download=force, library_name="convrnn_zoo", library_version=__version__,
            )
        ),
        sends=False,
    )  # fmt: skip


def retry(where: Where, act: Callable[[], T], sends: bool = True) -> T:
    """Tries again, shortly, what failed at once: after a reset, a failure of the server, a short body.

    What took its time, the client has tried again itself. Where it `sends` something, an answer that was cut off is not
    asked for again, since what was sent may have arrived.
    """
    start = time.monotonic()
    for _ in range(_TRIES - 1):
        try:
            return act()
        except CLIENT_ERRORS as e:
            if time.monotonic() - start > _AT_ONCE or not may_pass(e, sends):
                raise
            logger.warning("%s. Trying again", explain(e, where))
            time.sleep(_WAIT)
    return act()


def _matches(path: Path, expected: str) -> bool:
    """Whether a file has a checksum: sha256, or git's sha1 as the Hub gives it for small files."""
    if len(expected) == 64:
        return sha256_of(path) == expected
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == expected


def _download_again(where: Where, cache_dir: Any, token: Token, expected: str) -> Path:
    logger.warning("%s: the copy in the cache is damaged; fetching it anew", where)
    try:
        again = _download(where, cache_dir, token, force=True)
    except CLIENT_ERRORS as e:
        raise WeightsError(
            f"{where}: the copy in the cache is damaged (expected checksum {expected}) and could not be fetched anew: "
            f"{explain(e, where)}"
        ) from e
    if _matches(again, expected):
        return again
    again.resolve().unlink()
    again.unlink(missing_ok=True)
    raise WeightsError(
        f"{where}: the content is not what was announced (expected checksum {expected}), also when fetched anew, and "
        "was removed from the cache; run it again later, and tell the repository's owner if it stays so"
    )
