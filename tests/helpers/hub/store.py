"""Storage of the small Hub: repositories, their commits and files, and their visibility."""

import hashlib
import itertools
from dataclasses import dataclass, field


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_lfs(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".pt"))


@dataclass
class Repo:
    owner: str
    large: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    _numbers = itertools.count()

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.resolve(revision)]

    def commit(self, changes: dict[str, bytes | None], branch: str = "main", message: str = "") -> str:
        """A commit on a branch; a file that is None goes."""
        files = dict(self.commits.get(self.refs.get(branch, ""), {})) | changes
        oid = hashlib.sha1(f"{next(self._numbers)}{message}".encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = {k: v for k, v in files.items() if v is not None}
        self.large.update({sha256(v): v for k, v in self.commits[oid].items() if is_lfs(k)})
        self.refs[branch] = oid
        self.messages.append(message)
        return oid


@dataclass
class Store:
    repos: dict[str, Repo] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=lambda: {"hf_alice": "alice", "hf_bob": "bob"})
    large: dict[str, bytes] = field(default_factory=dict)

    def create(self, repo_id: str, files: dict[str, bytes] | None = None, **kwargs) -> Repo:
        """A repository with the Hub's own first commit, and one with `files` if given."""
        repo = self.repos[repo_id] = Repo(repo_id.split("/")[0], self.large, **kwargs)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, message="initial commit")
        if files:
            repo.commit(files)
        return repo
