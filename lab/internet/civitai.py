"""A double of Civitai: its JSON API, the download redirect with its errors in their order, signed storage.

Content: civitai/catalog.json {"versions": {ID: version body, with "_rules": {...} and "_file" in each file}}.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from .signing import sign, valid

if TYPE_CHECKING:
    from .server import Request

TOKEN = "lab-civitai-token"
BROWSERS = ("mozilla", "chrome", "safari", "firefox", "opera", "edge")
STORE = {"Cache-Control": "no-store, max-age=0"}


def catalog(root: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((root / "civitai" / "catalog.json").read_text())["versions"]
    return result


def public(request: Request, version: dict[str, Any]) -> dict[str, Any]:
    """The version as the API shows it."""
    body = {k: v for k, v in version.items() if not k.startswith("_")}
    base = request.url(request.host, f"/api/download/models/{version['id']}")
    body["files"] = [{k: v for k, v in f.items() if not k.startswith("_")} | {"downloadUrl": base} for f in version["files"]]
    body["downloadUrl"] = base
    if version.get("_rules", {}).get("archived"):
        body["files"] = []
    return body


def handle(request: Request) -> None:
    versions = catalog(request.root)
    if request.path.startswith("/api/v1/model-versions/by-hash/"):
        wanted = request.path.rsplit("/", 1)[1].upper()
        for version in versions.values():
            if any(wanted in f.get("hashes", {}).values() for f in version["files"]):
                return request.json(200, public(request, version))
        return request.json(404, {"error": "Model not found"})
    match = re.fullmatch(r"/api/v1/model-versions/(\d+)", request.path)
    if match:
        version = versions.get(match.group(1))
        if not version or version.get("_rules", {}).get("deleted"):
            return request.json(404, {"error": "Model not found"})
        return request.json(200, public(request, version))
    match = re.fullmatch(r"/api/v1/models/(\d+)", request.path)
    if match:
        found = [public(request, v) for v in versions.values() if str(v["modelId"]) == match.group(1)]
        if not found:
            return request.json(404, {"error": f"No model with id {match.group(1)}"})
        return request.json(200, {"id": int(match.group(1)), **found[0]["model"], "modelVersions": found})
    match = re.fullmatch(r"/api/download/models/(\d+)", request.path)
    if match:
        return _download(request, versions.get(match.group(1)))
    return request.answer(404, "Not Found\n")


def _choose(files: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any] | None:
    if "fileId" in query:
        return next((f for f in files if str(f["id"]) == query["fileId"]), None)
    fits = [
        f
        for f in files
        if ("type" not in query or f["type"] == query["type"])
        and all(k not in query or f["metadata"].get(k) == query[k] for k in ("format", "size", "fp"))
    ]
    return next((f for f in fits if f.get("primary")), fits[0] if fits else None)


def _download(request: Request, version: dict[str, Any] | None) -> None:
    agent = request.headers.get("User-Agent", "").lower()
    browser = any(word in agent for word in BROWSERS)
    rules = (version or {}).get("_rules", {})
    chosen = _choose(version["files"], request.query) if version else None
    # `Authorization: anything TOKEN` wins over ?token=
    logged_in = (request.token or request.query.get("token")) == TOKEN
    if version is None or rules.get("deleted") or chosen is None:
        return request.json(404, {"error": "File not found"})
    if rules.get("archived"):
        return request.json(410, {"error": "Model archived, not available for download"})
    if rules.get("downloads_disabled"):
        message = "The creator of this asset has disabled downloads on this file"
        return request.json(401, {"error": "Unauthorized", "message": message})
    if rules.get("login") and not logged_in:
        if browser:
            back = quote(f"/model-versions/{version['id']}", safe="")
            return request.answer(307, "", {**STORE, "Location": f"/login?returnUrl={back}&reason=download-auth"})
        message = "The creator of this asset requires you to be logged in to download it"
        return request.json(401, {"error": "Unauthorized", "message": message})
    if rules.get("early_access"):
        message = "This asset is in Early Access. You can use Buzz access it now!"
        return request.json(403, {"error": "Early Access", "deadline": rules["early_access"], "message": message})
    disposition = f'attachment; filename="{chosen["name"]}"'
    path = f"/lab/model/{version['id']}/{chosen['id']}/{quote(chosen['name'])}"
    location = request.url("storage.civitai.lab.test", sign(path, 86400, **{"response-content-disposition": disposition}))
    return request.answer(307, "", {**STORE, "Location": location})


def handle_storage(request: Request) -> None:
    if request.headers.get("Authorization"):
        body = "<Error><Code>InvalidRequest</Code><Message>Missing x-amz-content-sha256</Message></Error>"
        return request.answer(400, body, {"Content-Type": "application/xml"})
    match = re.fullmatch(r"/lab/model/(\d+)/(\d+)/.+", request.path)
    if request.method != "GET" or not match or not valid(request.raw_path, request.query):
        body = "<Error><Code>ExpiredRequest</Code><Message>Request has expired</Message></Error>"
        return request.answer(403, body, {"Content-Type": "application/xml"})
    version = catalog(request.root)[match.group(1)]
    chosen = next(f for f in version["files"] if str(f["id"]) == match.group(2))
    disposition = unquote(request.query.get("response-content-disposition", ""))
    return request.file(request.root / "civitai" / chosen["_file"], {"Content-Disposition": disposition, "ETag": f'"{chosen["id"]}"'})
