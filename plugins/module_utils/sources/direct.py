# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain URLs."""

from __future__ import annotations

import contextlib
import os
import re
from urllib.parse import unquote, urlsplit

from ..content_scan.sanitize import parse_disposition_name, sanitize_name
from ..errors import UrlError
from ..transfer.error_pages import describe_error_page
from ..transfer.http import HttpClient
from ..transfer.remote_file import RemoteFile, read_version
from ..transfer.responses import header_number, header_text, may_be_html, response_summary
from ..urls import redact_url


def resolve_url(locator: dict[str, str], http: HttpClient) -> RemoteFile:
    """``locator`` has url. One byte is asked for, since many storages refuse HEAD on signed URLs. Raises UrlError."""
    url = locator["url"]
    response = http.request("GET", url, {"Range": "bytes=0-0"}, stream=True)
    headers, status = response.headers, response.status_code
    text = response_summary(response) if status >= 400 else ""
    response.close()
    empty = status == 416 and headers.get("Content-Range") == "bytes */0"
    if status not in (200, 206) and not empty:
        hint = "It wants a login. " if status in (401, 403) else ""
        raise UrlError(f"{redact_url(url)} answered {status}{': ' + text if text else ''}. {hint}Check the URL.")
    # of the URL's names, that which has an extension: the one that was given, or the one that it leads to
    names = [unquote(os.path.basename(urlsplit(each).path)) for each in (url, response.url or url)]
    url_name = next((each for each in names if os.path.splitext(each)[1]), names[0])
    name = sanitize_name(parse_disposition_name(header_text(headers.get("Content-Disposition"))) or url_name)
    if not empty and may_be_html(response, name):
        with contextlib.closing(http.request("GET", url, {"Range": "bytes=0-511"}, stream=True)) as response:
            head = response.raw.read(512, decode_content=False) if response.status_code in (200, 206) else b""
            coded = response.headers.get("Content-Encoding")
        if coded or not head or describe_error_page(head):
            raise UrlError(f"{redact_url(url)} is a web page and not a file. Copy the link of the download itself.")
    total = re.search(r"/([0-9]+)$", headers.get("Content-Range", ""))
    size = header_number(total.group(1) if total else headers.get("Content-Length") if status == 200 else None)
    version = read_version(headers)
    return RemoteFile(url=url, filename=name, size=size, etag=version, version=version)
