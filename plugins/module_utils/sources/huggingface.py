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

from ..errors import SdopsError
from ..files import parse_json
from ..safety.names import hex_digits, safe_name
from ..transfer.fetch import RemoteFile
from ..transfer.http import Http, header_text, join, number, refuse_downgrade


class HubError(SdopsError):
    """The Hub does not give the file."""


def etag_of(headers: dict[str, str]) -> str:
    raw = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    return re.sub(r"^W/", "", raw).strip('"')


def explain(where: dict[str, str], answer: Any, has_token: bool, endpoint: str) -> str:
    """A sentence for an error answer: by code and status, since texts change."""
    code = answer.headers.get("X-Error-Code", "")
    message = answer.headers.get("X-Error-Message", "")
    what = "{}/{}".format(where["repo"], where["file"])
    if code == "GatedRepo":
        return "{} is gated: accept its terms at {}/{}{}.".format(
            what,
            endpoint,
            where["repo"],
            " with the account of your token, or take a token that may read it"
            if has_token
            else ", and give a huggingface_token of that account",
        )
    if "Invalid credentials" in message:
        return f"{endpoint} does not accept the huggingface_token: it is wrong, expired or revoked. Make a new one."
    if code == "RepoNotFound" or (answer.status_code == 401 and not code):
        return "The repository {} does not exist at {}, or is private{}.".format(
            where["repo"],
            endpoint,
            "; check the token and what it may read" if has_token else "; private ones need a huggingface_token",
        )
    if code == "RevisionNotFound":
        return "The repository {} has no revision {!r}. Check the list of its branches and commits.".format(
            where["repo"],
            where["revision"],
        )
    if code == "EntryNotFound" or answer.status_code == 404:
        return "The repository {} has no file {} at revision {!r}. Check the name in the list of its files.".format(
            where["repo"],
            where["file"],
            where["revision"],
        )
    if answer.status_code == 403 and "disabled" in message:
        return "The repository {} is disabled at {}. Take the file from another source.".format(where["repo"], endpoint)
    if answer.status_code == 429:
        return f"{endpoint} turns us away: too many requests (429). Wait some minutes; a huggingface_token raises the limit."
    return "%s answered %d for %s%s. Run again later, or take the file from another source." % (
        endpoint,
        answer.status_code,
        what,
        ": " + message[:200] if message else "",
    )


def _size_from_tree(where: dict[str, str], commit: str, http: Http, endpoint: str) -> int | None:
    """Size by the Hub's API, for mirrors that drop the header. None when that does not tell either."""
    folder = os.path.dirname(where["file"])
    repo = where["repo"] if where["repo"].count("/") > 1 else "models/" + where["repo"]
    url = "{}/api/{}/tree/{}{}".format(endpoint, repo, commit, "/" + quote(folder) if folder else "")
    for _page in range(50):
        answer = http.request("GET", url)
        try:
            entries = parse_json(answer.content) if answer.status_code == 200 else []
        except ValueError:
            return None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("path") == where["file"] and isinstance(entry.get("size"), int):
                size: int = entry["size"]
                return size
        following = answer.links.get("next", {}).get("url")
        if not following:
            return None
        url = join(url, following)
    return None


def resolve(where: dict[str, str], http: Http, endpoint: str, has_token: bool = False) -> RemoteFile:
    """``where`` has repo ("OWNER/NAME", with "datasets/" before it for a data set), file and revision.

    A proxy of packages (Artifactory) passes the files on and not all of the Hub's headers: with a full commit as revision the file
    cannot change, so its commit need not be told. Raises HubError or TransferError.
    """
    endpoint = endpoint.rstrip("/")
    base, path = "{}/{}/resolve/".format(endpoint, where["repo"]), "/" + quote(where["file"])
    url = base + quote(where["revision"], safe="") + path
    # a mirror may send us to the Hub itself: redirects are followed until one carries the metadata
    for _hop in range(5):
        answer = http.request("HEAD", url, stop_at_foreign=True)
        location = header_text(answer.headers.get("Location"))
        told = answer.headers.get("X-Repo-Commit") or answer.headers.get("X-Linked-Etag")
        if answer.status_code < 300 or not location or told:
            break
        target = join(url, location)
        refuse_downgrade(url, target)
        url = target
    if answer.status_code >= 400:
        raise HubError(explain(where, answer, has_token, endpoint))
    told_commit = answer.headers.get("X-Repo-Commit")
    commit = told_commit or hex_digits(where["revision"], 40)
    etag = etag_of(answer.headers)
    if not commit or not etag:
        raise HubError(
            "{} does not answer like a Hugging Face Hub (no {}). Check huggingface_endpoint{}.".format(
                endpoint,
                "X-Repo-Commit" if etag else "ETag",
                ", or write the full commit (40 hex digits) as revision" if etag else "",
            )
        )
    # without a word of the Hub's, 40 digits may be a hash of another kind (Artifactory: SHA-1 of the content)
    from_hub = bool(told_commit or answer.headers.get("X-Linked-Etag"))
    sha256 = hex_digits(etag, 64) or hex_digits(answer.headers.get("X-Checksum-Sha256"), 64)
    told = answer.headers.get("X-Linked-Size")
    if told is None and answer.status_code == 200:
        told = answer.headers.get("Content-Length")
    size = number(told)
    if size is None:
        size = _size_from_tree(where, commit, http, endpoint)
    return RemoteFile(
        # by commit: the same file, even when the branch moves while it comes down
        url=base + quote(commit, safe="") + path,
        filename=safe_name(os.path.basename(where["file"])),
        size=size,
        sha256=sha256,
        git_sha1=hex_digits(etag, 40) if from_hub else None,
        etag=etag,
        revision=commit,
    )
