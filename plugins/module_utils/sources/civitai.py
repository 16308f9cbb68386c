# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Civitai: a model version becomes one file, chosen by its metadata and fetched by its file id."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..errors import SdopsError
from ..files import parse_json
from ..models.layout import CIVITAI_KINDS
from ..safety.names import hex_digits, safe_name
from ..transfer.fetch import RemoteFile
from ..transfer.http import REDIRECTS, Http, backoff, said

MATCHED = ("format", "size", "fp")


class CivitaiError(SdopsError):
    """Civitai does not give the file."""


REGION = (
    "%s does not serve this region (it tells by the IP address, so by the proxy's exit if there is one). Use a proxy "
    "whose exit lies elsewhere."
)
ODD = "Civitai's answer for %s is not what its API promises. Try again later; civitai_endpoint may be no Civitai."
TOO_MANY = "%s turns us away for %s: too many downloads or requests (429). Wait, and lower parallel. It said: %s"


def _site(url: str) -> str:
    """What messages call the one that was asked: Civitai has several sites, which do not show the same."""
    return f"Civitai ({urlsplit(url).hostname})"


def _json(http: Http, url: str, what: str) -> dict[str, Any]:
    site = _site(url)
    answer = http.request("GET", url)
    if answer.status_code == 404:
        raise CivitaiError(
            f"{site} knows no {what}: it was deleted or unpublished, or is hidden from this country or account, or another site of "
            "Civitai has it. A link from there (https://civitai.red/models/...) is asked for there."
        )
    if answer.status_code == 451:
        raise CivitaiError(REGION % site)
    if answer.status_code == 429:
        raise CivitaiError(TOO_MANY % (site, what, said(answer)))
    if answer.status_code != 200 or "json" not in answer.headers.get("Content-Type", ""):
        raise CivitaiError("%s answered %d for %s: %s" % (site, answer.status_code, what, said(answer)))
    try:
        # characters that no encoding has become question marks
        body = parse_json(json.dumps(parse_json(answer.content), ensure_ascii=False).encode("utf-8", "replace"))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise CivitaiError(ODD % what)
    return body


def _fields(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _id(entry: dict[str, Any], what: str) -> str:
    found = str(entry.get("id"))
    if not (found.isascii() and found.isdigit()):
        raise CivitaiError(ODD % what)
    return found


def _files(version: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The version's files, each with ``id`` (a string), ``name``, ``metadata`` and ``hashes`` (upper-case name to value)."""
    files = []
    listed = version.get("files") or []
    for entry in map(_fields, listed if isinstance(listed, list) else [listed]):
        if not isinstance(entry.get("name"), str):
            raise CivitaiError(ODD % what)
        hashes = {str(kind).upper(): value for kind, value in _fields(entry.get("hashes")).items()}
        files.append({**entry, "id": _id(entry, what), "hashes": hashes, "metadata": _fields(entry.get("metadata"))})
    return files


def _size(kib: Any) -> int | None:
    """Bytes, nearly: the API rounds. None for what is no size."""
    return int(kib * 1024) if isinstance(kib, (int, float)) and 0 < kib < 1 << 40 else None


def choose(files: list[dict[str, Any]], where: dict[str, str], what: str, sha256: str | None = None) -> dict[str, Any]:
    """The file that ``where`` means: by fileId, else by hash, type and metadata, of these the one with ``sha256`` or the primary one."""
    if "fileId" in where:
        found = [f for f in files if f["id"] == where["fileId"]]
    else:
        found = [
            f
            for f in files
            if ("sha256" not in where or hex_digits(f["hashes"].get("SHA256"), 64) == where["sha256"])
            and ("type" not in where or f.get("type") == where["type"])
            and all(k not in where or str(f["metadata"].get(k)) == where[k] for k in MATCHED)
        ]
    if not found:
        there = "; ".join(
            "{} (fileId={}, type={}, {})".format(
                f["name"],
                f["id"],
                f.get("type"),
                ", ".join("{}={}".format(*kv) for kv in sorted(f["metadata"].items())),
            )
            for f in files
        )
        asked = ", ".join("{}={}".format(*kv) for kv in where.items())
        raise CivitaiError("{} has no file with {}. It has: {}.".format(what, asked, there or "none"))
    wanted = [f for f in found if sha256 and hex_digits(f["hashes"].get("SHA256"), 64) == sha256]
    return next((f for f in wanted or found if f.get("primary")), (wanted or found)[0])


def _explain_download(http: Http, url: str, what: str, has_token: bool) -> None:
    """Ask the download URL itself, without following it to the storage, and raise when it would not give the file."""
    for attempt in range(3):
        answer = http.request("GET", url, stop_at_foreign=True, stream=True)
        # their resolver of storage links fails now and then, with a 404 that must not be cached
        if answer.status_code != 404 or "no-store" not in answer.headers.get("Cache-Control", "") or attempt == 2:
            break
        answer.close()
        http.pause(backoff(attempt))
    status, location = answer.status_code, answer.headers.get("Location", "")
    page = status == 200 and answer.headers.get("Content-Type", "").startswith("text/html")
    text = said(answer) if status >= 400 else ""
    answer.close()
    login = page or (status in REDIRECTS and urlsplit(location).path == "/login")
    if status in (200, 206) and not page or (status in REDIRECTS and not login):
        return
    site = _site(url)
    token = "the token may be wrong or expired" if has_token else f"set a civitai_token for {urlsplit(url).hostname}"
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
        raise CivitaiError(REGION % site)
    if status == 429:
        raise CivitaiError(TOO_MANY % (site, what, text))
    raise CivitaiError("%s answered %d for the download of %s: %s" % (site, status, what, text))


def resolve(
    where: dict[str, str], http: Http, endpoint: str, has_token: bool = False, sha256: str | None = None
) -> RemoteFile:
    """``where`` has version_id, model_id (its newest version) or sha256, and may narrow down the file, as ``sha256`` does if it is listed."""
    endpoint = endpoint.rstrip("/")
    if "sha256" in where:
        version = _json(
            http,
            "{}/api/v1/model-versions/by-hash/{}".format(endpoint, where["sha256"]),
            "file {}".format(where["sha256"]),
        )
    elif "version_id" in where:
        version = _json(
            http,
            "{}/api/v1/model-versions/{}".format(endpoint, where["version_id"]),
            "version {}".format(where["version_id"]),
        )
    else:
        model = _json(
            http, "{}/api/v1/models/{}".format(endpoint, where["model_id"]), "model {}".format(where["model_id"])
        )
        versions = model.get("modelVersions") or []
        if not versions:
            raise CivitaiError("Model {} at {} has no published version.".format(where["model_id"], _site(endpoint)))
        newest = _id(_fields(versions[0]) if isinstance(versions, list) else {}, "model {}".format(where["model_id"]))
        version = _json(http, f"{endpoint}/api/v1/model-versions/{newest}", f"version {newest}")
    number = _id(version, " ".join(where.values()))
    model = _fields(version.get("model"))
    what = "{} (civitai version {})".format(model.get("name") or f"version {number}", number)
    wish = {k: v for k, v in where.items() if k not in ("version_id", "model_id")}
    download = f"{endpoint}/api/download/models/{number}"
    files = _files(version, what)
    if not files:  # archived, for one: only the download itself says why
        _explain_download(http, download, what, has_token)
    chosen = choose(files, wish, what, sha256)
    url = "{}?{}".format(download, urlencode({"fileId": chosen["id"]}))
    _explain_download(http, url, what, has_token)
    for scan in ("pickleScanResult", "virusScanResult"):
        if chosen.get(scan) == "Danger":
            raise CivitaiError(
                "{} of {} was found dangerous by Civitai's own scan ({}). It is not fetched.".format(
                    chosen["name"], what, scan
                )
            )
    sha256 = hex_digits(chosen["hashes"].get("SHA256"), 64)
    kind = "vae" if chosen.get("type") == "VAE" else CIVITAI_KINDS.get(str(model.get("type")))
    return RemoteFile(
        url=url,
        filename=safe_name(chosen["name"]),
        about=_size(chosen.get("sizeKB")),  # only the download itself tells exactly
        sha256=sha256,
        # the first ten digits of the same hash, listed before the whole one is
        sha256_prefix=None if sha256 else hex_digits(chosen["hashes"].get("AUTOV2"), 10),
        etag="civitai-file-{}".format(chosen["id"]),
        revision=number,
        kind=kind,
    )
