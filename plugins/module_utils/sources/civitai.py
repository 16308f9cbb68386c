# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Civitai: a model version becomes one file, chosen by its metadata and fetched by its file id."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..content_scan.sanitize import parse_hex_digits, sanitize_name
from ..errors import CivitaiError
from ..filesystem import parse_json
from ..transfer.http import REDIRECT_STATUSES, HttpClient
from ..transfer.remote_file import RemoteFile
from ..transfer.responses import response_summary
from ..transfer.retry import backoff

METADATA_FILTERS = ("format", "size", "fp")
# Civitai's model types, as kinds of models/layout.py
CIVITAI_KINDS = {
    "Checkpoint": "checkpoint",
    "LORA": "lora",
    "LoCon": "lora",
    "DoRA": "lora",
    "TextualInversion": "embedding",
    "VAE": "vae",
    "Hypernetwork": "hypernetwork",
    "Controlnet": "controlnet",
    "Upscaler": "upscaler",
}


REGION_MESSAGE = (
    "{} does not serve this region (it tells by the IP address, so by the proxy's exit if there is one). Use a proxy "
    "whose exit lies elsewhere."
)
ODD_RESPONSE_MESSAGE = (
    "Civitai's answer for {} is not what its API promises. Try again later; civitai_endpoint may be no Civitai."
)
TOO_MANY_MESSAGE = (
    "{} turns the target away for {}: too many downloads or requests (429). Wait, and lower parallel. It said: {}"
)


def _site_label(url: str) -> str:
    """What messages call the one that was asked: Civitai has several sites, which do not show the same."""
    return f"Civitai ({urlsplit(url).hostname})"


def _query_api(http: HttpClient, url: str, what: str) -> dict[str, Any]:
    site = _site_label(url)
    response = http.request("GET", url)
    if response.status_code == 404:
        raise CivitaiError(
            f"{site} knows no {what}: it was deleted or unpublished, or is hidden from this country or account, or another site of "
            "Civitai has it. A link from there (https://civitai.red/models/...) is asked for there."
        )
    if response.status_code == 451:
        raise CivitaiError(REGION_MESSAGE.format(site))
    if response.status_code == 429:
        raise CivitaiError(TOO_MANY_MESSAGE.format(site, what, response_summary(response)))
    if response.status_code != 200 or "json" not in response.headers.get("Content-Type", ""):
        raise CivitaiError(f"{site} answered {response.status_code} for {what}: {response_summary(response)}")
    try:
        # characters that no encoding has become question marks
        body = parse_json(json.dumps(parse_json(response.content), ensure_ascii=False).encode("utf-8", "replace"))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise CivitaiError(ODD_RESPONSE_MESSAGE.format(what))
    return body


def _as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _numeric_id(entry: dict[str, Any], what: str) -> str:
    found = str(entry.get("id"))
    if not (found.isascii() and found.isdigit()):
        raise CivitaiError(ODD_RESPONSE_MESSAGE.format(what))
    return found


def _list_files(version: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The version's files, each with ``id`` (a string), ``name``, ``metadata`` and ``hashes`` (upper-case name to value)."""
    files = []
    listed = version.get("files") or []
    for entry in map(_as_object, listed if isinstance(listed, list) else [listed]):
        if not isinstance(entry.get("name"), str):
            raise CivitaiError(ODD_RESPONSE_MESSAGE.format(what))
        hashes = {str(kind).upper(): value for kind, value in _as_object(entry.get("hashes")).items()}
        files.append(
            {**entry, "id": _numeric_id(entry, what), "hashes": hashes, "metadata": _as_object(entry.get("metadata"))}
        )
    return files


def _approximate_bytes(kib: Any) -> int | None:
    """Bytes, nearly: the API rounds. None for what is no size."""
    return int(kib * 1024) if isinstance(kib, (int, float)) and 0 < kib < 1 << 40 else None


def choose_version_file(
    files: list[dict[str, Any]], locator: dict[str, str], what: str, sha256: str | None = None
) -> dict[str, Any]:
    """The file that ``locator`` means: by fileId, else by hash, type and metadata, of these the one with ``sha256`` or the primary one."""
    if "fileId" in locator:
        found = [f for f in files if f["id"] == locator["fileId"]]
    else:
        found = [
            f
            for f in files
            if ("sha256" not in locator or parse_hex_digits(f["hashes"].get("SHA256"), 64) == locator["sha256"])
            and ("type" not in locator or f.get("type") == locator["type"])
            and all(k not in locator or str(f["metadata"].get(k)) == locator[k] for k in METADATA_FILTERS)
        ]
    if not found:
        available = "; ".join(
            "{} (fileId={}, type={}, {})".format(
                f["name"],
                f["id"],
                f.get("type"),
                ", ".join("{}={}".format(*kv) for kv in sorted(f["metadata"].items())),
            )
            for f in files
        )
        filter_text = ", ".join("{}={}".format(*kv) for kv in locator.items())
        raise CivitaiError("{} has no file with {}. It has: {}.".format(what, filter_text, available or "none"))
    matching = [f for f in found if sha256 and parse_hex_digits(f["hashes"].get("SHA256"), 64) == sha256]
    return next((f for f in matching or found if f.get("primary")), (matching or found)[0])


def _check_download(http: HttpClient, url: str, what: str, has_token: bool) -> None:
    """Ask the download URL itself, without following it to the storage, and raise when it would not give the file."""
    for attempt in range(3):
        response = http.request("GET", url, stop_at_other_origin=True, stream=True)
        # their resolver of storage links fails now and then, with a 404 that must not be cached
        if response.status_code != 404 or "no-store" not in response.headers.get("Cache-Control", "") or attempt == 2:
            break
        response.close()
        http.pause(backoff(attempt))
    status, location = response.status_code, response.headers.get("Location", "")
    page = status == 200 and response.headers.get("Content-Type", "").startswith("text/html")
    text = response_summary(response) if status >= 400 else ""
    response.close()
    login = page or (status in REDIRECT_STATUSES and urlsplit(location).path == "/login")
    if status in (200, 206) and not page or (status in REDIRECT_STATUSES and not login):
        return
    site = _site_label(url)
    token = (
        "the token may be wrong or expired"
        if has_token
        else f"set a civitai_token (model_fetch_civitai_token of the role) for {urlsplit(url).hostname}"
    )
    if status == 401 or login:
        if "disabled downloads" in text:
            raise CivitaiError(f"The creator of {what} has disabled downloads.")
        raise CivitaiError(f"{what} needs a login: {token}.")
    if status == 403 and "Early Access" in text:
        raise CivitaiError(f"{what} is in early access and has to be bought on the site first: {text}")
    if status == 403 and "do not have access" in text:
        raise CivitaiError(f"Your account has no access to {what}, which is for chosen ones: {token}.")
    if status == 403:
        raise CivitaiError(
            "{} refuses the download of {} (403{}): this address or account may be blocked.".format(
                site, what, ": " + text if text else ""
            )
        )
    if status == 404:
        raise CivitaiError(
            f"{site} does not find the file of {what} (404): it was deleted or unpublished, or its storage is out of order. Try again "
            "later."
        )
    if status == 410:
        raise CivitaiError(f"{what} is archived and cannot be downloaded.")
    if status == 451:
        raise CivitaiError(REGION_MESSAGE.format(site))
    if status == 429:
        raise CivitaiError(TOO_MANY_MESSAGE.format(site, what, text))
    raise CivitaiError(f"{site} answered {status} for the download of {what}: {text}")


def resolve_civitai_file(
    locator: dict[str, str], http: HttpClient, endpoint: str, has_token: bool = False, sha256: str | None = None
) -> RemoteFile:
    """``locator`` has version_id, model_id (its newest version) or sha256, and may narrow down the file, as ``sha256`` does if it is listed."""
    endpoint = endpoint.rstrip("/")
    if "sha256" in locator:
        version = _query_api(
            http,
            "{}/api/v1/model-versions/by-hash/{}".format(endpoint, locator["sha256"]),
            "file {}".format(locator["sha256"]),
        )
    elif "version_id" in locator:
        version = _query_api(
            http,
            "{}/api/v1/model-versions/{}".format(endpoint, locator["version_id"]),
            "version {}".format(locator["version_id"]),
        )
    else:
        model = _query_api(
            http, "{}/api/v1/models/{}".format(endpoint, locator["model_id"]), "model {}".format(locator["model_id"])
        )
        versions = model.get("modelVersions") or []
        if not versions:
            raise CivitaiError(
                "Model {} at {} has no published version.".format(locator["model_id"], _site_label(endpoint))
            )
        newest = _numeric_id(
            _as_object(versions[0]) if isinstance(versions, list) else {}, "model {}".format(locator["model_id"])
        )
        version = _query_api(http, f"{endpoint}/api/v1/model-versions/{newest}", f"version {newest}")
    number = _numeric_id(version, " ".join(locator.values()))
    model = _as_object(version.get("model"))
    what = "{} (civitai version {})".format(model.get("name") or f"version {number}", number)
    filters = {k: v for k, v in locator.items() if k not in ("version_id", "model_id")}
    download = f"{endpoint}/api/download/models/{number}"
    files = _list_files(version, what)
    if not files:  # archived, for one: only the download itself says why
        _check_download(http, download, what, has_token)
    chosen = choose_version_file(files, filters, what, sha256)
    url = "{}?{}".format(download, urlencode({"fileId": chosen["id"]}))
    _check_download(http, url, what, has_token)
    for scan in ("pickleScanResult", "virusScanResult"):
        if chosen.get(scan) == "Danger":
            raise CivitaiError(
                "{} of {} was found dangerous by Civitai's own scan ({}). It is not fetched.".format(
                    chosen["name"], what, scan
                )
            )
    sha256 = parse_hex_digits(chosen["hashes"].get("SHA256"), 64)
    kind = "vae" if chosen.get("type") == "VAE" else CIVITAI_KINDS.get(str(model.get("type")))
    return RemoteFile(
        url=url,
        filename=sanitize_name(chosen["name"]),
        approximate_size=_approximate_bytes(chosen.get("sizeKB")),  # only the download itself tells exactly
        sha256=sha256,
        # the first ten digits of the same hash, listed before the whole one is
        sha256_prefix=None if sha256 else parse_hex_digits(chosen["hashes"].get("AUTOV2"), 10),
        etag="civitai-file-{}".format(chosen["id"]),
        revision=number,
        kind=kind,
    )
