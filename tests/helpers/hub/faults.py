"""Faults of responses, on demand."""

import re
import socket
import struct
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


class Fault:
    """Changes a response or replaces it."""

    def answer(self, handler: BaseHTTPRequestHandler) -> bool:
        """Answers the request itself, if the fault replaces the response, and returns whether it did."""
        return False

    def body(self, content: bytes) -> bytes:
        """Returns the body to send in place of the content, with the headers of the content."""
        return content

    def send(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.wfile.write(content)


@dataclass
class Status(Fault):
    """An error of the server's."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, handler):
        handler.reply(self.code, b"{}", {"Content-Type": "application/json", **self.headers})
        return True


@dataclass
class Cut(Fault):
    """Ends the connection in mid-body."""

    after: int

    def send(self, handler, content):
        handler.wfile.write(content[: self.after])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Reset(Cut):
    """Breaks the connection in mid-body, so that the client's system reports a reset."""

    def send(self, handler, content):
        handler.wfile.write(content[: self.after])
        handler.wfile.flush()
        time.sleep(0.1)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.rfile.close()
        handler.connection.close()


@dataclass
class Short(Fault):
    """A shorter body that ends as if it were whole."""

    by: int = 10

    def body(self, content):
        return content[: -self.by]


@dataclass
class Corrupt(Fault):
    """A byte that is another; the size is right."""

    at: int = -5

    def body(self, content):
        spoilt = bytearray(content)
        spoilt[self.at] ^= 0xFF
        return bytes(spoilt)


@dataclass
class Slow(Fault):
    """Takes its time, in pieces."""

    seconds: float
    pieces: int = 10

    def send(self, handler, content):
        size = max(1, -(-len(content) // self.pieces))
        for start in range(0, len(content), size):
            handler.wfile.write(content[start : start + size])
            handler.wfile.flush()
            time.sleep(self.seconds / self.pieces)


@dataclass
class Rule:
    """A response to the requests that match, a number of times."""

    method: str
    pattern: str
    fault: Fault
    left: int

    def takes(self, method: str, path: str) -> bool:
        if not self.left or method != self.method or not re.search(self.pattern, path):
            return False
        self.left -= 1
        return True
