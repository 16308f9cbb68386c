# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hugging Face Hub: a repository's file at a revision becomes a RemoteFile pinned to a commit.

Protocol as spoken by the huggingface_hub client: HEAD on ``/resolve/``, metadata on the redirect itself.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict
from urllib.parse import quote

from ..errors import SdopsError
from ..transfer.fetch import RemoteFile
from ..transfer.http import Http, TransferError


class HubError(SdopsError):
    """The Hub does not give the file."""


def etag_of(headers: Dict[str, str]) -> str:
    raw = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    return re.sub(r"^W/", "", raw).strip('"')


def explain(where: Dict[str, str], answer: Any, has_token: bool, endpoint: str) -> str:
    """A sentence for an error answer: by code and status, since texts change."""
    code = answer.headers.get("X-Error-Code", "")
    what = "%s/%s" % (where["repo"], where["file"])
    if code == "GatedRepo":
        return "%s is gated: accept its terms at %s/%s%s." % (
            what,
            endpoint,
            where["repo"],
            " with the account of your token" if has_token else ", and give a huggingface_token",
        )
    if code == "RepoNotFound" or (answer.status_code == 401 and not code):
        return "The repository %s does not exist at %s, or is private%s." % (
            where["repo"],
            endpoint,
            "; the token may be wrong or lack access" if has_token else "; private ones need a huggingface_token",
        )
    if code == "RevisionNotFound":
        return "The repository %s has no revision %r." % (where["repo"], where["revision"])
    if code == "EntryNotFound" or answer.status_code == 404:
        return "The repository %s has no file %s at revision %r." % (where["repo"], where["file"], where["revision"])
    said = answer.headers.get("X-Error-Message", "")
    return "%s answered %d for %s%s." % (endpoint, answer.status_code, what, ": " + said if said else "")


def resolve(where: Dict[str, str], http: Http, endpoint: str, has_token: bool = False) -> RemoteFile:
    """``where`` has repo ("OWNER/NAME"), file and revision. Raises HubError or TransferError."""
    endpoint = endpoint.rstrip("/")
    base = "%s/%s/resolve/%%s/%s" % (endpoint, where["repo"], quote(where["file"]))
    answer = http.request("HEAD", base % quote(where["revision"], safe=""), stop_at_foreign=True)
    if answer.status_code >= 400:
        raise HubError(explain(where, answer, has_token, endpoint))
    commit = answer.headers.get("X-Repo-Commit")
    etag = etag_of(answer.headers)
    if not commit or not etag:
        raise TransferError(
            "%s does not answer like a Hugging Face Hub (no X-Repo-Commit or ETag)." % (base % where["revision"])
        )
    size = answer.headers.get("X-Linked-Size")
    if size is None and answer.status_code == 200:
        size = answer.headers.get("Content-Length")
    return RemoteFile(
        # by commit: the same file, even when the branch moves while it comes down
        url=base % commit,
        filename=os.path.basename(where["file"]),
        size=int(size) if size and size.isdigit() else None,
        sha256=etag if len(etag) == 64 else None,
        git_sha1=etag if len(etag) == 40 else None,
        etag=etag,
        revision=commit,
    )
