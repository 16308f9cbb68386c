# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain URLs."""

from __future__ import annotations

import os
import re
from typing import Dict
from urllib.parse import unquote, urlsplit

from ..errors import SdopsError
from ..safety.names import safe_name
from ..transfer.fetch import RemoteFile
from ..transfer.http import Http, scrub


class UrlError(SdopsError):
    """A URL does not give the file."""


def resolve(where: Dict[str, str], http: Http) -> RemoteFile:
    """``where`` has url. One byte is asked for, since many storages refuse HEAD on signed URLs."""
    url = where["url"]
    answer = http.request("GET", url, {"Range": "bytes=0-0"}, stream=True)
    headers, status = answer.headers, answer.status_code
    answer.close()
    if status not in (200, 206):
        raise UrlError("%s answered %d. Check the URL, and whether it wants a login." % (scrub(url), status))
    total = re.search(r"/(\d+)$", headers.get("Content-Range", ""))
    size = total.group(1) if total else headers.get("Content-Length") if status == 200 else None
    named = re.search(r"filename=\"?([^\";]+)", headers.get("Content-Disposition", ""))
    name = named.group(1) if named else unquote(os.path.basename(urlsplit(url).path))
    return RemoteFile(
        url=url,
        filename=safe_name(name),
        size=int(size) if size else None,
        sha256=None,
        etag=headers.get("ETag"),
    )
