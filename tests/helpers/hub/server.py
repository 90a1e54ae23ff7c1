"""A small Hugging Face Hub on loopback, for the real client to talk to."""

import contextlib
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.hub import api
from tests.helpers.hub.faults import Fault, Rule
from tests.helpers.hub.store import Repo, Store, git_sha1, is_lfs, sha256


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it delays a body by 40 ms after its head
    server: "Server"

    @property
    def hub(self) -> "Hub":
        return self.server.hub

    def log_message(self, *args) -> None:
        pass

    def handle_request(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.route, self.query = urllib.parse.unquote(url.path), dict(urllib.parse.parse_qsl(url.query))
        self.sent = self.read_body()
        self.fault = Fault()
        with self.hub.lock:
            self.hub.log.append((self.command, self.route, self.headers.get("Authorization")))
            self.fault = next((r.fault for r in self.hub.rules if r.takes(self.command, self.route)), Fault())
        if not self.fault.answer(self):
            self.answer()

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

    def answer(self) -> None:
        raise NotImplementedError

    def reply(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        body = self.fault.body(body)
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.fault.send(self, body)

    def send_file(self, content: bytes, headers: dict[str, str]) -> None:
        """Content, or the path_at_revision of it that a Range asks for."""
        if part := self.headers.get("Range"):
            start = int(part.removeprefix("bytes=").split("-")[0])
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.reply(206, content[start:], {**headers, "Content-Range": span})
        else:
            self.reply(200, content, headers)


class HubHandler(Handler):
    """Repositories and the API."""

    def answer(self) -> None:
        for method, pattern, act in api.ROUTES:
            if method == self.command and (match := pattern.fullmatch(self.route)):
                act(self, **match.groupdict())
                return
        if self.command in ("GET", "HEAD") and "/resolve/" in self.route:
            repo_id, _, path_at_revision = self.route[1:].partition("/resolve/")
            self.resolve(repo_id, *path_at_revision.split("/", 1))
        else:
            self.reject(404, "", f"no route {self.command} {self.route}")

    def reject(self, code: int, error: str, message: str = "") -> None:
        self.reply(code, b"{}", {"X-Error-Code": error, "X-Error-Message": message, "Content-Type": "application/json"})

    def user(self) -> str | None:
        """Who asks; raises KeyError for a token that is not known."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.hub.store.users[token] if token else None

    def repo(self, repo_id: str, write: bool = False) -> Repo | None:
        """Returns the repository if the account has access; otherwise answers the request with an error."""
        repo = self.hub.store.repos.get(repo_id)
        try:
            user = self.user()
        except KeyError:
            return self.reject(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and user != repo.owner):
            return self.reject(404 if user else 401, "RepoNotFound", "Repository not found")
        if repo.gated and user != repo.owner:
            return self.reject(403 if user else 401, "GatedRepo", "Access to this model is restricted")
        if write and user != repo.owner:
            return self.reject(403 if user else 401, "", "You don't have the rights to write here")
        return repo

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self.repo(repo_id)
        if repo is None:
            return
        commit = repo.resolve(revision)
        if commit is None:
            self.reject(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in repo.commits[commit]:
            self.reject(404, "EntryNotFound", "Entry not found")
        else:
            content, headers = repo.commits[commit][path], {"X-Repo-Commit": commit}
            if is_lfs(path):
                oid = sha256(content)
                self.reply(
                    302,
                    b"",
                    {
                        **headers,
                        "Location": f"{self.hub.storage_url}/{oid}",
                        "ETag": f'"{oid[:32]}"',
                        "X-Linked-Etag": f'"{oid}"',
                        "X-Linked-Size": str(len(content)),
                    },
                )
            else:
                self.send_file(content, {**headers, "ETag": f'"{git_sha1(content)}"'})


class StorageHandler(Handler):
    """The other server, which stores large files under their checksum."""

    def answer(self) -> None:
        oid = self.route[1:]
        if self.command == "PUT":
            self.hub.store.large[oid] = self.sent
            self.reply(200)
        elif self.headers.get("Authorization"):
            self.reply(400, b"a token must not leave the Hub's own origin")
        else:
            self.send_file(self.hub.store.large[oid], {"ETag": f'"{oid[:32]}"'})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: "Hub"

    def handle_error(self, *args) -> None:
        pass  # a client that was killed, or that we cut off


class Hub:
    """The two servers with their store, the log of requests and the faults to inject."""

    def __init__(self) -> None:
        self.store, self.log, self.rules, self.lock = Store(), [], [], threading.Lock()
        self.servers = [Server(("127.0.0.1", 0), h) for h in (HubHandler, StorageHandler)]
        self.url, self.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in self.servers)
        for server in self.servers:
            server.hub = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fail(self, fault: Fault, method: str = "GET", path: str = ".", times: int = 10**6) -> None:
        self.rules.append(Rule(method, path, fault, times))

    def recover(self) -> None:
        self.rules.clear()

    @contextlib.contextmanager
    def quiet(self):
        """Asserts that no request is sent within the context."""
        before = len(self.log)
        yield
        assert self.log[before:] == [], "requests were made"

    def asked(self, text: str) -> list[tuple[str, str, str | None]]:
        return [entry for entry in self.log if text in entry[1]]
