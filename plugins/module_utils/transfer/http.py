# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with retries, redirects that are resolved here, and tokens that stay with the origin they belong to."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from typing import Any, Callable, Iterable
from urllib.parse import urlsplit

from ..errors import ConnectionFailedError, RequestsMissingError, TransferError
from ..urls import (
    HAS_REQUESTS,
    may_carry_token,
    prepare_url,
    redact_url,
    reject_downgrade,
    resolve_redirect,
    url_origin,
)
from .connection_errors import describe_connection_error
from .responses import header_text, read_body
from .retry import RETRY_STATUSES, backoff, retry_after

HAS_SOCKS = importlib.util.find_spec("socks") is not None  # PySocks, without which requests knows no such proxies
PROXY_SCHEMES = ("http", "https", "socks5h", "socks5", "socks4a", "socks4")
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
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
ALIAS_DOMAINS = (
    ("civitai.com", "civitai.red", "civitai.green"),
    ("huggingface.co", "hf.co"),
)


def _reject_unusable_proxy(proxy: str | None) -> None:
    """Raise TransferError for a proxy that cannot be used: asking again would not help."""
    scheme, mark, _host = (proxy or "").partition("://")
    if not mark:  # none, or HOST:PORT, which is taken for http
        return
    if scheme.lower() not in PROXY_SCHEMES:
        raise TransferError(
            "The proxy {} cannot be used: its scheme is none of {}. Correct proxy, or http_proxy, https_proxy and all_proxy in the "
            "environment of the target.".format(redact_url(proxy or ""), ", ".join(PROXY_SCHEMES))
        )
    if scheme.lower().startswith("socks") and not HAS_SOCKS:
        raise TransferError(
            "The proxy {} needs the Python library PySocks, which is missing on the target. Run the role base, which brings it, or "
            "give an HTTP proxy.".format(redact_url(proxy or ""))
        )


def _reject_compressed(response: Any, url: str) -> None:
    """Raise TransferError for a compressed file, whose bytes would be stored as they are; pages have errors of their own."""
    coding = response.headers.get("Content-Encoding", "").lower()
    compressed = COMPRESSIONS & {word.strip() for word in coding.split(",")}
    page = response.headers.get("Content-Type", "").startswith("text/html")
    if response.status_code in (200, 206) and compressed and not page:
        response.close()
        raise TransferError(
            "{} sends the file compressed ({}), though it is asked for it as it is. Take it from another address.".format(
                redact_url(url), ", ".join(sorted(compressed))
            )
        )


class HttpClient:
    """Sessions for a batch, one for each thread, with connections kept alive.

    ``proxy``: a URL, "" for none at all, None for what the environment says; hosts in the environment's no_proxy are always
    reached directly. ``timeout`` in seconds without a byte; ``tokens`` maps a base URL to its bearer token. A token is sent to that origin
    only (and to its alias domains), over TLS or to this machine itself.
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
            raise RequestsMissingError("The Python library requests is missing on the target. Run the role base first.")
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
            where = url_origin(base)
            aliases = next((f for f in ALIAS_DOMAINS if where[1] in f and where[0] == "https"), ())
            for name in {where[1], *aliases}:
                self._tokens[(where[0], name, where[2])] = token

    @property
    def _session(self) -> Any:
        session = getattr(self._local, "session", None)
        if session is None:
            import requests

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
        token = self._tokens.get(url_origin(url))
        if token and may_carry_token(url):
            return {**extra, "Authorization": "Bearer " + token}
        return dict(extra)

    def send(self, method: str, url: str, headers: dict[str, str], stream: bool = False) -> Any:
        """One request, no redirect followed; connection faults become ConnectionFailedError."""
        import requests
        import urllib3

        if urlsplit(url).scheme not in ("http", "https"):
            raise TransferError(f"{redact_url(url)} is no http or https URL. Take the file from another address.")
        url = prepare_url(url)  # malformed: trying again would not help
        try:
            proxies = requests.utils.get_environ_proxies(url)
            if self.proxy is not None and not requests.utils.should_bypass_proxies(url, no_proxy=None):
                proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
            _reject_unusable_proxy(requests.utils.select_proxy(url, proxies))
            request = self._session.prepare_request(requests.Request(method, url, headers=self._headers(url, headers)))
            # by the adapter: the session reads the whole body of a redirect, even of one that it is not to follow
            response = self._session.get_adapter(url).send(
                request, stream=True, timeout=self.timeout, verify=self._verify, proxies=proxies
            )
            requests.cookies.extract_cookies_to_jar(self._session.cookies, request, response.raw)
            if not stream:
                read_body(response)
            return response
        except TransferError:
            raise
        except (requests.RequestException, OSError, urllib3.exceptions.HTTPError) as exc:
            raise ConnectionFailedError(
                f"{redact_url(url)} cannot be reached: {describe_connection_error(exc, self.timeout)}. Check the address and the route to it."
            ) from None
        except ValueError:
            raise TransferError(f"{redact_url(url)} is no valid URL. Check its host and port.") from None

    def follow(
        self, method: str, url: str, headers: dict[str, str], stream: bool = False, stop_at_other_origin: bool = False
    ) -> tuple[Any, str]:
        """(response, its URL) after redirects. ``stop_at_foreign``: a redirect to another origin is the answer itself."""
        for _hop in range(10):
            response = self.send(method, url, headers, stream)
            location = header_text(response.headers.get("Location"))
            if response.status_code not in REDIRECT_STATUSES or not location:
                if stream:
                    _reject_compressed(response, url)
                return response, url
            target = resolve_redirect(url, location)
            if stop_at_other_origin and (urlsplit(target).path == "/login" or url_origin(target) != url_origin(url)):
                return response, url
            reject_downgrade(url, target)
            response.close()
            url = target
        raise TransferError(f"{redact_url(url)} redirects in circles. Check the address.")

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        stream: bool = False,
        stop_at_other_origin: bool = False,
        retry_statuses: Iterable[int] = RETRY_STATUSES,
    ) -> Any:
        """Ask, follow redirects, and try again while the connection breaks or the status is one of ``retry_statuses``.

        Returns the last requests.Response, whatever its status. Raises TransferError when nothing answered.
        """
        attempt = 0
        while True:
            wait: float | None = None
            try:
                response, _url = self.follow(method, url, headers or {}, stream, stop_at_other_origin)
                if response.status_code not in retry_statuses or attempt >= self.retries:
                    return response
                wait = retry_after(response)
                response.close()
            except ConnectionFailedError:
                if attempt >= self.retries:
                    raise
            self._sleep(backoff(attempt, wait))
            attempt += 1
