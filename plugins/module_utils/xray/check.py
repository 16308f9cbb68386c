# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does traffic get through the proxy, and if not, whose fault is it?"""

from __future__ import annotations

import os
import re
import socket
import time
from urllib.parse import urlsplit

from ..errors import SdopsError
from ..transfer.http import cause

try:
    import requests

    HAS_REQUESTS = True
except ImportError:
    HAS_REQUESTS = False


ALLOWED_SKEW = 60  # seconds
OLDEST_CLIENT = "26.3.27"  # what servers from 26.7.11 on accept when they are not told otherwise


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


# what Xray writes when the server has shown it the certificate of the site that it hides behind, as it does to any stranger
STRANGER = re.compile(r"REALITY: received real certificate|\bx509: |read/write on closed pipe")


class ProxyError(SdopsError):
    """No request gets through the proxy."""


class Log:
    """What a log file gets from now on."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.start = self._size()

    def _size(self) -> int:
        try:
            return os.path.getsize(self.path) if self.path else 0
        except OSError:
            return 0

    def since(self) -> str:
        """The text that came since; all of it when the file was rotated meanwhile. At most 1 MB."""
        if not self.path:
            return ""
        try:
            with open(self.path, "rb") as handle:
                handle.seek(self.start if self._size() >= self.start else 0)
                return handle.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return ""


def connects(host: str, port: int, timeout: float) -> str | None:
    """None when a TCP connection to host:port opens, else what is in the way, in words."""
    try:
        socket.create_connection((host, port), timeout).close()
    except socket.gaierror as exc:
        return f"the name {host} cannot be resolved ({exc.strerror or exc})"
    except socket.timeout:
        return "%s:%d does not answer within %g s (firewall, or the server is off)" % (host, port, timeout)
    except OSError as exc:
        return "%s:%d refuses the connection (%s)" % (host, port, exc.strerror or exc)
    return None


class Checker:
    """Requests through ``proxy`` (http://127.0.0.1:10809), whose far end is ``server``:``port``; None if that is not known.

    ``server_name``: the site that the far end hides behind, if it is one of REALITY. ``log``: path of the client's log.
    ``timeout`` in seconds.
    """

    def __init__(
        self,
        proxy: str,
        server: str | None,
        port: int,
        ca_path: str | None = None,
        timeout: float = 15,
        server_name: str | None = None,
        log: str | None = None,
    ) -> None:
        self.proxy = proxy
        self.server = server
        self.port = port
        self.verify = ca_path or True
        self.timeout = timeout
        self.server_name = server_name
        self.log = log
        self.skew = 0.0  # seconds that this host's clock is ahead of the controller's
        self.version = ""

    def ask(self, url: str) -> int:
        """The status of an answer of the site, whatever it is. Raises what requests raises."""
        session = requests.Session()
        session.trust_env = False
        # requests reads the whole body of a redirect, also of one that it does not follow
        session.get_redirect_target = lambda answer: None
        answer = session.get(
            url,
            proxies={"http": self.proxy, "https": self.proxy},
            verify=self.verify,
            timeout=self.timeout,
            allow_redirects=False,
            stream=True,
        )
        answer.close()
        return int(answer.status_code)

    def request(self, url: str) -> float:
        """Seconds until ``url`` answered through the proxy; any answer of the site will do. Raises ProxyError."""
        started = time.monotonic()
        try:
            status = self.ask(url)
        except requests.RequestException as exc:
            raise ProxyError(self.explain(url, cause(exc, self.timeout))) from None
        if status in (502, 503, 504) and url.startswith("http:"):
            raise ProxyError(self.explain(url, "the proxy answered %d" % status))
        return round(time.monotonic() - started, 3)

    def explain(self, url: str, why: str) -> str:
        """A sentence that names the server and what to check, found out by trying each leg of the way."""
        inbound = urlsplit(self.proxy)
        obstacle = connects(inbound.hostname or "127.0.0.1", inbound.port or 80, 3)
        if obstacle:
            return f"No request gets through the proxy: Xray itself is not listening at {self.proxy} ({obstacle}). Look at its log, xray.log."
        if not self.server:
            return (
                f"Xray listens at {self.proxy}, but {url} does not come through it: {why}. Look at its log, xray.log, and check the servers and "
                "keys in xray_proxy_config."
            )
        where = "the Xray server %s:%d" % (self.server, self.port)
        obstacle = connects(self.server, self.port, min(self.timeout, 10))
        if obstacle:
            return (
                f"No request gets through the proxy, because {where} cannot be reached: {obstacle}. Check xray_proxy_server and "
                "xray_proxy_port, that the server runs, and that its firewall lets this host in."
            )
        if "certificate is not trusted" in why:
            return (
                f"{url} was reached through {where}, but its certificate is not trusted here. In a network with its own CA set "
                "sdops_ca_bundle."
            )
        return f"{where[0].upper() + where[1:]} takes connections, but {url} does not come through it: {why}. {self.advice(self.standing(url))}"

    def standing(self, url: str) -> str:
        """What we are to the server: a "stranger", a "guest" whom it knows by its keys but does not serve, a "user" whom it
        leads to other sites than that of ``url``, or "" when it cannot be told.

        Found out by a request for the site that the server hides behind, which it certainly reaches itself.
        """
        if not self.server_name or self.server_name == urlsplit(url).hostname:
            return ""
        log = Log(self.log)
        try:
            self.ask(f"https://{self.server_name}/")
            return "user"
        except requests.RequestException as exc:
            why = cause(exc, self.timeout)
        if "certificate is not trusted" in why:
            return "user"
        time.sleep(0.3)  # the log comes through supervisord
        if STRANGER.search(log.since()) or "reset" in why:
            return "stranger"
        # the handshake of REALITY was good, and then the server hung up
        return "guest" if "TLS failed" in why or "closed early" in why else ""

    def advice(self, standing: str) -> str:
        """What to check when the server is there and lets nothing through: what is known to be wrong comes first."""
        if standing == "user":
            return (
                "The server knows this client and leads it to other sites, so it is the server that does not reach this one: "
                "check there that the name is resolved (its DNS), its routes and its firewall."
            )
        if standing == "guest":
            return (
                "The server knows its keys, but hangs up on this user: check xray_proxy_uuid and xray_proxy_flow against the "
                "clients in the server's config."
            )
        stranger = "The server takes this client for a stranger. " if standing else ""
        keys = "xray_proxy_public_key, xray_proxy_short_id and xray_proxy_server_name against the server's config"
        if abs(self.skew) > ALLOWED_SKEW:
            return (
                "%sThe clock of this host is %d seconds %s the controller's, and a server may allow little difference "
                "(maxTimeDiff): set it (or the controller's) right, then try again. If that does not help, check %s."
                % (stranger, abs(self.skew), "ahead of" if self.skew > 0 else "behind", keys)
            )
        if self.version and _numbers(self.version) < _numbers(OLDEST_CLIENT):
            return (
                f"{stranger}Xray {self.version} is older than {OLDEST_CLIENT}, and servers from 26.7.11 on take such clients for strangers: raise xray_proxy_version, "
                "or set minClientVer on the server."
            )
        if standing == "stranger":
            return "{}Check {}, and that the server accepts Xray {} (minClientVer).".format(
                stranger,
                keys,
                self.version or "of this version",
            )
        return (
            f"Check xray_proxy_uuid, {keys}, that the clocks agree (a server may allow little difference), that the server accepts this "
            "version of Xray (minClientVer), and that the server itself reaches the site and resolves its name."
        )

    def check(self, urls: list[str], retries: int, delay: float) -> dict[str, float]:
        """Seconds for each url; a failure is tried again ``retries`` times, ``delay`` seconds apart."""
        if not HAS_REQUESTS:
            raise ProxyError("The Python library requests is missing on the target. Run the role base first.")
        if not urls or retries < 0:
            raise ProxyError(
                "Nothing would be verified: give at least one URL (xray_proxy_verify_urls), and retries of 0 or more."
            )
        result = {}
        for url in urls:
            for attempt in range(retries + 1):
                try:
                    result[url] = self.request(url)
                    break
                except ProxyError:
                    if attempt == retries:
                        raise
                    time.sleep(delay)
        return result
