# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP as the sources need it: redirects by hand, credentials for one origin, retries with back-off."""

from __future__ import annotations

import os
import random
import time
from typing import Any, Dict, Iterable, Optional, Tuple
from urllib.parse import urljoin, urlsplit

from ..errors import SdopsError

try:
    import requests

    HAS_REQUESTS = True
except ImportError:
    HAS_REQUESTS = False

RETRY = (408, 429, 500, 502, 503, 504)
# Civitai answers browsers with pages instead of errors: this must not look like one
USER_AGENT = "sdops.webui/0.1 (ansible)"


class TransferError(SdopsError):
    """Bytes could not be got, or are not the right ones."""


class RequestsMissing(TransferError):
    """The HTTP library is not there (yet)."""


def origin(url: str) -> Tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def scrub(url: str) -> str:
    """A URL for messages: without user, query and fragment, where signatures and tokens are."""
    parts = urlsplit(url)
    return "%s://%s%s" % (parts.scheme, parts.netloc.rpartition("@")[2], parts.path)


class Http:
    """One session for a batch. ``timeout`` in seconds without a byte; ``tokens`` maps a base URL to its bearer token."""

    def __init__(
        self,
        proxy: Optional[str] = None,
        ca_path: Optional[str] = None,
        timeout: float = 30,
        retries: int = 5,
        tokens: Optional[Dict[str, str]] = None,
    ) -> None:
        if not HAS_REQUESTS:
            raise RequestsMissing("The Python library requests is missing on the target. Run the role base first.")
        self.proxy = proxy
        self.timeout = timeout
        self.retries = retries
        self._tokens = {origin(base): token for base, token in (tokens or {}).items() if token}
        self._session = requests.Session()
        self._session.trust_env = False  # no .netrc: credentials go where we say and nowhere else
        self._session.verify = (
            ca_path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        )
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*"})

    def _headers(self, url: str, extra: Dict[str, str]) -> Dict[str, str]:
        token = self._tokens.get(origin(url))
        host = urlsplit(url).hostname
        if token and (url.startswith("https:") or host in ("127.0.0.1", "localhost", "::1")):
            return {**extra, "Authorization": "Bearer " + token}
        return dict(extra)

    def once(self, method: str, url: str, headers: Dict[str, str], stream: bool = False) -> Any:
        """One request, no redirect followed; connection faults become TransferError."""
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else requests.utils.get_environ_proxies(url)
        try:
            return self._session.request(
                method,
                url,
                headers=self._headers(url, headers),
                proxies=proxies,
                timeout=self.timeout,
                allow_redirects=False,
                stream=stream,
            )
        except requests.RequestException as exc:
            raise TransferError(
                "%s cannot be reached: %s" % (scrub(url), type(exc).__name__ + ": " + str(exc)[:300])
            ) from exc

    def request(
        self,
        method: str,
        url: str,
        headers: Optional[Dict[str, str]] = None,
        stream: bool = False,
        stop_at_foreign: bool = False,
        final: Iterable[int] = (),
    ) -> Any:
        """Request ``url``, follow redirects (credentials stay with their origin), try again what may pass.

        ``stop_at_foreign``: return the redirect to another origin itself. ``final``: statuses not worth another try.
        Returns the last requests.Response, whatever its status. Raises TransferError when nothing answered.
        """
        attempt = 0
        while True:
            wait: Optional[float] = None
            try:
                answer = self._follow(method, url, headers or {}, stream, stop_at_foreign)
                if answer.status_code not in RETRY or answer.status_code in final or attempt >= self.retries:
                    return answer
                after = answer.headers.get("Retry-After", "")
                wait = float(after) if after.isdigit() else None
                answer.close()
            except TransferError:
                if attempt >= self.retries:
                    raise
            self.pause(attempt, wait)
            attempt += 1

    def pause(self, attempt: int, wait: Optional[float] = None) -> None:
        """Sleep before try ``attempt`` + 2: what the server asked for (at most 5 minutes), else exponential with jitter."""
        time.sleep(min(wait, 300) if wait is not None else min(2**attempt, 30) * random.uniform(0.5, 1.0))

    def _follow(self, method: str, url: str, headers: Dict[str, str], stream: bool, stop_at_foreign: bool) -> Any:
        for _hop in range(10):
            answer = self.once(method, url, headers, stream)
            location = answer.headers.get("Location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                return answer
            target = urljoin(url, location)
            if urlsplit(target).path == "/login" or (stop_at_foreign and origin(target) != origin(url)):
                return answer
            if url.startswith("https:") and not target.startswith("https:"):
                raise TransferError("%s redirects away from TLS, to %s." % (scrub(url), scrub(target)))
            answer.close()
            url = target
        raise TransferError("%s redirects in circles." % scrub(url))
