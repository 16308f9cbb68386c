# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain URLs."""

from __future__ import annotations

import contextlib
import os
import re
from urllib.parse import unquote, urlsplit

from ..errors import SdopsError
from ..safety import lookalikes
from ..safety.names import disposition_name, safe_name
from ..transfer.fetch import RemoteFile, version_of
from ..transfer.http import Http, header_text, may_be_page, number, said, scrub


class UrlError(SdopsError):
    """A URL does not give the file."""


def resolve(where: dict[str, str], http: Http) -> RemoteFile:
    """``where`` has url. One byte is asked for, since many storages refuse HEAD on signed URLs. Raises UrlError."""
    url = where["url"]
    answer = http.request("GET", url, {"Range": "bytes=0-0"}, stream=True)
    headers, status = answer.headers, answer.status_code
    text = said(answer) if status >= 400 else ""
    answer.close()
    empty = status == 416 and headers.get("Content-Range") == "bytes */0"
    if status not in (200, 206) and not empty:
        hint = "It wants a login. " if status in (401, 403) else ""
        raise UrlError("%s answered %d%s. %sCheck the URL." % (scrub(url), status, ": " + text if text else "", hint))
    # of the URL's names, that which has an extension: the one that was given, or the one that it leads to
    names = [unquote(os.path.basename(urlsplit(each).path)) for each in (url, answer.url or url)]
    given = next((each for each in names if os.path.splitext(each)[1]), names[0])
    name = safe_name(disposition_name(header_text(headers.get("Content-Disposition"))) or given)
    if not empty and may_be_page(answer, name):
        with contextlib.closing(http.request("GET", url, {"Range": "bytes=0-511"}, stream=True)) as answer:
            head = answer.raw.read(512, decode_content=False) if answer.status_code in (200, 206) else b""
            coded = answer.headers.get("Content-Encoding")
        if coded or not head or lookalikes.answer(head):
            raise UrlError(f"{scrub(url)} is a web page and not a file. Copy the link of the download itself.")
    total = re.search(r"/([0-9]+)$", headers.get("Content-Range", ""))
    size = number(total.group(1) if total else headers.get("Content-Length") if status == 200 else None)
    version = version_of(headers)
    return RemoteFile(url=url, filename=name, size=size, etag=version, version=version)
