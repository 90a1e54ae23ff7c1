"""Weights of other projects, from their address to a directory in the cache: download, check, convert once.

The directory is like one that :func:`~convrnn_zoo.save_pretrained` writes. It is named by the checksum of the published
file and the version of the converters, and appears only when it is complete. Loading from it needs no network.
"""

import dataclasses
import http.client
import io
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock, tqdm

from .._atomic import write_text
from .._version import __version__
from .config import CONFIG, WEIGHTS_FILE, read_config
from .download import HubFile, download, retry, system_hint
from .errors import HubAccessError, WeightsError
from .limits import limit
from .published import Published
from .state_dict import file_checksum, file_sha256

logger = logging.getLogger("convrnn_zoo")
CONVERTERS = 1
"""Version of the converters. Increase it if a converter changes, so that weights in caches are converted again."""
RECORDED = "downloaded"
"""Name of the file in the cache that has the size and sha256 of the published file."""
LOCK, TEMPORARY = ".lock", "tmp"
"""Name of the lock of a set of weights, and beginning of the names of directories of unfinished downloads."""
ROOT = Path(__file__).parents[2]
TIMEOUT, CHUNK = 30.0, 2**20


def fetch(published: Published, cache_dir: Any = None, token: str | bool | None = None) -> Path:
    """Returns the directory of converted weights, whose checksum was compared.

    Downloads and converts the published file if the cache does not have it, or if its copy is damaged.

    Raises:
        HubAccessError: the file cannot be downloaded or written. The cache is unchanged.
        WeightsError: the file is not the published one, is damaged, or cannot be converted. The cache is unchanged.
    """
    try:
        cache = _cache(published, cache_dir)
        directory, is_sound = _converted(published, cache)
        if is_sound:
            return directory
        with WeakFileLock(cache / LOCK):
            for killed in cache.glob(f"{TEMPORARY}*"):  # the lock is free, so that their processes have ended
                shutil.rmtree(killed, ignore_errors=True)
            directory, is_sound = _converted(published, cache)  # by another process, while this one waited
            if is_sound:
                return directory
            if directory.is_dir():
                logger.warning(
                    "%s: the converted weights in %s are damaged and are converted again", published.name, directory
                )
            return _download_and_convert(published, cache, cache_dir, token)
    except HubAccessError:
        raise
    except OSError as e:
        raise HubAccessError(f"{published.name}: {e}{system_hint(e)}") from e


def _cache(published: Published, cache_dir: Any) -> Path:
    return cached_assets_path("convrnn_zoo", published.architecture, published.tag, assets_dir=cache_dir)


def _converted(published: Published, cache: Path) -> tuple[Path, bool]:
    """Returns the directory of converted weights, and whether it has weights with the checksum in their config."""
    directory = _directory(cache, published.sha256 or _recorded(cache)[1])
    try:
        config = read_config(directory / CONFIG, published.name)
        return directory, config.sha256 == file_sha256(directory / WEIGHTS_FILE)
    except (OSError, ValueError):
        return directory, False


def _download_and_convert(published: Published, cache: Path, cache_dir: Any, token: str | bool | None) -> Path:
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
        if directory.is_dir():
            directory.rename(Path(temporary) / "damaged")
        converted.rename(directory)
    return directory


def recorded_file(published: Published, cache_dir: Any = None) -> tuple[int, str]:
    """Returns the size and sha256 of the published file that was downloaded last, or ``(0, "")``."""
    return _recorded(_cache(published, cache_dir))


def _recorded(cache: Path) -> tuple[int, str]:
    file = cache / RECORDED
    size, sha256 = file.read_text(encoding="ascii").split() if file.is_file() else ("0", "")
    return int(size), sha256


def _directory(cache: Path, sha256: str) -> Path:
    return cache / f"{sha256[:16]}-{CONVERTERS}"


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
    get = _download_member if published.member else _download_file
    try:
        retry(lambda: get(published, path), _is_transient, math.inf, published.name)
    except (OSError, http.client.HTTPException) as e:
        if system_hint(e):  # of this machine
            raise
        reason = str(getattr(e, "reason", e)) or type(e).__name__
        if isinstance(e, urllib.error.HTTPError):
            reason = f"the server answers {e.code} {e.reason}"
            e.close()
        raise HubAccessError(
            f"{published.name}: {published.address} cannot be downloaded: {reason}. Check the connection and try "
            f"again; {published.where} describes the file, and after a download by hand: `{published.command}`"
        ) from e
    return path


def _is_transient(error: Exception) -> bool:
    """Returns whether an error is of the connection or a status such as 503, after which a download may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return error.code >= 500 or error.code == 429
    return isinstance(error, OSError | http.client.HTTPException) and not system_hint(error)


def _open(address: str, headers: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        address, headers={"User-Agent": f"convrnn_zoo/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
    )
    return OPENER.open(request, timeout=TIMEOUT)


def _download_file(published: Published, path: Path) -> None:
    with _open(published.address) as response:
        _save(response, path, published, response.length)


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


def _open_range(address: str, start: int, end: int) -> Any:
    """Opens the bytes of a file on a server from `start` up to `end`."""
    response = _open(address, {"Range": f"bytes={start}-{end - 1}"})
    if response.status != 206 or not re.fullmatch(r"bytes \d+-\d+/\d+", response.headers["Content-Range"] or ""):
        response.close()
        raise WeightsError(
            f"{address}: the server does not send parts of a file, which are needed to read one member of this "
            "archive; download the archive by hand and unpack it"
        )
    return response


class _RemoteFile(io.RawIOBase):
    """A file on a server, of which ranges of bytes are read."""

    def __init__(self, address: str) -> None:
        self.address, self.position = address, 0
        with _open_range(address, 0, 1) as response:
            self.size = int(response.headers["Content-Range"].rpartition("/")[2])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def readinto(self, buffer: Any) -> int:
        end = min(self.position + len(buffer), self.size)
        if self.position >= end:
            return 0
        with _open_range(self.address, self.position, end) as response:
            content = response.read(end - self.position)
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
        ("git object id", published.blob, published.blob and file_checksum(path, published.blob)),
    ):
        if expected and value != expected:
            raise WeightsError(
                f"{published.name}: the {what} of {published.address} is {value}, expected {expected}; the download is "
                f"damaged or the owner has replaced the file. Try again; if it stays so, ask at {published.where}"
            )
    return actual


# ---- conversion ----------------------------------------------------------------------------------------------------
def _convert(published: Published, sha256: str, file: Path, directory: Path) -> None:
    """Converts a file in a process of its own, which runs :mod:`convrnn_zoo.interop.published`.

    This package knows no networks and no converters. If a damaged file ends the process, that is an error of the file,
    and the memory of the checkpoint and of both models is free afterwards.
    """
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
