# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the headers and the body of an answer without trusting either."""

from __future__ import annotations

import re
from typing import Any

from ..errors import TransferError
from ..filesystem import parse_json
from ..urls import redact_queries, redact_url

BODY_LIMIT = 32 << 20  # decoded bytes of an API's answer or a page; a page of the Hub's tree has some hundred kB
ERROR_LIMIT = 64 << 10  # of what comes with an error or a redirect; the rest is left unread
BODY_READ_SIZE = 16 << 10  # read at once: a compressed one grows a thousandfold at most


def header_text(value: str | None) -> str:
    """A header's text: http.client reads bytes as Latin-1, while servers write UTF-8 where it is not plain ASCII."""
    try:
        return (value or "").encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value or ""


def header_number(text: str | None) -> int | None:
    """A header's plain number; None for anything else."""
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text.strip()) else None


def may_be_html(response: Any, name: str) -> bool:
    """Whether an answer calls itself a web page where the file ``name`` is wanted. Servers call unknown files so, too: the bytes decide."""
    return response.headers.get("Content-Type", "").lower().startswith("text/html") and not name.lower().endswith(
        (".html", ".htm")
    )


def read_body(response: Any) -> None:
    """Read the body of a requests.Response into it, ``BODY_LIMIT`` bytes at most; of an error or a redirect the beginning.

    Raises TransferError for a longer one, and what urllib3 raises when the connection breaks.
    """
    fine = response.status_code < 300
    limit = BODY_LIMIT if fine else ERROR_LIMIT
    body = bytearray()
    while True:
        # not stream(), which takes the line before each chunk whatever its length
        block = response.raw.read(BODY_READ_SIZE, decode_content=True)
        if not block and response.raw.closed:  # a decoder may have nothing to give yet
            break
        body += block
        if len(body) > limit:
            response.close()
            if fine:
                raise TransferError(
                    f"{redact_url(response.url)} answered with more than {limit >> 20} MiB where a short answer is expected. Check the address."
                )
            del body[limit:]
            break
    # where requests itself keeps what it has read, without a limit
    response._content, response._content_consumed = bytes(body), True


def response_summary(response: Any) -> str:
    """What an error answer says, short and without anything that could be a signature or a token."""
    try:
        if getattr(response, "_content", b"") is False:
            read_body(response)
        text = response.content[:20000].decode("utf-8", "replace").strip()
    except Exception:  # the body breaks off too: then the status has to do
        return ""
    try:
        body = parse_json(text)
        text = "; ".join(str(body[key]) for key in ("error", "message") if isinstance(body.get(key), str))
    except (ValueError, AttributeError):
        parts = [re.search(f"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message")]
        if any(parts):
            text = ": ".join(part.group(1) for part in parts if part)
        elif "<html" in text[:1000].lower():
            title = re.search(r"<title>([^<]*)</title>", text, re.I)
            text = "a web page" + (f' "{title.group(1).strip()}"' if title else "")
    text = redact_queries(" ".join(text.split()))
    return text[:200].encode("utf-8", "replace").decode()
