# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hugging Face Hub: a repository's file at a revision becomes a RemoteFile pinned to a commit.

Protocol as spoken by the huggingface_hub client: HEAD on ``/resolve/``, metadata on the redirect itself.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

from ..content_scan.sanitize import parse_hex_digits, sanitize_name
from ..errors import HubError
from ..filesystem import parse_json
from ..transfer.http import HttpClient
from ..transfer.remote_file import RemoteFile
from ..transfer.responses import header_number, header_text
from ..urls import reject_downgrade, resolve_redirect


def read_etag(headers: dict[str, str]) -> str:
    raw = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    return re.sub(r"^W/", "", raw).strip('"')


def describe_hub_error(locator: dict[str, str], response: Any, has_token: bool, endpoint: str) -> str:
    """A sentence for an error response: by code and status, since texts change."""
    code = response.headers.get("X-Error-Code", "")
    message = response.headers.get("X-Error-Message", "")
    what = "{}/{}".format(locator["repo"], locator["file"])
    if code == "GatedRepo":
        return "{} is gated: accept its terms at {}/{}{}.".format(
            what,
            endpoint,
            locator["repo"],
            " with the account of your token, or take a token that may read it"
            if has_token
            else ", and give a huggingface_token (model_fetch_huggingface_token of the role) of that account",
        )
    if "Invalid credentials" in message:
        return f"{endpoint} does not accept the huggingface_token (model_fetch_huggingface_token of the role): it is wrong, expired or revoked. Make a new one."
    if code == "RepoNotFound" or (response.status_code == 401 and not code):
        return "The repository {} does not exist at {}, or is private{}.".format(
            locator["repo"],
            endpoint,
            "; check the token and what it may read"
            if has_token
            else "; private ones need a huggingface_token (model_fetch_huggingface_token of the role)",
        )
    if code == "RevisionNotFound":
        return "The repository {} has no revision {!r}. Check the list of its branches and commits.".format(
            locator["repo"],
            locator["revision"],
        )
    if code == "EntryNotFound" or response.status_code == 404:
        return "The repository {} has no file {} at revision {!r}. Check the name in the list of its files.".format(
            locator["repo"],
            locator["file"],
            locator["revision"],
        )
    if response.status_code == 403 and "disabled" in message:
        return "The repository {} is disabled at {}. Take the file from another source.".format(
            locator["repo"], endpoint
        )
    if response.status_code == 429:
        return (
            f"{endpoint} turns the target away: too many requests (429). Wait some minutes; a huggingface_token "
            "(model_fetch_huggingface_token of the role) raises the limit."
        )
    return "{} answered {} for {}{}. Run again later, or take the file from another source.".format(
        endpoint, response.status_code, what, f": {message[:200]}" if message else ""
    )


def _size_from_tree(locator: dict[str, str], commit: str, http: HttpClient, endpoint: str) -> int | None:
    """Size by the Hub's API, for mirrors that drop the header. None when that does not tell either."""
    folder = os.path.dirname(locator["file"])
    repo = locator["repo"] if locator["repo"].count("/") > 1 else "models/" + locator["repo"]
    url = "{}/api/{}/tree/{}{}".format(endpoint, repo, commit, "/" + quote(folder) if folder else "")
    for _page in range(50):
        response = http.request("GET", url)
        try:
            entries = parse_json(response.content) if response.status_code == 200 else []
        except ValueError:
            return None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("path") == locator["file"] and isinstance(entry.get("size"), int):
                size: int = entry["size"]
                return size
        following = response.links.get("next", {}).get("url")
        if not following:
            return None
        url = resolve_redirect(url, following)
    return None


def resolve_hub_file(locator: dict[str, str], http: HttpClient, endpoint: str, has_token: bool = False) -> RemoteFile:
    """``locator`` has repo ("OWNER/NAME", with "datasets/" before it for a data set), file and revision.

    A proxy of packages (Artifactory) passes the files on and not all of the Hub's headers: with a full commit as revision the file
    cannot change, so its commit need not be passed. Raises HubError or TransferError.
    """
    endpoint = endpoint.rstrip("/")
    base, path = "{}/{}/resolve/".format(endpoint, locator["repo"]), "/" + quote(locator["file"])
    url = base + quote(locator["revision"], safe="") + path
    # a mirror may send us to the Hub itself: redirects are followed until one carries the metadata
    for _hop in range(5):
        response = http.request("HEAD", url, stop_at_other_origin=True)
        location = header_text(response.headers.get("Location"))
        reported = response.headers.get("X-Repo-Commit") or response.headers.get("X-Linked-Etag")
        if response.status_code < 300 or not location or reported:
            break
        target = resolve_redirect(url, location)
        reject_downgrade(url, target)
        url = target
    if response.status_code >= 400:
        raise HubError(describe_hub_error(locator, response, has_token, endpoint))
    reported_commit = response.headers.get("X-Repo-Commit")
    commit = reported_commit or parse_hex_digits(locator["revision"], 40)
    etag = read_etag(response.headers)
    if not commit or not etag:
        raise HubError(
            "{} does not answer like a Hugging Face Hub (no {}). Check huggingface_endpoint{}.".format(
                endpoint,
                "X-Repo-Commit" if etag else "ETag",
                ", or write the full commit (40 hex digits) as revision" if etag else "",
            )
        )
    # without a word of the Hub's, 40 digits may be a hash of another kind (Artifactory: SHA-1 of the content)
    from_hub = bool(reported_commit or response.headers.get("X-Linked-Etag"))
    sha256 = parse_hex_digits(etag, 64) or parse_hex_digits(response.headers.get("X-Checksum-Sha256"), 64)
    reported = response.headers.get("X-Linked-Size")
    if reported is None and response.status_code == 200:
        reported = response.headers.get("Content-Length")
    size = header_number(reported)
    if size is None:
        size = _size_from_tree(locator, commit, http, endpoint)
    return RemoteFile(
        # by commit: the same file, even when the branch moves while it comes down
        url=base + quote(commit, safe="") + path,
        filename=sanitize_name(os.path.basename(locator["file"])),
        size=size,
        sha256=sha256,
        git_sha1=parse_hex_digits(etag, 40) if from_hub else None,
        etag=etag,
        revision=commit,
    )
