"""An S3 server on this machine, and a proxy in front of it that fails now and then."""

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    """Whether a server listens to a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def server():
    """Yields the port of a server without objects."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                if answers(port):
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


@contextlib.contextmanager
def proxy(port, every=20, at=0):
    """Yields the port of a proxy, which is `at` unless that is 0, and its counts of requests and of failed ones.

    One of `every` requests fails: by a 503 that asks for less, by a 500 after the request was done, or without an
    answer. With `every` 0, none does. Keys expire with write number ``counts["expires"]``.
    """
    counts, lock = {"requests": 0, "writes": 0, "failed": 0, "expires": float("inf")}, threading.Lock()
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if closed.is_set():  # connections that are still open
                self.close_connection = True
                return
            with lock:
                counts["requests"] += 1
                counts["writes"] += self.command == "PUT"
                is_expired = counts["writes"] >= counts["expires"]
                fails = bool(every) and counts["requests"] % every == 0 and not is_expired
                kind = counts["failed"] % 3
                counts["failed"] += fails
            if fails and kind == 2:
                self.close_connection = True
                return
            status, headers, content = (403, [], EXPIRED) if is_expired else (503, [], SLOW_DOWN)
            if not is_expired and not (fails and kind == 0):
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                status, headers, content = answer.status, answer.getheaders(), answer.read()
                upstream.close()
            if fails and kind == 1:
                status, headers, content = 500, [], SLOW_DOWN.replace(b"SlowDown", b"InternalError")
            self.send_response_only(status)
            left_out = ("transfer-encoding", "connection") + (() if self.command == "HEAD" else ("content-length",))
            for key, value in headers:
                if key.lower() not in left_out:
                    self.send_header(key, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", at), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield httpd.server_address[1], counts
    finally:
        closed.set()
        httpd.shutdown()
        httpd.server_close()


def environment(port):
    """Variables by which s3fs and obstore find the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key-of-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def objects(port, prefix):
    """Bytes by key of the objects below ``bucket/prefix``, read without the proxy."""

    def get(path):
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, Signature=b"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket{path}", headers=signed)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    listed = get(f"?list-type=2&max-keys=10000&prefix={prefix}/").decode()
    keys = re.findall(r"<Key>(.*?)</Key>", listed)
    return {key.removeprefix(f"{prefix}/"): get(f"/{key}") for key in keys}


def count(port, prefix):
    """Number of objects below ``bucket/prefix``."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/bucket?list-type=2&max-keys=10000&prefix={prefix}/"
    ) as answer:
        return answer.read().count(b"<Key>")


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
