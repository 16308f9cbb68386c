"""huggingface.lab.test and cdn.huggingface.lab.test: fakes that answer as the HuggingFace Hub and its storage do.

hf.lab.test redirects to the Hub, and so does the mirror hf-mirror.lab.test (as mirrors do since 2026); the mirror
hf-proxy.lab.test answers itself what the Hub would, but the data still comes from the Hub's storage. The domestic mirror hf-mirror-cn.lab.test
serves the data as well.

Content: ``root``/index.json and ``root``/files/OWNER/REPO/PATH, made by ``lab.servers build``::

    {"tokens": {"TOKEN": {"name": "...", "grants": ["OWNER/REPO", ...], "narrow": false}},
     "renamed": {"OLD/NAME": "NEW/NAME"},
     "repos": {"OWNER/REPO": {"private": false, "gated": false|"auto"|"manual", "disabled": false,
                              "refs": {"main": COMMIT},
                              "commits": {COMMIT: {PATH: {"size", "oid" (git sha1), "sha256", "lfs": bool}}}}}}
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

from ..web import (
    BytesContent,
    Content,
    FileContent,
    JsonFile,
    Request,
    Response,
    content_response,
    content_type,
    json_response,
    resolve_below,
    text,
)  # fmt: skip
from . import HUB, HUB_STORAGE

if TYPE_CHECKING:
    from ..server import LabServer

LFS = (".safetensors", ".ckpt", ".pt", ".bin")


class _HubError(Exception):
    """Ends the handling of a request with ``response``."""

    def __init__(self, status: int, code: str | None, message: str, **headers: str) -> None:
        given = {"X-Error-Message": message, **headers}
        if code:
            given["X-Error-Code"] = code
        self.response = json_response(status, {"error": message})
        self.response.headers.update(given)
        super().__init__(message)


class HubContent:
    """The repositories: those on disk, and what ``replace`` has put over them in memory."""

    def __init__(self, root: Path) -> None:
        self._index = JsonFile(root / "index.json", {"repos": {}, "tokens": {}, "renamed": {}})
        self._files = root / "files"
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self._replaced: dict[str, dict[str, Any]] = {}
        self._blobs: dict[str, Content] = {}
        # files that no commit has any more: the storage still hands them out under links given before
        self._orphans: dict[tuple[str, str], tuple[str, str, dict[str, Any]]] = {}

    def index(self) -> dict[str, Any]:
        on_disk = self._index.read()
        return {**on_disk, "repos": {**on_disk["repos"], **self._replaced}}

    def replace(self, name: str, path: str, data: bytes | Content, commit: bool, squash: bool) -> dict[str, Any]:
        """See LabServer.replace_hub_file."""
        content: Content = BytesContent(data) if isinstance(data, bytes) else data
        entry = _entry(path, content)
        with self._lock:
            repo = copy.deepcopy(self.index()["repos"].get(name, {"refs": {"main": ""}, "commits": {"": {}}}))
            old = repo["refs"]["main"]
            files = {**repo["commits"][old], path: entry}
            new = old
            if commit or not old:
                new = hashlib.sha1(json.dumps([name, old, files], sort_keys=True).encode()).hexdigest()
            for dropped in repo["commits"][old].items() if squash or new == old else ():
                self._orphans[repo_id(name), xet_hash(dropped[1])] = (name, *dropped)
            if squash or not old:
                del repo["commits"][old]
            repo["commits"][new] = files
            repo["refs"]["main"] = new
            self._blobs[entry["sha256"]] = content
            self._replaced[name] = repo
        return {"commit": new, **entry}

    def content(self, name: str, path: str, entry: dict[str, Any]) -> Content | None:
        if entry["sha256"] in self._blobs:
            return self._blobs[entry["sha256"]]
        file = resolve_below(self._files, [*name.split("/"), *path.split("/")])
        return FileContent(file) if file else None

    def find_by_xet_hash(self, repository: str, xet: str) -> tuple[dict[str, Any], Content] | None:
        """(entry, content) of what the storage keeps under these ids."""
        for name, repo in self.index()["repos"].items():
            if repo_id(name) != repository:
                continue
            for files in repo["commits"].values():
                for path, entry in files.items():
                    if entry["lfs"] and xet_hash(entry) == xet and (content := self.content(name, path, entry)):
                        return entry, content
        name, path, entry = self._orphans.get((repository, xet), ("", "", {}))
        content = self.content(name, path, entry) if entry else None
        return (entry, content) if content else None


class HubRedirect:
    """A name that only sends on to the Hub: absolute, with nothing but Location and a short body."""

    def __init__(self, lab_server: LabServer, status: int) -> None:
        self._lab_server = lab_server
        self._status = status

    def handle(self, request: Request) -> Response:
        query = f"?{request.query_string}" if request.query_string else ""
        return _redirect(self._status, {"Location": self._lab_server.link(request, HUB, request.raw_path + query)})


class Quota:
    """Fixed windows per client address and kind of request."""

    def __init__(self, lab_server: LabServer) -> None:
        self._lab_server = lab_server
        self._lock = threading.Lock()
        self._used: dict[tuple[str, str, int], int] = {}

    def take(self, client: str, kind: str) -> tuple[bool, dict[str, str]]:
        """(within the quota, the RateLimit headers)."""
        settings = self._lab_server.settings
        limit = {"resolvers": settings.hub_resolvers, "api": settings.hub_api, "pages": settings.hub_pages}[kind]
        now = time.time()
        window = int(now // settings.hub_window)
        with self._lock:
            self._used = {key: used for key, used in self._used.items() if key[2] == window}
            used = self._used[client, kind, window] = self._used.get((client, kind, window), 0) + 1
        left = int((window + 1) * settings.hub_window - now) + 1
        headers = {
            "RateLimit": f'"{kind}";r={max(0, limit - used)};t={left}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={settings.hub_window}',
        }
        return used <= limit, headers


class HubHost:
    """The Hub: resolve links and the metadata API."""

    def __init__(self, lab_server: LabServer) -> None:
        self._lab_server = lab_server
        self._hub = lab_server.hub
        self._quota = Quota(lab_server)

    def handle(self, request: Request) -> Response:
        parts = request.segments
        kind = "api" if parts[:1] == ["api"] and parts[1:2] != ["resolve-cache"] else "pages"
        if parts[2:3] in (["resolve"], ["raw"]) or parts[:2] == ["api", "resolve-cache"]:
            kind = "resolvers"
        allowed, limits = self._quota.take(request.client, kind)
        if not allowed:
            response = text(
                429, "We had to rate limit your IP address. To continue using our service, log in. (lab fake)"
            )
        else:
            try:
                response = self._route(request, parts)
            except _HubError as error:
                response = error.response
        response.headers.update(limits)
        response.headers["X-Request-Id"] = f"Root=1-lab-{secrets.token_hex(12)}"
        return response

    def _route(self, request: Request, parts: list[str]) -> Response:
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._api(request, f"{parts[2]}/{parts[3]}", parts[4:])
        if parts[:3] == ["api", "resolve-cache", "models"] and len(parts) > 6:
            return self._cached(request, f"{parts[3]}/{parts[4]}", parts[5], "/".join(parts[6:]))
        if len(parts) > 4 and parts[2] in ("resolve", "raw"):
            return self._resolve(request, f"{parts[0]}/{parts[1]}", parts[2], parts[3], "/".join(parts[4:]))
        if parts in (["api", "whoami-v2"],):
            token = self._caller(request)
            return (
                json_response(200, {"name": token["name"]}) if token else json_response(401, {"error": "Unauthorized"})
            )
        page = "<!doctype html><title>lab fake of a model hub</title><p>A lab fake.</p>\n"
        return text(200 if len(parts) in (0, 2) else 404, page, "text/html; charset=utf-8")

    # --- who may see what

    def _caller(self, request: Request) -> dict[str, Any] | None:
        """The token's owner, None without a token; an unknown token is refused."""
        token = request.token()
        if token is None:
            return None
        owner = self._hub.index()["tokens"].get(token)
        if owner is None:
            raise _HubError(401, None, "Invalid credentials in Authorization header")
        return owner

    def _repo(self, request: Request, name: str, files: bool) -> dict[str, Any]:
        """The repository, if the caller may see it (``files``: may read its files)."""
        caller = self._caller(request)
        repo = self._hub.index()["repos"].get(name)
        grants = caller["grants"] if caller else []
        if repo is None or (repo.get("private") and name not in grants):
            if caller is None:
                raise _HubError(401, "RepoNotFound", "Invalid username or password.")
            raise _HubError(404, "RepoNotFound", "Repository not found")
        if repo.get("disabled"):
            raise _HubError(403, None, "Access to this resource is disabled.")
        if files and repo.get("gated") and caller and caller.get("narrow"):
            raise _HubError(
                403,
                None,
                "Please enable access to public gated repositories in your fine-grained token settings to view this repository.",
            )
        if files and repo.get("gated") and name not in grants:
            if caller is None:
                message = (
                    f"Access to model {name} is restricted. You must have access to it and be authenticated to access it. "
                    "Please log in."
                )
                raise _HubError(401, "GatedRepo", message)
            message = (
                f"Access to model {name} is restricted and you are not in the authorized list. "
                f"Visit {request.origin}/{name} to ask for access."
            )
            raise _HubError(403, "GatedRepo", message)
        return repo

    @staticmethod
    def _commit(repo: dict[str, Any], revision: str) -> str:
        commit = repo["refs"].get(revision, revision)
        if commit not in repo["commits"]:
            raise _HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # --- files

    def _resolve(self, request: Request, name: str, action: str, revision: str, path: str) -> Response:
        renamed = self._hub.index().get("renamed", {}).get(name)
        if renamed:
            return Response(307, {"Location": f"/{renamed}/{action}/{quote(revision, safe='')}/{quote(path)}"})
        repo = self._repo(request, name, files=True)
        commit = self._commit(repo, revision)
        entry = repo["commits"][commit].get(path)
        if entry is None:
            raise _HubError(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        if action == "raw":
            return self._raw(request, name, commit, path, entry)
        if not entry["lfs"]:
            target = f"/api/resolve-cache/models/{name}/{commit}/{quote(path)}"
            query = urlencode({f"/{name}/resolve/{revision}/{path}": "", "etag": f'"{entry["oid"]}"'})
            headers = {
                "Location": f"{target}?{query}",
                "X-Repo-Commit": commit,
                "X-Linked-Size": str(entry["size"]),
                "X-Linked-Etag": f'"{entry["oid"]}"',
            }
            return _redirect(307, headers)
        return self._large(request, name, commit, path, entry)

    def _large(self, request: Request, name: str, commit: str, path: str, entry: dict[str, Any]) -> Response:
        """A redirect to the storage, with the metadata on it."""
        etag = f'"{entry["sha256"]}"'
        if request.headers.get("If-None-Match") == etag:
            return Response(304, {"ETag": etag, "X-Repo-Commit": commit})
        xet = xet_hash(entry)
        file_name = path.rsplit("/", 1)[-1]
        signed = self._lab_server.signer.sign(
            f"/xet-bridge-us/{repo_id(name)}/{xet}",
            self._lab_server.settings.hub_url_ttl,
            self._lab_server.settings.hub_link_style,
            request.link_life,
            X_Xet_Cas_Uid="public",
            response_content_disposition=f"inline; filename*=UTF-8''{quote(file_name)}; filename=\"{file_name}\";",
        )
        headers = {
            "Location": self._lab_server.link(request, HUB_STORAGE, signed),
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(entry["size"]),
            "X-Linked-Etag": etag,
            "X-Xet-Hash": xet,
            "Accept-Ranges": "bytes",
            "Link": f'<{request.origin}/api/models/{name}/xet-read-token/{commit}>; rel="xet-auth", '
            f'<{self._lab_server.link(request, HUB_STORAGE, "/v1/reconstructions/" + xet)}>; rel="xet-reconstruction-info"',
        }
        return _redirect(302, headers)

    def _raw(self, request: Request, name: str, commit: str, path: str, entry: dict[str, Any]) -> Response:
        if entry["lfs"]:
            return text(200, pointer(entry), X_Repo_Commit=commit)
        return self._file(request, name, path, entry, {"X-Repo-Commit": commit})

    def _cached(self, request: Request, name: str, commit: str, path: str) -> Response:
        repo = self._repo(request, name, files=True)
        entry = repo["commits"].get(commit, {}).get(path)
        if entry is None:
            raise _HubError(404, "EntryNotFound", "Entry not found")
        return self._file(request, name, path, entry, {"ETag": f'"{entry["oid"]}"', "X-Repo-Commit": commit})

    def _file(self, request: Request, name: str, path: str, entry: dict[str, Any], headers: dict[str, str]) -> Response:
        """A small file: compressed, without a length and without ranges, for clients that take gzip."""
        content = self._hub.content(name, path, entry)
        if content is None:
            raise _HubError(404, "EntryNotFound", "Entry not found")
        headers = {"Content-Type": content_type(path), **headers}
        answer = content_response(request, content, headers, not _takes_gzip(request))
        if answer.status == 200 and _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            return Response(200, headers, iter([gzip.compress(b"".join(answer.chunks()), mtime=0)]))
        return answer

    # --- metadata

    def _api(self, request: Request, name: str, rest: list[str]) -> Response:
        renamed = self._hub.index().get("renamed", {}).get(name)
        if renamed:
            tail = "".join("/" + quote(part, safe="") for part in rest)
            query = f"?{request.query_string}" if request.query_string else ""
            return Response(307, {"Location": f"/api/models/{renamed}{tail}{query}"})
        repo = self._repo(request, name, files=False)
        if not rest or (rest[0] == "revision" and len(rest) == 2):
            return json_response(200, self._info(request, name, repo, rest[1] if rest else "main"))
        if rest[0] == "tree" and len(rest) >= 2:
            return self._tree(request, name, repo, rest[1], "/".join(rest[2:]))
        if rest[0] == "paths-info" and len(rest) == 2 and request.method == "POST":
            requested_paths = parse_qs(request.body.read().decode()).get("paths", [])
            files = repo["commits"][self._commit(repo, rest[1])]
            return json_response(200, [_tree_entry(path, files[path]) for path in requested_paths if path in files])
        raise _HubError(404, None, "Not Found")

    def _info(self, request: Request, name: str, repo: dict[str, Any], revision: str) -> dict[str, Any]:
        commit = self._commit(repo, revision)
        siblings = []
        for path, entry in sorted(repo["commits"][commit].items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if request.query.get("blobs", "").lower() in ("true", "1"):
                sibling.update(size=entry["size"], blobId=entry["oid"])
                if entry["lfs"]:
                    size = len(pointer(entry))
                    sibling["lfs"] = {"sha256": entry["sha256"], "size": entry["size"], "pointerSize": size}
            siblings.append(sibling)
        return {
            "_id": repo_id(name),
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": commit,
            "private": bool(repo.get("private")),
            "gated": repo.get("gated", False),
            "disabled": False,
            "tags": ["lab-fake"],
            "siblings": siblings,
        }

    def _tree(self, request: Request, name: str, repo: dict[str, Any], revision: str, folder: str) -> Response:
        files = repo["commits"][self._commit(repo, revision)]
        prefix = folder + "/" if folder else ""
        recursive = request.query.get("recursive", "").lower() in ("true", "1")
        found: dict[str, dict[str, Any]] = {}
        for path, entry in files.items():
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                directory = prefix + "/".join(parts[:depth])
                oid = hashlib.sha1(f"{name}/{directory}".encode()).hexdigest()
                found[directory] = {"type": "directory", "oid": oid, "size": 0, "path": directory}
            if recursive or len(parts) == 1:
                found[path] = _tree_entry(path, entry)
        if folder and not found:
            raise _HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        listing = [found[path] for path in sorted(found)]
        page = self._lab_server.settings.hub_tree_page
        if request.query.get("expand", "").lower() in ("true", "1"):
            page = min(page, 50)
            listing = [_expanded(item) for item in listing]
        start = int(request.query.get("cursor", "0"))
        response = json_response(200, listing[start : start + page])
        if start + page < len(listing):
            query = urlencode({**request.query, "cursor": start + page})
            response.headers["Link"] = f'<{request.origin}{request.raw_path}?{query}>; rel="next"'
        return response


class HubMirror(HubHost):
    """A mirror that keeps the files: no redirect leads away from it."""

    def _large(self, request: Request, name: str, commit: str, path: str, entry: dict[str, Any]) -> Response:
        content = self._hub.content(name, path, entry)
        if content is None:
            raise _HubError(404, "EntryNotFound", "Entry not found")
        etag = f'"{entry["sha256"]}"'
        headers = {"ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": str(entry["size"]), "X-Repo-Commit": commit}
        return content_response(request, content, headers)


class HubStorage:
    """The storage behind the Hub: signed links for GET, ranges, nothing for callers that show a token."""

    def __init__(self, lab_server: LabServer) -> None:
        self._lab_server = lab_server

    def handle(self, request: Request) -> Response:
        if "Authorization" in request.headers:
            return _denied("Only one auth mechanism allowed")
        if request.method != "GET":
            return _denied("The request signature we calculated does not match the signature you provided.")
        state = self._lab_server.signer.check(request.raw_path, request.query_string)
        if state != "ok":
            return _denied("Request has expired" if state == "expired" else "Access Denied")
        parts = request.segments
        found = self._lab_server.hub.find_by_xet_hash(parts[1], parts[2]) if len(parts) == 3 else None
        if found is None:
            return text(404, "<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        entry, content = found
        headers = {
            "ETag": f'"{entry["sha256"]}"',
            "Content-Type": "application/octet-stream",
            "Content-Disposition": request.query["response-content-disposition"],
        }
        # the content delivery network in front of it answers compressible requests whole
        return content_response(request, content, headers, ranges=not _takes_gzip(request))


def repo_id(name: str) -> str:
    """The 24 hex digits that the Hub calls a repository by."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def xet_hash(entry: dict[str, Any]) -> str:
    """64 hex digits that are not the SHA-256 of the content (as on the real Hub)."""
    return hashlib.sha256(b"lab xet " + entry["sha256"].encode()).hexdigest()


def pointer(entry: dict[str, Any]) -> str:
    """The git-lfs pointer of a file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry['sha256']}\nsize {entry['size']}\n"


def _entry(path: str, content: Content) -> dict[str, Any]:
    """The index's entry for a file; what is large or binary is stored with git-lfs."""
    size, sha256 = content.size, content.sha256()
    entry = {"size": size, "sha256": sha256, "lfs": path.endswith(LFS) or size > 10 << 20}
    blob = pointer(entry).encode() if entry["lfs"] else b"".join(content.slice(0, size).chunks())
    return {**entry, "oid": hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()}


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _expanded(item: dict[str, Any]) -> dict[str, Any]:
    """An entry of a listing with what ``expand`` adds."""
    commit = {"id": item["oid"], "title": "lab fake", "date": "2026-01-01T00:00:00.000Z"}
    if item["type"] == "directory":
        return {**item, "lastCommit": commit}
    scan = {"status": "safe", "avScan": {"status": "safe"}, "pickleImportScan": None}
    return {**item, "lastCommit": commit, "securityFileStatus": scan}


def _tree_entry(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "file", "oid": entry["oid"], "size": entry["size"], "path": path}
    if entry["lfs"]:
        listed["lfs"] = {"oid": entry["sha256"], "size": entry["size"], "pointerSize": len(pointer(entry))}
        listed["xetHash"] = xet_hash(entry)
    return listed


def _redirect(status: int, headers: dict[str, str]) -> Response:
    """A redirect with the short text body the Hub sends."""
    reason = {302: "Found", 308: "Permanent Redirect"}.get(status, "Temporary Redirect")
    body = f"{reason}. Redirecting to {headers['Location']}".encode()
    return Response(status, {"Content-Type": "text/plain; charset=utf-8", **headers}, body)


def _denied(message: str) -> Response:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>'
    )
    return text(403, body, "application/xml")
