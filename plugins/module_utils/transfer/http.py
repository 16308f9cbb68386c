# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with retries, redirects that we resolve ourselves, and tokens that stay with the origin they belong to."""

from __future__ import annotations

import email.utils
import importlib.util
import os
import random
import re
import socket
import ssl
import threading
import time
from typing import Any, Callable, Iterable, Iterator
from urllib.parse import urljoin, urlsplit

from ..errors import SdopsError
from ..files import parse_json
from ..terminal import has_unseen

try:
    import requests
    import urllib3
    from urllib3.util import parse_url

    HAS_REQUESTS = True
except ImportError:
    HAS_REQUESTS = False

HAS_SOCKS = importlib.util.find_spec("socks") is not None  # PySocks, without which requests knows no such proxies
PROXY_SCHEMES = ("http", "https", "socks5h", "socks5", "socks4a", "socks4")
RETRY = (408, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
LONGEST_WAIT = 300.0
BODY_LIMIT = 32 << 20  # decoded bytes of an API's answer or a page; a page of the Hub's tree has some hundred kB
ERROR_LIMIT = 64 << 10  # of what comes with an error or a redirect; the rest is left unread
PIECE = 16 << 10  # read at once: a compressed one grows a thousandfold at most
# Civitai answers browsers with pages instead of errors: this must not look like one
USER_AGENT = "sdops.webui/0.1 (ansible)"
# contents of Content-Encoding that change a file's bytes (IANA's registry); storages put other words there, as aws-chunked
COMPRESSIONS = {
    "gzip",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "compress",
    "x-compress",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
}
# one service under several names: a token for one of them is meant for all
FAMILIES = (
    ("civitai.com", "civitai.red", "civitai.green"),
    ("huggingface.co", "hf.co"),
)


class TransferError(SdopsError):
    """Bytes could not be got, or are not the right ones."""


class Broken(TransferError):
    """A connection that could not be made, fell silent or ended early: worth another try."""


class RequestsMissing(TransferError):
    """The HTTP library is not there (yet)."""


def scrub(url: str) -> str:
    """A URL for messages: without user, query and fragment, where signatures and tokens are. Takes malformed ones too."""
    scheme, mark, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def _check_characters(url: str) -> None:
    """Raise TransferError for characters that one parser of URLs takes for a part of the host, and another one for its end."""
    if "\\" in url or has_unseen(url) or any(map(str.isspace, url)):
        raise TransferError(
            f"{scrub(url)} has a backslash, white space or a control character in it. Write such characters percent-encoded "
            "(%5C, %20)."
        )


def check_url(url: str) -> None:
    """Raise TransferError for an http(s) URL that programs read differently, or that holds a login."""
    _check_characters(url)
    if "@" in re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]:
        raise TransferError(
            f"{scrub(url)} has a user name or password in front of its host, which ends up in logs. Take it out: tokens go into the "
            "options for them, and a file that needs a login is fetched by hand and given as file:///path."
        )


def wire_url(url: str) -> str:
    """An http(s) URL as requests sends it.

    Raises TransferError where the parsers that take part in a request (requests, urllib3, the standard library) would not
    all go to the same host: one of them decides where the connection goes, and another one who gets a token.
    """
    check_url(url)
    try:
        wire: str = requests.Request("GET", url).prepare().url
        check_url(wire)
        by_urllib3, by_stdlib = parse_url(wire), urlsplit(wire)
        same = (by_urllib3.scheme, by_urllib3.port) == (by_stdlib.scheme, by_stdlib.port)
        host = (by_urllib3.host or "").strip("[]").lower()
        if not same or not host or host != by_stdlib.hostname or requests.Request("GET", wire).prepare().url != wire:
            raise ValueError
    except (ValueError, requests.RequestException):  # urllib3's LocationValueError is a ValueError
        raise TransferError(f"{scrub(url)} is no valid URL. Check its host and port.") from None
    return wire


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port that a request for ``url`` goes to. Raises TransferError for a URL that must not be requested."""
    try:
        scheme = urlsplit(url).scheme
        parts = urlsplit(wire_url(url) if HAS_REQUESTS and scheme in ("http", "https") else url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise TransferError(f"{scrub(url)} is no valid URL. Check its host and port.") from None


def header_text(value: str | None) -> str:
    """A header's text: http.client reads bytes as Latin-1, while servers write UTF-8 where it is not plain ASCII."""
    try:
        return (value or "").encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value or ""


def join(url: str, location: str) -> str:
    """Where ``location``, as seen at ``url``, leads. Raises TransferError."""
    try:
        _check_characters(location)  # before urljoin, which drops some of them
        return urljoin(url, location)
    except (ValueError, TransferError):
        raise TransferError(
            f"{scrub(url)} leads to {scrub(location)}, which is no valid URL. Take the file from another address."
        ) from None


def read_body(answer: Any) -> None:
    """Read the body of a requests.Response into it, ``BODY_LIMIT`` bytes at most; of an error or a redirect the beginning.

    Raises TransferError for a longer one, and what urllib3 raises when the connection breaks.
    """
    fine = answer.status_code < 300
    limit = BODY_LIMIT if fine else ERROR_LIMIT
    body = bytearray()
    while True:
        # not stream(), which takes the line before each chunk whatever its length
        piece = answer.raw.read(PIECE, decode_content=True)
        if not piece and answer.raw.closed:  # a decoder may have nothing to give yet
            break
        body += piece
        if len(body) > limit:
            answer.close()
            if fine:
                raise TransferError(
                    "%s answered with more than %d MiB where a short answer is expected. Check the address."
                    % (scrub(answer.url), limit >> 20)
                )
            del body[limit:]
            break
    # where requests itself keeps what it has read, without a limit
    answer._content, answer._content_consumed = bytes(body), True


def may_carry_token(url: str) -> bool:
    """Over TLS, or to this machine itself."""
    scheme, host, _port = origin(url)
    return scheme == "https" or host in ("127.0.0.1", "localhost", "::1")


def refuse_downgrade(url: str, target: str) -> None:
    """Raise TransferError for a way from TLS into the clear."""
    if origin(url)[0] == "https" and origin(target)[0] != "https":
        raise TransferError(
            f"{scrub(url)} redirects away from TLS, to {scrub(target)}. Take the file from another address."
        )


def may_be_page(answer: Any, name: str) -> bool:
    """Whether an answer calls itself a web page where the file ``name`` is wanted. Servers call unknown files so, too: the bytes decide."""
    return answer.headers.get("Content-Type", "").lower().startswith("text/html") and not name.lower().endswith(
        (".html", ".htm")
    )


def number(text: str | None) -> int | None:
    """A header's plain number; None for anything else."""
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text.strip()) else None


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it wraps: requests and urllib3 keep the cause in several places."""
    seen = set()
    stack = [exc]
    while stack:
        one = stack.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        stack += [one.__context__, one.__cause__, getattr(one, "reason", None)]
        stack += [a for a in one.args if isinstance(a, BaseException)]


def cause(exc: BaseException, timeout: float) -> str:
    """Why a request failed, in words. Never the exception's own text: that holds the URL with its signature."""
    chain = list(_chain(exc))
    names = {type(one).__name__ for one in chain}
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({one.verify_message})"
    for one in chain:
        if isinstance(one, ssl.SSLError):
            return "TLS failed (%s)" % (one.reason or "the connection ended in the handshake")
        if isinstance(one, socket.gaierror):
            return "its name cannot be resolved"
    for one in chain:
        refusal = re.search(r"Tunnel connection failed: (\d+)", str(one)) if isinstance(one, OSError) else None
        if refusal:
            return f"the proxy answered {refusal.group(1)}"
    for one in chain:
        if type(one).__name__ in ("SOCKS5Error", "SOCKS5AuthError", "SOCKS4Error"):
            return "the SOCKS proxy says: {}".format(getattr(one, "msg", "no"))
    socks = {"ProxyConnectionError", "GeneralProxyError"} & names
    if "ConnectTimeout" in names or "ConnectTimeoutError" in names:
        return f"no connection within {timeout:g} seconds"
    if names & {"ReadTimeout", "ReadTimeoutError", "timeout", "TimeoutError"}:
        return f"not a byte for {timeout:g} seconds"
    for one in chain:
        if isinstance(one, OSError) and one.strerror and one.errno:
            return ("the proxy: " if "ProxyError" in names or socks else "") + one.strerror.lower()
    if "ProxyError" in names or socks:
        return "the proxy refuses the connection"
    if names & {"InvalidURL", "LocationParseError", "InvalidSchema", "MissingSchema", "InvalidProxyURL"}:
        return "the URL or the proxy's URL is malformed"
    return "the connection was closed early"


def said(answer: Any) -> str:
    """What an error answer says, short and without anything that could be a signature or a token."""
    try:
        if getattr(answer, "_content", b"") is False:
            read_body(answer)
        text = answer.content[:20000].decode("utf-8", "replace").strip()
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
    text = re.sub(r"(\w+://[^\s?#]*)[?#]\S*", r"\1", " ".join(text.split()))
    return text[:200].encode("utf-8", "replace").decode()


def asked_wait(answer: Any) -> float | None:
    """Seconds that the server asks to wait (Retry-After, or an exhausted RateLimit), None when it does not say."""
    after = answer.headers.get("Retry-After", "").strip()
    if number(after) is not None:
        return min(float(after), LONGEST_WAIT)
    if after:
        try:
            return min(max(email.utils.parsedate_to_datetime(after).timestamp() - time.time(), 0.0), LONGEST_WAIT)
        except (TypeError, ValueError, OverflowError):
            return None
    limit = re.search(r"\br=([0-9]{1,9});\s*t=([0-9]{1,9})(?![0-9])", answer.headers.get("RateLimit", ""))
    if limit and int(limit.group(1)) == 0:
        return min(int(limit.group(2)) + 1.0, LONGEST_WAIT)
    return None


def backoff(attempt: int, wait: float | None = None) -> float:
    """Seconds before try ``attempt`` + 2: what the server asked for, else exponential with jitter."""
    return wait if wait is not None else min(2**attempt, 30) * random.uniform(0.5, 1.0)


def _refuse_proxy(proxy: str | None) -> None:
    """Raise TransferError for a proxy that cannot be used: asking again would not help."""
    scheme, mark, _host = (proxy or "").partition("://")
    if not mark:  # none, or HOST:PORT, which is taken for http
        return
    if scheme.lower() not in PROXY_SCHEMES:
        raise TransferError(
            "The proxy {} cannot be used: its scheme is none of {}. Correct proxy, or http_proxy, https_proxy and all_proxy in the "
            "environment of the target.".format(scrub(proxy or ""), ", ".join(PROXY_SCHEMES))
        )
    if scheme.lower().startswith("socks") and not HAS_SOCKS:
        raise TransferError(
            "The proxy {} needs the Python library PySocks, which is missing on the target. Run the role base, which brings it, or "
            "give an HTTP proxy.".format(scrub(proxy or ""))
        )


def _refuse_coded(answer: Any, url: str) -> None:
    """Raise TransferError for a compressed file, whose bytes would be stored as they are; pages have errors of their own."""
    coding = answer.headers.get("Content-Encoding", "").lower()
    compressed = COMPRESSIONS & {word.strip() for word in coding.split(",")}
    page = answer.headers.get("Content-Type", "").startswith("text/html")
    if answer.status_code in (200, 206) and compressed and not page:
        answer.close()
        raise TransferError(
            "{} sends the file compressed ({}), though it is asked for it as it is. Take it from another address.".format(
                scrub(url), ", ".join(sorted(compressed))
            )
        )


class Http:
    """Sessions for a batch, one for each thread, with connections kept alive.

    ``proxy``: a URL, "" for none at all, None for what the environment says; hosts in the environment's no_proxy are always
    reached directly. ``timeout`` in seconds without a byte; ``tokens`` maps a base URL to its bearer token. A token is sent to that origin
    only (and to its sister domains), over TLS or to this machine itself.
    """

    def __init__(
        self,
        proxy: str | None = None,
        ca_path: str | None = None,
        timeout: float = 30,
        retries: int = 5,
        tokens: dict[str, str] | None = None,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        if not HAS_REQUESTS:
            raise RequestsMissing("The Python library requests is missing on the target. Run the role base first.")
        self.proxy = proxy
        self.timeout = timeout
        self.retries = retries
        self._sleep = sleep
        self._verify = ca_path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        if isinstance(self._verify, str) and not os.path.exists(self._verify):
            raise TransferError(f"The CA bundle {self._verify} does not exist. Set ca_path to a PEM file.")
        self._local = threading.local()
        self._tokens: dict[tuple[str, str, int], str] = {}
        for base, token in (tokens or {}).items():
            where = origin(base)
            family = next((f for f in FAMILIES if where[1] in f and where[0] == "https"), ())
            for name in {where[1], *family}:
                self._tokens[(where[0], name, where[2])] = token

    @property
    def _session(self) -> Any:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # no .netrc: credentials go where we say and nowhere else
            session.verify = self._verify
            # identity: some storages ignore Range when compression is offered
            session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*"})
        return session

    def pause(self, seconds: float) -> None:
        self._sleep(seconds)

    def sends_token(self, url: str) -> bool:
        return "Authorization" in self._headers(url, {})

    def _headers(self, url: str, extra: dict[str, str]) -> dict[str, str]:
        token = self._tokens.get(origin(url))
        if token and may_carry_token(url):
            return {**extra, "Authorization": "Bearer " + token}
        return dict(extra)

    def once(self, method: str, url: str, headers: dict[str, str], stream: bool = False) -> Any:
        """One request, no redirect followed; connection faults become Broken."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise TransferError(f"{scrub(url)} is no http or https URL. Take the file from another address.")
        url = wire_url(url)  # malformed: trying again would not help
        try:
            proxies = requests.utils.get_environ_proxies(url)
            if self.proxy is not None and not requests.utils.should_bypass_proxies(url, no_proxy=None):
                proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
            _refuse_proxy(requests.utils.select_proxy(url, proxies))
            request = self._session.prepare_request(requests.Request(method, url, headers=self._headers(url, headers)))
            # by the adapter: the session reads the whole body of a redirect, even of one that it is not to follow
            answer = self._session.get_adapter(url).send(
                request, stream=True, timeout=self.timeout, verify=self._verify, proxies=proxies
            )
            requests.cookies.extract_cookies_to_jar(self._session.cookies, request, answer.raw)
            if not stream:
                read_body(answer)
            return answer
        except TransferError:
            raise
        except (requests.RequestException, OSError, urllib3.exceptions.HTTPError) as exc:
            raise Broken(
                f"{scrub(url)} cannot be reached: {cause(exc, self.timeout)}. Check the address and the route to it."
            ) from None
        except ValueError:
            raise TransferError(f"{scrub(url)} is no valid URL. Check its host and port.") from None

    def follow(
        self, method: str, url: str, headers: dict[str, str], stream: bool = False, stop_at_foreign: bool = False
    ) -> tuple[Any, str]:
        """(answer, its URL) after redirects. ``stop_at_foreign``: a redirect to another origin is the answer itself."""
        for _hop in range(10):
            answer = self.once(method, url, headers, stream)
            location = header_text(answer.headers.get("Location"))
            if answer.status_code not in REDIRECTS or not location:
                if stream:
                    _refuse_coded(answer, url)
                return answer, url
            target = join(url, location)
            if stop_at_foreign and (urlsplit(target).path == "/login" or origin(target) != origin(url)):
                return answer, url
            refuse_downgrade(url, target)
            answer.close()
            url = target
        raise TransferError(f"{scrub(url)} redirects in circles. Check the address.")

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        stream: bool = False,
        stop_at_foreign: bool = False,
        again: Iterable[int] = RETRY,
    ) -> Any:
        """Ask, follow redirects, and try again while the connection breaks or the status is one of ``again``.

        Returns the last requests.Response, whatever its status. Raises TransferError when nothing answered.
        """
        attempt = 0
        while True:
            wait: float | None = None
            try:
                answer, _url = self.follow(method, url, headers or {}, stream, stop_at_foreign)
                if answer.status_code not in again or attempt >= self.retries:
                    return answer
                wait = asked_wait(answer)
                answer.close()
            except Broken:
                if attempt >= self.retries:
                    raise
            self._sleep(backoff(attempt, wait))
            attempt += 1
