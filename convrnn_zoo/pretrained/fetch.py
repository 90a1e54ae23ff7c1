"""Weights of other projects, from their address to a directory in the cache: download, check, convert once.

The directory is like one that :func:`~convrnn_zoo.save_pretrained` writes. It is named by the checksum of the published
file and the version of the converters, and appears only when it is complete. Loading from it needs no network.
"""

import dataclasses
import http.client
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock, tqdm

from .._atomic import write_text
from .._version import __version__
from .download import HubFile, download, system_hint
from .errors import HubAccessError, WeightsError
from .limits import limit
from .published import Published
from .state_dict import file_blob, file_sha256

logger = logging.getLogger("convrnn_zoo")
CONVERTERS = 1
"""Version of the converters. Increase it if a converter changes, so that weights in caches are converted again."""
RECORDED = "downloaded"
"""Name of the file in the cache that has the size and sha256 of the published file."""
LOCK, TEMPORARY = ".lock", "tmp"
"""Name of the lock of a set of weights, and beginning of the names of directories of unfinished downloads."""
ROOT = Path(__file__).parents[2]
TIMEOUT, ATTEMPTS, WAIT, CHUNK = 30.0, 3, 1.0, 2**20


def fetch(published: Published, cache_dir: Any = None, token: str | bool | None = None) -> Path:
    """Returns the directory of converted weights. Downloads and converts the published file if it is not in the cache.

    Raises:
        HubAccessError: the file cannot be downloaded or written. The cache is unchanged.
        WeightsError: the file is not the published one, is damaged, or cannot be converted. The cache is unchanged.
    """
    with system_errors(published):
        cache = cached_assets_path("convrnn_zoo", published.architecture, published.tag, assets_dir=cache_dir)
        if (directory := _converted(published, cache)) is not None:
            return directory
        with WeakFileLock(cache / LOCK):
            for killed in cache.glob(f"{TEMPORARY}*"):  # the lock is free, so that their processes have ended
                shutil.rmtree(killed, ignore_errors=True)
            # Another process may have converted the file while this one waited.
            return _converted(published, cache) or _fetch(published, cache, cache_dir, token)


def _converted(published: Published, cache: Path) -> Path | None:
    """Returns the directory of converted weights if the cache has it."""
    sha256 = published.sha256 or _recorded(cache)[1]
    directory = _directory(cache, sha256)
    return directory if sha256 and directory.is_dir() else None


def _fetch(published: Published, cache: Path, cache_dir: Any, token: str | bool | None) -> Path:
    with tempfile.TemporaryDirectory(dir=cache, prefix=TEMPORARY) as temporary:
        file = _download(published, Path(temporary), cache_dir, token)
        actual = check_file(file, published, published.sha256 or _recorded(cache)[1])
        directory, converted = _directory(cache, actual), Path(temporary) / "converted"
        _convert(published, actual, file, converted)
        if not published.is_pinned:
            logger.warning(
                "%s: nobody has published a checksum of this file. That of this download, %s, is recorded in %s; "
                "later downloads must have it",
                published.name,
                actual,
                cache / RECORDED,
            )
        write_text(cache / RECORDED, f"{file.stat().st_size} {actual}\n")
        if not directory.is_dir():
            converted.rename(directory)
    return directory


def recorded_file(published: Published, cache_dir: Any = None) -> tuple[int, str]:
    """Returns the size and sha256 of the published file that was downloaded last, or ``(0, "")``."""
    return _recorded(cached_assets_path("convrnn_zoo", published.architecture, published.tag, assets_dir=cache_dir))


def _recorded(cache: Path) -> tuple[int, str]:
    file = cache / RECORDED
    size, sha256 = file.read_text(encoding="ascii").split() if file.is_file() else ("0", "")
    return int(size), sha256


def _directory(cache: Path, sha256: str) -> Path:
    return cache / f"{sha256[:16]}-{CONVERTERS}"


@contextmanager
def system_errors(published: Published) -> Iterator[None]:
    """Context manager that adds the name of the weights and a hint to errors of the system, such as a full disk."""
    try:
        yield
    except (HubAccessError, WeightsError):
        raise
    except OSError as e:
        raise HubAccessError(f"{published.name}: {e}{system_hint(e)}") from e


# ---- download ------------------------------------------------------------------------------------------------------
class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to HTTPS only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            fp.close()
            raise WeightsError(f"{req.full_url} redirects to {newurl[:200]}, which is not HTTPS; download it by hand")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


OPENER = urllib.request.build_opener(_SecureRedirects())


def _download(published: Published, directory: Path, cache_dir: Any, token: str | bool | None) -> Path:
    """Downloads the published file into a directory, or into the Hub's cache; a broken download is repeated."""
    scheme, _, location = published.address.partition("://")
    if scheme == "hf":
        owner, repo, file = location.split("/", 2)
        repo, _, revision = repo.partition("@")
        return download(HubFile(f"{owner}/{repo}", file, revision or None, cache_dir, token), published.sha256 or None)
    if scheme != "https":
        raise WeightsError(f"{published.name}: {published.address} is not an address of HTTPS")
    # The suffix tells the format; an address may end with a query.
    path = directory / f"file{Path(published.file).suffix}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if published.member:
                _download_member(published, path)
            else:
                with _open(published.address) as response:
                    _save(response, path, published, response.length)
            return path
        except urllib.error.HTTPError as e:
            error: Exception = e
            e.close()
            reason = f"the server answers {e.code} {e.reason}"
            is_transient = e.code >= 500 or e.code == 429
        except (OSError, http.client.HTTPException) as e:
            if isinstance(e, OSError) and system_hint(e):  # of this machine
                raise
            error, reason, is_transient = e, str(getattr(e, "reason", e)) or type(e).__name__, True
        if attempt == ATTEMPTS or not is_transient:
            raise HubAccessError(
                f"{published.name}: {published.address} cannot be downloaded: {reason}. Check the connection and try "
                f"again; {published.where} describes the file, and after a download by hand: `{published.command}`"
            ) from error
        logger.warning("%s: %s; trying again", published.name, reason)
        time.sleep(WAIT)
    raise AssertionError


def _open(address: str, headers: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        address, headers={"User-Agent": f"convrnn_zoo/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
    )
    return OPENER.open(request, timeout=TIMEOUT)


def _save(stream: IO[bytes], path: Path, published: Published, length: int | None) -> None:
    """Writes a stream to a file; raises an error if it is too long or breaks off."""
    max_bytes, size = published.size or limit(), 0
    with path.open("wb") as file, tqdm(total=length, unit="B", unit_scale=True, desc=published.name) as progress:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if size > max_bytes:
                expected = f"has {max_bytes:,}" if published.size else f"may have {max_bytes:,}"
                raise WeightsError(
                    f"{published.name}: {published.address} has more bytes than the published file, which {expected}; "
                    "it is another file"
                )
            file.write(chunk)
            progress.update(len(chunk))
    if length is not None and size < length:
        raise ConnectionError(f"the download broke off after {size:,} of {length:,} bytes")


class _RemoteFile(io.RawIOBase):
    """A file on a server, of which ranges of bytes are read."""

    def __init__(self, address: str) -> None:
        self.address, self.position = address, 0
        with self._request("bytes=0-0") as response:
            self.size = int(response.headers["Content-Range"].rpartition("/")[2])

    def _request(self, part: str) -> Any:
        response = _open(self.address, {"Range": part})
        if response.status != 206 or not re.fullmatch(r"bytes \d+-\d+/\d+", response.headers["Content-Range"] or ""):
            response.close()
            raise WeightsError(
                f"{self.address}: the server does not send parts of a file, which are needed to read one member of "
                "this archive; download the archive by hand and unpack it"
            )
        return response

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.size - self.position)
        if count <= 0:
            return 0
        with self._request(f"bytes={self.position}-{self.position + count - 1}") as response:
            content = response.read(count)
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)


def _download_member(published: Published, path: Path) -> None:
    """Downloads one member of a zip archive."""
    try:
        with zipfile.ZipFile(io.BufferedReader(_RemoteFile(published.address), CHUNK)) as archive:
            member = archive.getinfo(published.member)
            with archive.open(member) as stream:
                _save(stream, path, published, member.file_size)
    except KeyError as e:
        raise WeightsError(f"{published.name}: {published.address} has no member {published.member}") from e
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as e:
        if isinstance(e.__context__, OSError | http.client.HTTPException):  # zipfile hides errors of the connection
            raise e.__context__ from None
        raise WeightsError(f"{published.name}: {published.address} is not a sound zip archive ({e})") from e


# ---- check ---------------------------------------------------------------------------------------------------------
def check_file(path: Path, published: Published, sha256: str) -> str:
    """Compares a file with the published size and checksums, and with `sha256` if it is set; returns its sha256."""
    size, actual = path.stat().st_size, file_sha256(path)
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise WeightsError(
            f"{published.name}: {published.address} sent a web page in place of the file; open {published.where}, "
            f"download it by hand, then `{published.command}`"
        )
    for what, expected, value in (
        ("size", published.size, size),
        ("sha256", sha256, actual),
        ("git object id", published.blob, published.blob and file_blob(path)),
    ):
        if expected and value != expected:
            raise WeightsError(
                f"{published.name}: the {what} of {published.address} is {value}, expected {expected}; the download is "
                f"damaged or the owner has replaced the file. Try again; if it stays so, ask at {published.where}"
            )
    return actual


# ---- conversion ----------------------------------------------------------------------------------------------------
def _convert(published: Published, sha256: str, file: Path, directory: Path) -> None:
    """Converts a file in a process of its own, which runs :mod:`convrnn_zoo.interop.published`."""
    program = [sys.executable, "-P", "-W", "ignore", "-m", "convrnn_zoo.interop.published"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*program, json.dumps(dataclasses.asdict(published)), sha256, file, directory],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise WeightsError(f"{published.name}: the conversion failed: {lines[-1]}")
