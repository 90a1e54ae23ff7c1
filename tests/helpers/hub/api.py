"""The part of the Hub's API that creating, pushing and listing use."""

import base64
import json
import re

from huggingface_hub import ModelCard

from tests.helpers.hub.store import git_sha1, is_lfs, sha256

ROUTES = []
LICENSES = ["apache-2.0", "mit", "other"]
PIPELINES = ["audio-classification", "image-classification", "video-classification", "video-to-video"]


def route(method, pattern):
    def add(act):
        ROUTES.append((method, re.compile(pattern.replace("{id}", "(?P<repo_id>[^/]+/[^/]+)")), act))
        return act

    return add


def send(handler, content, code=200):
    handler.reply(code, json.dumps(content).encode(), {"Content-Type": "application/json"})


@route("GET", "/api/whoami-v2")
def whoami(handler):
    try:
        user = handler.user()
    except KeyError:
        user = None
    if user is None:
        handler.reject(401, "", "Invalid credentials in Authorization header")
    else:
        send(handler, {"type": "user", "name": user, "orgs": [], "auth": {}})


@route("POST", "/api/repos/create")
def create(handler):
    asked = json.loads(handler.sent)
    try:
        user = handler.user()
    except KeyError:
        return handler.reject(401, "", "Invalid credentials in Authorization header")
    if user is None:
        return handler.reject(401, "", "Log in to create a repository")
    repo_id = f"{asked.get('organization') or user}/{asked['name']}"
    url = f"{handler.hub.url}/{repo_id}"
    if repo_id in handler.hub.store.repos:
        return send(handler, {"error": "You already created this model repo", "url": url}, 409)
    if repo_id.split("/")[0] != user:
        return handler.reject(403, "", f"{user} may not create repositories there")
    handler.hub.store.create(repo_id, private=asked.get("visibility") == "private" or asked.get("private", False))
    return send(handler, {"url": url, "name": repo_id})


@route("POST", "/api/validate-yaml")
def validate(handler):
    """Rejects an unknown licence and warns about an unknown pipeline tag, as the Hub does."""
    data = ModelCard(json.loads(handler.sent)["content"], ignore_metadata_errors=True).data
    errors = [] if data.license in LICENSES else [f'"license" must be one of {LICENSES}']
    known = data.pipeline_tag in (None, *PIPELINES)
    warnings = [] if known else [f'The pipeline tag "{data.pipeline_tag}" is not in the official list']
    response = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    send(handler, response, 400 if errors else 200)


@route("GET", "/api/models/{id}(/revision/(?P<revision>.+))?")
def info(handler, repo_id, revision="main"):
    repo = handler.repo(repo_id)
    if not repo:
        return
    commit = repo.resolve(revision or "main")
    if commit is None:
        handler.reject(404, "RevisionNotFound", "Invalid rev id")
        return
    send(
        handler,
        {
            "id": repo_id,
            "sha": commit,
            "private": repo.private,
            "gated": repo.gated,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "xetEnabled": False,
            "siblings": [{"rfilename": path} for path in repo.commits[commit]],
        },
    )


@route("GET", "/api/models/{id}/tree/(?P<revision>.+)")
def tree(handler, repo_id, revision):
    if repo := handler.repo(repo_id):
        send(
            handler,
            [
                {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
                for path, content in repo.files(revision).items()
            ],
        )


@route("GET", "/api/models/{id}/refs")
def refs(handler, repo_id):
    if repo := handler.repo(repo_id):
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.refs.items()]
        send(handler, {"branches": branches, "tags": [], "converts": []})


@route("POST", "/api/models/{id}/branch/(?P<branch>.+)")
def branch(handler, repo_id, branch):
    repo = handler.repo(repo_id, write=True)
    if repo and branch in repo.refs:
        send(handler, {"error": "Reference already exists"}, 409)
    elif repo:
        start = (json.loads(handler.sent) if handler.sent else {}).get("startingPoint", "main")
        repo.refs[branch] = repo.resolve(start)
        send(handler, {})


@route("POST", "/api/models/{id}/tag/(?P<revision>.+)")
def tag(handler, repo_id, revision):
    if repo := handler.repo(repo_id, write=True):
        repo.refs[json.loads(handler.sent)["tag"]] = repo.resolve(revision)
        send(handler, {})


@route("POST", "/api/models/{id}/preupload/(?P<revision>.+)")
def preupload(handler, repo_id, revision):
    repo = handler.repo(repo_id, write="create_pr" not in handler.query)
    if not repo:
        return
    if repo.resolve(revision) is None:
        handler.reject(404, "RevisionNotFound", "Invalid rev id")
        return
    have = repo.files(revision)

    def describe(path):
        large = is_lfs(path)
        oid = (sha256 if large else git_sha1)(have[path]) if path in have else None
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    send(handler, {"files": [describe(f["path"]) for f in json.loads(handler.sent)["files"]]})


@route("POST", "/{id}.git/info/lfs/objects/batch")
def batch(handler, repo_id):
    def describe(entry):
        known = entry["oid"] in handler.hub.store.large
        actions = {
            "upload": {"href": f"{handler.hub.storage_url}/{entry['oid']}"},
            "verify": {"href": f"{handler.hub.url}/verify"},
        }
        return entry if known else {**entry, "actions": actions}

    if handler.repo(repo_id):
        send(handler, {"transfer": "basic", "objects": [describe(e) for e in json.loads(handler.sent)["objects"]]})


@route("POST", "/verify")
def verify(handler):
    asked = json.loads(handler.sent)
    stored = handler.hub.store.large.get(asked["oid"], b"")
    sound = sha256(stored) == asked["oid"] and len(stored) == asked["size"]
    handler.reply(200 if sound else 422)


@route("POST", "/api/models/{id}/commit/(?P<revision>.+)")
def commit(handler, repo_id, revision):
    create_pr = "create_pr" in handler.query
    repo = handler.repo(repo_id, write=not create_pr)
    if not repo:
        return None
    changes, header = {}, {}
    for line in handler.sent.splitlines():
        entry = json.loads(line)
        key, value = entry["key"], entry["value"]
        if key == "header":
            header = value
        elif key == "file":
            changes[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            changes[value["path"]] = handler.hub.store.large[value["oid"]]
        elif key == "deletedFile":
            changes[value["path"]] = None
    if header.get("parentCommit") not in (None, repo.refs[revision]):
        return handler.reject(412, "", "A commit has happened since")
    target = f"refs/pr/{len(repo.refs)}" if create_pr else revision
    repo.refs.setdefault(target, repo.refs["main"])
    oid = repo.commit(changes, target, header["summary"])
    url = f"{handler.hub.url}/{repo_id}"
    number = target.rsplit("/", 1)[-1]
    return send(
        handler,
        {
            "commitUrl": f"{url}/commit/{oid}",
            "commitOid": oid,
            "pullRequestUrl": f"{url}/discussions/{number}" if create_pr else None,
        },
    )
