# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs: how they are shown, the credentials in them, what may be requested, of which origin it is, and where a redirect leads."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from .errors import TransferError
from .secrets import login_secrets, query_secrets
from .terminal import has_unseen

# looked for, and imported where a request is made only: that takes longer than many a module runs
HAS_REQUESTS = importlib.util.find_spec("requests") is not None


# ---- how URLs are shown


def redact_url(url: str) -> str:
    """A URL for messages: without user, query and fragment, where signatures and tokens are. Takes malformed ones too."""
    scheme, mark, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def redact_logins(text: str) -> str:
    """``text`` without the user names and passwords of the URLs in it, whatever their scheme."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s'\"]+@", r"\1", text)


def redact_secrets(text: str) -> str:
    """As ``redact_logins``, and with asterisks for the secrets in the queries of the URLs."""
    text = redact_logins(text)
    secrets = [
        secret for query in re.findall(r"://[^\s'\"?#]*([?#][^\s'\"]+)", text) for secret in query_secrets(query)
    ]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "********")
    return text


def redact_malformed(text: str) -> str:
    """As ``redact_logins``, up to the last @ of each word: a URL that somebody mistyped may have its login anywhere."""
    return re.sub(r"://[^\s\"]*@", "://", text)


def format_value(value: Any) -> str:
    """``value`` on one line, shortened, without the login that a URL may hold."""
    text = redact_malformed(json.dumps(value, default=str))
    return text if len(text) <= 120 else text[:117] + "..."


def redact_queries(text: str) -> str:
    """``text`` without the queries and fragments of the URLs in it."""
    return re.sub(r"(\w+://[^\s?#]*)[?#]\S*", r"\1", text)


# ---- credentials


def has_login(url: str) -> bool:
    """Whether a user name or password stands in front of a host."""
    return re.search(r"://[^/?#]*@", url) is not None


def without_user(url: str) -> str:
    """``url`` without user name and password, whatever its scheme."""
    return re.sub(r"://[^/?#\s]+@", "://", url)


def without_login(url: str) -> str:
    """An http(s) URL without user name and password. That of ssh is no secret, and is needed."""
    return re.sub(r"^(https?://)[^/?#\s]+@", r"\1", url, flags=re.IGNORECASE)


def split_login(url: str) -> tuple[str, str]:
    """(user name, password) in front of the host of an http(s) URL, decoded; empty where there is none."""
    found = re.match(r"https?://([^/?#\s]+)@", url, re.IGNORECASE)
    user, _colon, password = (found.group(1) if found else "").partition(":")
    return unquote(user), unquote(password)


def url_login_secrets(url: str) -> list[str]:
    """What has to stay out of results of a text with a URL such as ``https://user:token@host/``."""
    match = re.search(r"https?://([^/?#\s]+)@", url, re.IGNORECASE)
    return login_secrets(match.group(1)) if match else []


# ---- requests


def _reject_ambiguous_characters(url: str) -> None:
    """Raise TransferError for characters that one parser of URLs takes for a part of the host, and another one for its end."""
    if "\\" in url or has_unseen(url) or any(map(str.isspace, url)):
        raise TransferError(
            f"{redact_url(url)} has a backslash, white space or a control character in it. Write such characters percent-encoded "
            "(%5C, %20)."
        )


def check_url(url: str) -> None:
    """Raise TransferError for an http(s) URL that programs read differently, or that holds a login."""
    _reject_ambiguous_characters(url)
    if "@" in re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]:
        raise TransferError(
            f"{redact_url(url)} has a user name or password in front of its host, which ends up in logs. Take it out: tokens go into the "
            "options for them, and a file that needs a login is fetched by hand and given as file:///path."
        )


def prepare_url(url: str) -> str:
    """An http(s) URL as requests sends it.

    Raises TransferError where the parsers that take part in a request (requests, urllib3, the standard library) would not
    all go to the same host: one of them decides where the connection goes, and another one who gets a token.
    """
    import requests
    from urllib3.util import parse_url

    check_url(url)
    try:
        prepared = requests.Request("GET", url).prepare().url or ""
        check_url(prepared)
        by_urllib3, by_stdlib = parse_url(prepared), urlsplit(prepared)
        same = (by_urllib3.scheme, by_urllib3.port) == (by_stdlib.scheme, by_stdlib.port)
        host = (by_urllib3.host or "").strip("[]").lower()
        if (
            not same
            or not host
            or host != by_stdlib.hostname
            or requests.Request("GET", prepared).prepare().url != prepared
        ):
            raise ValueError
    except (ValueError, requests.RequestException):  # urllib3's LocationValueError is a ValueError
        raise TransferError(f"{redact_url(url)} is no valid URL. Check its host and port.") from None
    return prepared


# the checks of one list of models ask for the same few again and again
@functools.lru_cache(maxsize=256)
def url_origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port that a request for ``url`` goes to. Raises TransferError for a URL that must not be requested."""
    try:
        scheme = urlsplit(url).scheme
        parts = urlsplit(prepare_url(url) if HAS_REQUESTS and scheme in ("http", "https") else url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise TransferError(f"{redact_url(url)} is no valid URL. Check its host and port.") from None


def resolve_redirect(url: str, location: str) -> str:
    """Where ``location``, as seen at ``url``, leads. Raises TransferError."""
    try:
        _reject_ambiguous_characters(location)  # before urljoin, which drops some of them
        target = urljoin(url, location)
        url_origin(target)
        return target
    except (ValueError, TransferError):
        raise TransferError(
            f"{redact_url(url)} leads to {redact_url(location)}, which is no valid URL. Take the file from another address."
        ) from None


def may_carry_token(url: str) -> bool:
    """Over TLS, or to this machine itself."""
    scheme, host, _port = url_origin(url)
    return scheme == "https" or host in ("127.0.0.1", "localhost", "::1")


def reject_downgrade(url: str, target: str) -> None:
    """Raise TransferError for a redirect from TLS into the clear."""
    if url_origin(url)[0] == "https" and url_origin(target)[0] != "https":
        raise TransferError(
            f"{redact_url(url)} redirects away from TLS, to {redact_url(target)}. Take the file from another address."
        )
