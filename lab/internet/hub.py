"""A double of the Hugging Face Hub: ``/resolve/`` with its redirects and headers, the metadata API, signed storage.

Content: huggingface/OWNER/NAME/ holds the files and ``.repo.json`` {"commit", "gated", "private", "lfs": [paths], "grants": []}.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .signing import sign, valid

if TYPE_CHECKING:
    from .server import Request

TOKENS = {"hf_lab_reader": "reader", "hf_lab_granted": "granted"}
LIMITS = {
    "RateLimit": '"resolvers";r=2998;t=172',
    "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
    "X-Request-Id": "Root=1-lab",
}


@lru_cache(maxsize=None)
def _sums(path: Path, mtime: int) -> tuple[str, str]:
    """(sha256, git blob id) of a file."""
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sums(path: Path) -> tuple[str, str]:
    return _sums(path, path.stat().st_mtime_ns)


def _error(request: Request, status: int, code: str | None, message: str, **more: str) -> None:
    headers = {**LIMITS, "X-Error-Message": message, **more}
    if code:
        headers["X-Error-Code"] = code
    request.json(status, {"error": message}, headers)


def _repository(request: Request, repo: str) -> tuple[Path, dict[str, Any]] | None:
    """The repository's directory and description, or None after having answered with the Hub's error."""
    directory = request.root / "huggingface" / repo
    user = TOKENS.get(request.token or "")
    if request.token and user is None:
        _error(request, 401, None, "Invalid credentials in Authorization header")
        return None
    if not (directory / ".repo.json").is_file():
        if user:
            _error(request, 404, "RepoNotFound", "Repository not found")
        else:
            _error(request, 401, "RepoNotFound", "Invalid username or password.")
        return None
    return directory, json.loads((directory / ".repo.json").read_text())


def _gate(request: Request, repo: str, about: dict[str, Any]) -> bool:
    user = TOKENS.get(request.token or "")
    if not about.get("gated") or user in about.get("grants", []):
        return True
    if user is None:
        message = f"Access to model {repo} is restricted. You must have access to it and be authenticated to access it. Please log in."
        _error(request, 401, "GatedRepo", message)
    else:
        message = (
            f"Access to model {repo} is restricted and you are not in the authorized list. "
            f"Visit {request.url(request.host, '/' + repo)} to ask for access."
        )
        _error(request, 403, "GatedRepo", message)
    return False


def handle(request: Request) -> None:
    match = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", request.path)
    if match:
        return _resolve(request, *match.groups())
    match = re.fullmatch(r"/api/resolve-cache/models/([\w.-]+/[\w.-]+)/([0-9a-f]{40})/(.+)", request.path)
    if match:
        return _small(request, *match.groups())
    match = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/(tree|revision)/([^/]+))?", request.path)
    if match:
        return _api(request, *match.groups())
    return request.answer(404, "Not Found\n")


def _resolve(request: Request, repo: str, revision: str, name: str) -> None:
    found = _repository(request, repo)
    if not found:
        return
    directory, about = found
    if not _gate(request, repo, about):
        return
    if revision not in ("main", about["commit"]):
        return _error(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
    path = directory / name
    if ".." in name.split("/") or name == ".repo.json" or not path.is_file():
        return _error(request, 404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": about["commit"]})
    sha256, blob = sums(path)
    common = {**LIMITS, "X-Repo-Commit": about["commit"], "Accept-Ranges": "bytes"}
    if name in about.get("lfs", []):
        storage = sign(f"/xet-bridge-lab/{repo}/{sha256}", 3600)
        text = "Found. Redirecting to storage"
        headers = {
            **common,
            "Content-Type": "text/plain",
            "X-Linked-Size": str(path.stat().st_size),
            "X-Linked-Etag": f'"{sha256}"',
            "X-Xet-Hash": hashlib.sha256(sha256.encode()).hexdigest(),
            "Location": request.url("cdn.huggingface.lab.test", storage),
        }
        return request.answer(302, text, headers)
    location = f"/api/resolve-cache/models/{repo}/{about['commit']}/{quote(name)}?etag=%22{blob}%22"
    return request.answer(307, "Temporary Redirect", {**common, "Location": location})


def _small(request: Request, repo: str, commit: str, name: str) -> None:
    path = request.root / "huggingface" / repo / name
    if not path.is_file():
        return _error(request, 404, "EntryNotFound", "Entry not found")
    return request.file(path, {**LIMITS, "ETag": f'"{sums(path)[1]}"', "X-Repo-Commit": commit, "Content-Type": "text/plain"})


def _api(request: Request, repo: str, what: str | None, revision: str | None) -> None:
    found = _repository(request, repo)
    if not found:
        return
    directory, about = found
    if revision not in (None, "main", about["commit"]):
        return _error(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != ".repo.json")
    tree = []
    for path in files:
        name = str(path.relative_to(directory))
        sha256, blob = sums(path)
        entry: dict[str, Any] = {"type": "file", "oid": blob, "size": path.stat().st_size, "path": name}
        if name in about.get("lfs", []):
            entry["lfs"] = {"oid": sha256, "size": path.stat().st_size, "pointerSize": 134}
        tree.append(entry)
    if what == "tree":
        return request.json(200, tree, LIMITS)
    siblings = [{"rfilename": e["path"]} for e in tree]
    body = {"id": repo, "sha": about["commit"], "gated": about.get("gated", False), "private": False, "disabled": False, "siblings": siblings}
    return request.json(200, body, LIMITS)


def handle_storage(request: Request) -> None:
    """Signed for GET, for whoever holds the URL: another method or an Authorization header is refused."""
    match = re.fullmatch(r"/xet-bridge-lab/([\w.-]+/[\w.-]+)/([0-9a-f]{64})", request.path)
    denied = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>%s</Message></Error>'
    if request.headers.get("Authorization"):
        return request.answer(403, denied % "Only one auth mechanism allowed", {"Content-Type": "application/xml"})
    if request.method != "GET" or not match or not valid(request.path, request.query):
        return request.answer(403, denied % "Request has expired", {"Content-Type": "application/xml"})
    directory = request.root / "huggingface" / match.group(1)
    about = json.loads((directory / ".repo.json").read_text())
    for name in about.get("lfs", []):
        if sums(directory / name)[0] == match.group(2):
            return request.file(directory / name, {"ETag": f'"{match.group(2)}"'})
    return request.answer(404, denied % "NoSuchKey", {"Content-Type": "application/xml"})
