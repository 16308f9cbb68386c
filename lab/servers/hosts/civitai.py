"""civitai.lab.test, storage.civitai.lab.test and b2.civitai.lab.test: fakes of Civitai's API and its two storages.

Content: ``root``/index.json and ``root``/files/FILE_ID, made by ``lab.servers build``::

    {"tokens": {"TOKEN": {"name": "...", "grants": [VERSION_ID], "bought": [VERSION_ID], "blacklisted": false,
                          "prefers": {"format", "size", "fp"}}},
     "models": [{"id", "name", "type", ..., "modelVersions": [
        {"id", "name", "baseModel", "trainedWords", ..., "files": [...],
         "lab": {"status": "Published"|"Deleted"|"Archived", "require_auth", "downloads_disabled",
                 "early_access_until", "grant_only", "broken_filters", "storage": "r2"|"b2"}}]}]}

``lab`` holds what the real service keeps in its database; it is not part of any answer. ``broken_filters``: only fileId finds
a file, the download links that the API itself gives out do not.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..faults import Fault
from ..web import JsonFile, Request, Response, file_response, json_response, text
from . import CIVITAI, CIVITAI_B2, CIVITAI_STORAGE

if TYPE_CHECKING:
    from ..server import LabServer

TYPES = [
    "Model",
    "Text Encoder",
    "Vision Encoder",
    "Pruned Model",
    "Negative",
    "Training Data",
    "VAE",
    "Config",
    "Archive",
    "UNet",
    "Diffusion Model",
    "CLIPVision",
    "ControlNet",
    "Workflow",
    "Upscaler",
    "Enhancement LoRA",
    "Other",
]
FORMATS = ["SafeTensor", "PickleTensor", "GGUF", "Diffusers", "Core ML", "ONNX", "Other"]
SIZES = ("full", "pruned")
MAIN_TYPES = ("Model", "Pruned Model", "Diffusion Model", "UNet")
BROWSERS = re.compile(r"mozilla|chrome|safari|firefox|opera|edge", re.IGNORECASE)
INT32 = 2**31 - 1
REGION_BLOCKED = {
    "error": "Access to this service is not available in your region due to legal restrictions.",
    "code": "REGION_BLOCKED",
}
TOO_MANY = (
    "We've noticed an unusual amount of downloading from your account. Contact support@civitai.com or come back later."
)


def resolver_failed(times: int | None = 1, path: str = "/api/download/models/*") -> Fault:
    """The fault of a storage resolver that is down for a moment: it looks like a missing file, but for one header."""
    headers = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "private, no-store"}
    body = json.dumps({"error": "File not found"})
    return Fault("status", host=CIVITAI, path=path, status=404, body=body, headers=headers, times=times)


class CivitaiHost:
    """The JSON API and the download endpoint."""

    def __init__(self, lab_server: LabServer, root: Path) -> None:
        self._lab_server = lab_server
        self._index = JsonFile(root / "index.json", {"models": [], "tokens": {}})

    def handle(self, request: Request) -> Response:
        parts = request.segments
        if self._lab_server.settings.civitai_region_blocked:
            if parts[:1] == ["api"]:
                return json_response(451, REGION_BLOCKED)
            if parts != ["region-blocked"]:
                return Response(307, {"Location": "/region-blocked"})
        if parts[:4] == ["api", "download", "models", *parts[3:4]] and len(parts) == 4:
            return self._download(request, parts[3])
        if parts[:2] == ["api", "v1"]:
            return self._api(request, parts[2:])
        if parts == ["login"]:
            return text(
                200,
                "<!doctype html><title>Login</title><p>Lab fake: log in.</p>\n" * 20,
                "text/html; charset=utf-8",
            )
        page = "<!doctype html><title>lab fake of a model site</title><p>A lab fake.</p>\n"
        return text(200 if len(parts) < 3 else 404, page, "text/html; charset=utf-8")

    # --- JSON API

    def _api(self, request: Request, parts: list[str]) -> Response:
        if parts[:1] == ["models"] and len(parts) == 2:
            return self._model(request, parts[1])
        if parts[:2] == ["model-versions", "by-hash"] and parts[2:] in ([], ["ids"]) and request.method == "POST":
            found = [(digest, pair) for digest in json.loads(request.body.read()) if (pair := self._by_hash(digest))]
            if parts[2:]:
                return json_response(200, [{"modelVersionId": pair[1]["id"], "hash": key} for key, pair in found])
            return json_response(200, [version_body(request, *pair) for _digest, pair in found])
        if parts[:2] == ["model-versions", "by-hash"] and len(parts) == 3:
            pair = self._by_hash(parts[2])
            return (
                self._public(version_body(request, *pair)) if pair else json_response(404, {"error": "Model not found"})
            )
        if parts[:1] == ["model-versions"] and len(parts) == 2:
            number = _number(parts[1])
            if number is None:
                return json_response(400, {"error": "Invalid id: expected a number"})
            for model, version in self._versions():
                if version["id"] == number:
                    return self._public(version_body(request, model, version))
            return json_response(404, {"error": "Model not found"})
        return json_response(404, {"error": "Not found"})

    def _by_hash(self, digest: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(model, version) of the oldest file that has this hash, of whatever kind."""
        for model, version in sorted(self._versions(), key=lambda pair: pair[1]["publishedAt"]):
            if any(digest.upper() in file["hashes"].values() for file in version["files"]):
                return model, version
        return None

    def _model(self, request: Request, text_id: str) -> Response:
        number = _number(text_id)
        if number is None:
            return json_response(400, {"error": "Invalid id: expected a number"})
        for model in self._index.read()["models"]:
            if model["id"] == number:
                body = {name: value for name, value in model.items() if name != "modelVersions"}
                versions = [version_body(request, model, item) for seen, item in self._versions() if seen is model]
                if not versions:
                    break
                for version in versions:
                    for name in ("model", "modelId", "air"):
                        version.pop(name)
                return self._public({**body, "modelVersions": versions})
        return json_response(404, {"error": f"No model with id {number}"})

    @staticmethod
    def _public(value: Any) -> Response:
        return json_response(200, value, Cache_Control="public, s-maxage=300")

    def _versions(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(model, version) of everything that is not deleted."""
        return [
            (model, version)
            for model in self._index.read()["models"]
            for version in model["modelVersions"]
            if version["lab"]["status"] != "Deleted"
        ]

    # --- downloads

    def _caller(self, request: Request) -> dict[str, Any] | None:
        """The session; a wrong token is the same as none. The header wins over the query."""
        token = request.token() or request.query.get("token")
        return self._index.read()["tokens"].get(token) if token else None

    def _download(self, request: Request, text_id: str) -> Response:
        browser = bool(BROWSERS.search(request.headers.get("User-Agent", "")))

        def reject(status: int, error: str, **more: str) -> Response:
            if browser:
                return text(status, more.get("message", error))
            return json_response(status, {"error": error, **more})

        settings, caller = self._lab_server.settings, self._caller(request)
        if settings.civitai_blacklisted or (caller or {}).get("blacklisted"):
            return reject(403, "Forbidden")
        if settings.civitai_too_many:
            return reject(429, TOO_MANY)
        query = request.query
        number = _number(text_id)
        problem = "Invalid input: modelVersionId must be a number" if number is None else _bad_query(query)
        if problem:
            return reject(400, problem)
        found = next((pair for pair in self._versions() if pair[1]["id"] == number), None)
        if found is None:
            return reject(404, "File not found")
        model, version = found
        lab = version["lab"]
        if lab["status"] == "Archived":
            return reject(410, "Model archived, not available for download")
        if lab.get("downloads_disabled"):
            message = "The creator of this asset has disabled downloads on this file"
            return reject(401, "Unauthorized", message=message)
        if caller is None and (lab.get("require_auth") or settings.civitai_require_auth):
            if browser:
                back = urlencode({"returnUrl": f"/model-versions/{number}", "reason": "download-auth"})
                return Response(307, {"Location": f"/login?{back}"})
            message = "The creator of this asset requires you to be logged in to download it"
            return reject(401, "Unauthorized", message=message)
        if lab.get("early_access_until") and number not in (caller or {}).get("bought", []):
            if browser:
                return Response(307, {"Location": f"/model-versions/{number}"})
            message = "This asset is in Early Access. You can use Buzz access it now!"
            return reject(403, "Early Access", deadline=lab["early_access_until"], message=message)
        if lab.get("grant_only") and number not in (caller or {}).get("grants", []):
            return reject(403, "You do not have access to download this file")
        broken = lab.get("broken_filters") and set(query) & {"type", "format", "size", "fp", "quantType"}
        file = None if broken else choose_file(version["files"], query, (caller or {}).get("prefers"))
        if file is None:
            return reject(404, "File not found")
        return self._redirect(request, model, file, lab.get("storage") or settings.civitai_storage)

    def _redirect(self, request: Request, model: dict[str, Any], file: dict[str, Any], storage: str) -> Response:
        stem, _, suffix = file["name"].rpartition(".")
        random = hashlib.sha256(str(file["id"]).encode()).hexdigest()[:4]
        # the storage's own name for it: not everything that a creator may call a file
        key = f"{quote(re.sub(r'[^A-Za-z0-9_]', '', stem)[:80] or 'file')}.{random}.{suffix}"
        path = f"/{model['creator']['id']}/model/{file['id']}/{key}"
        sign, ttl, life = self._lab_server.signer.sign, self._lab_server.settings.civitai_url_ttl, request.link_life
        if storage == "b2":
            location = self._lab_server.link(
                request, CIVITAI_B2, sign(f"/file/civitai-modelfiles{path}", ttl, "b2", life)
            )
        else:
            disposition = f'attachment; filename="{file["name"]}"'
            signed = sign(path, ttl, life=life, response_content_disposition=disposition, x_id="GetObject")
            location = self._lab_server.link(request, CIVITAI_STORAGE, signed)
        return Response(307, {"Location": location, "Cache-Control": "no-store, max-age=0"})


class CivitaiStorage:
    """The storage behind the download endpoint: signed links for GET, ranges; a token is an error."""

    def __init__(self, lab_server: LabServer, root: Path) -> None:
        self._lab_server = lab_server
        self._files = root / "files"

    def handle(self, request: Request) -> Response:
        if "Authorization" in request.headers:
            return _xml(400, "InvalidRequest", "Missing x-amz-content-sha256")
        if request.method != "GET":
            return _xml(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        state = self._lab_server.signer.check(request.raw_path, request.query_string)
        if state == "expired":
            return _xml(403, "ExpiredRequest", "Request has expired")
        if state != "ok":
            return _xml(403, "AccessDenied", "Access Denied")
        parts = request.segments
        file = self._files / parts[2] if len(parts) == 4 and parts[2].isdigit() else None
        if file is None or not file.is_file():
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": request.query["response-content-disposition"],
            "ETag": f'"lab-{file.stat().st_size:x}-{parts[2]}"',
        }
        return file_response(request, file, headers)


class BackblazeStorage:
    """The other storage: one authorization in the query, no Content-Disposition, answers in JSON; HEAD is allowed."""

    def __init__(self, lab_server: LabServer, root: Path) -> None:
        self._lab_server = lab_server
        self._files = root / "files"

    def handle(self, request: Request) -> Response:
        if "Authorization" in request.headers:
            return _b2(401, "bad_auth_token", "Invalid authorization token")
        if request.method not in ("GET", "HEAD"):
            return _b2(405, "method_not_allowed", "Only GET and HEAD are supported")
        state = self._lab_server.signer.check(request.raw_path, request.query_string)
        if state == "expired":
            return _b2(401, "expired_auth_token", "Authorization token has expired")
        if state != "ok":
            return _b2(401, "unauthorized", "Unauthorized")
        parts = request.segments
        file = self._files / parts[4] if len(parts) == 6 and parts[4].isdigit() else None
        if file is None or not file.is_file():
            return _b2(404, "not_found", "File with such name does not exist.")
        return file_response(request, file, {"Content-Type": "application/octet-stream", "X-Bz-Content-Sha1": "none"})


def choose_file(
    files: list[dict[str, Any]], query: dict[str, str], prefers: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """The file that the query means: ``fileId`` exactly, else the best one that has every requested property.

    Which is the best depends on what the caller ``prefers``: the same link leads others to another file.
    """
    if query.get("fileId"):
        return next((file for file in files if file["id"] == int(query["fileId"])), None)
    candidates = files
    if query.get("type"):
        candidates = [file for file in candidates if file["type"] == query["type"]]
    for name in ("format", "size", "fp", "quantType"):
        if query.get(name):
            candidates = [
                file for file in candidates if (file["metadata"].get(name) or "").lower() == query[name].lower()
            ]
    return max(candidates, key=lambda file: score(file, prefers), default=None)


def score(file: dict[str, Any], prefers: dict[str, str] | None = None) -> int:
    """How much a file is the main one of its version."""
    preferences = {"format": "SafeTensor", "size": "pruned", "fp": "fp16", **(prefers or {})}
    points = {"format": 100, "size": 10, "fp": 1}
    return (1000 if file["type"] in MAIN_TYPES else 0) + sum(
        points[name] if file["metadata"].get(name) == value else -points[name] for name, value in preferences.items()
    )


def version_body(request: Request, model: dict[str, Any], version: dict[str, Any]) -> dict[str, Any]:
    """A model version as the API shows it."""
    lab = version["lab"]
    archived = lab["status"] == "Archived"
    base = f"{request.origin}/api/download/models/{version['id']}"
    files = [] if archived else version["files"]
    primary = max(files, key=score, default=None)
    public_files = []
    for file in files:
        metadata = file["metadata"]
        pairs = [("type", file["type"]), *((name, metadata.get(name)) for name in ("format", "size", "fp"))]
        query = urlencode([(name, value) for name, value in pairs if value], quote_via=quote)
        entry = {**file, "downloadUrl": base if file is primary else f"{base}?{query}"}
        if file is primary:
            entry["primary"] = True
        public_files.append(entry)
    body = {name: value for name, value in version.items() if name not in ("lab", "files")}
    body.update(
        modelId=model["id"],
        air=f"urn:air:{_ecosystem(version['baseModel'])}:{_air_type(model['type'])}:civitai:{model['id']}@{version['id']}",
        status="Published",
        availability="EarlyAccess" if lab.get("early_access_until") else "Public",
        usageControl="Generation" if lab.get("downloads_disabled") else "Download",
        earlyAccessEndsAt=lab.get("early_access_until"),
        paidAccess={"permanent": False, "endsAt": lab["early_access_until"]} if lab.get("early_access_until") else None,
        model={name: model[name] for name in ("name", "type", "nsfw", "poi")},
        files=public_files,
        images=[],
    )
    if archived:
        body["model"]["mode"] = "Archived"
    else:
        body["downloadUrl"] = base
    return body


def _ecosystem(base_model: str) -> str:
    return {"SD 1.5": "sd1", "SDXL 1.0": "sdxl"}.get(base_model, "other")


def _air_type(kind: str) -> str:
    return {"TextualInversion": "embedding", "LORA": "lora", "Checkpoint": "checkpoint"}.get(kind, kind.lower())


def _number(value: str) -> int | None:
    return int(value) if value.isdigit() and int(value) <= INT32 else None


def _bad_query(query: dict[str, str]) -> str | None:
    """What the request's schema objects to, None when nothing."""
    for name, allowed in (("type", TYPES), ("format", FORMATS), ("size", SIZES)):
        if name in query and query[name] not in allowed:
            options = "|".join(f'"{item}"' for item in allowed)
            return f"Invalid option: expected one of {options} at {name}"
    if len(query.get("fp", "")) > 64:
        return "Too big: expected string to have <=64 characters at fp"
    if "fileId" in query and _number(query["fileId"]) is None:
        return "Invalid input: expected number, received NaN at fileId"
    return None


def _b2(status: int, code: str, message: str) -> Response:
    return json_response(status, {"code": code, "message": message, "status": status})


def _xml(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return text(status, body, "application/xml")
