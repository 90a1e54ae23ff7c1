"""A server on loopback that answers for the owners of published weights, at their addresses."""

import http.client
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from convrnn_zoo.pretrained import download, fetch

Answer = Callable[[Any, bytes], None]
"""Answers a request; its arguments are the request handler and the content of the file."""


def send(handler: Any, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def answer_file(handler: Any, content: bytes) -> None:
    """Sends the content, or the range that is requested."""
    if part := handler.headers.get("Range"):
        start, end = map(int, part.removeprefix("bytes=").split("-"))
        span = f"bytes {start}-{end}/{len(content)}"
        send(handler, content[start : end + 1], 206, Content_Range=span)
    else:
        send(handler, content)


class Owners:
    """Files by address, the way in which the server answers, and the addresses that were requested."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: list[Answer] = []
        """The next answers; afterwards :func:`answer_file`."""
        self.requests: list[str] = []


@contextmanager
def serve_owners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owners]:
    owners = Owners()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            address = f"https:/{self.path}"
            owners.requests.append(address)
            answer = owners.answers.pop(0) if owners.answers else answer_file
            if address in owners.files:
                answer(self, owners.files[address])
            else:
                send(self, b"", 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    class Loopback(urllib.request.HTTPSHandler):
        """Opens an address of HTTPS on the server on loopback."""

        def https_open(self, req: Any) -> Any:
            url = f"http://127.0.0.1:{server.server_port}/{req.full_url.removeprefix('https://')}"
            local = urllib.request.Request(url, headers=dict(req.header_items()))
            local.timeout = req.timeout
            return self.do_open(http.client.HTTPConnection, local)

    monkeypatch.setattr(fetch, "OPENER", urllib.request.build_opener(fetch._SecureRedirects(), Loopback()))
    monkeypatch.setattr(download, "_WAIT", 0.01)
    yield owners
    server.shutdown()
    server.server_close()
