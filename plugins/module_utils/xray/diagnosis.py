# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does traffic get through the proxy, and if not, whose fault is it?"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Mapping
from urllib.parse import urlsplit

from ..errors import ProxyError
from ..transfer.connection_errors import describe_connection_error

REQUEST_ERRORS = (OSError, http.client.HTTPException, ValueError)  # of urllib.request
MAX_CLOCK_SKEW = 60  # seconds
MIN_CLIENT_VERSION = "26.3.27"  # what servers from 26.7.11 on accept when they are not told otherwise


def _version_parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


# what Xray writes when the server has shown it the certificate of the site that it hides behind, as it does to any unknown client
UNKNOWN_CLIENT_LOG = re.compile(r"REALITY: received real certificate|\bx509: |read/write on closed pipe")


class LogTail:
    """What a log file gets from now on."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.start = self._size()

    def _size(self) -> int:
        try:
            return os.path.getsize(self.path) if self.path else 0
        except OSError:
            return 0

    def read_new(self) -> str:
        """The text that came since; all of it when the file was rotated meanwhile. At most 1 MB."""
        if not self.path:
            return ""
        try:
            with open(self.path, "rb") as handle:
                handle.seek(self.start if self._size() >= self.start else 0)
                return handle.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return ""


def find_connection_obstacle(host: str, port: int, timeout: float) -> str | None:
    """None when a TCP connection to host:port opens, else what is in the way, in words."""
    try:
        socket.create_connection((host, port), timeout).close()
    except socket.gaierror as exc:
        return f"the name {host} cannot be resolved ({exc.strerror or exc})"
    except socket.timeout:
        return f"{host}:{port} does not answer within {timeout:g} s (firewall, or the server is off)"
    except OSError as exc:
        return f"{host}:{port} refuses the connection ({exc.strerror or exc})"
    return None


def find_ca_bundle() -> str | None:
    """What the other modules trust: the bundle of certifi, or None for that of the host, which may have none."""
    try:
        import certifi
    except ImportError:
        return None
    return str(certifi.where())


class UnfollowedRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other."""

    def redirect_request(self, *_: Any) -> None:
        """None, which makes it an HTTPError."""


class ProxyDiagnosis:
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
        self.ca_path = ca_path or find_ca_bundle()
        self.timeout = timeout
        self.server_name = server_name
        self.log = log
        self.clock_skew = 0.0  # seconds that this host's clock is ahead of the controller's
        self.version = ""

    def query_status(self, url: str) -> int:
        """The status of an answer of the site, whatever it is. Raises REQUEST_ERRORS."""
        request = urllib.request.Request(url)
        # not by a ProxyHandler, which goes around the proxy where the environment has a no_proxy
        request.set_proxy(urlsplit(self.proxy).netloc, "http")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_path)),
            UnfollowedRedirects,
        )
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            exc.close()
            return exc.code

    def find_failure(self, url: str) -> str:
        """Why no answer of ``url`` comes through the proxy, in words; "" where one does, whatever it is."""
        try:
            status = self.query_status(url)
        except REQUEST_ERRORS as exc:
            return describe_connection_error(exc, self.timeout)
        return f"the proxy answered {status}" if status in (502, 503, 504) and url.startswith("http:") else ""

    def explain_failure(self, url: str, why: str) -> str:
        """A sentence that names the server and what to check, found out by trying each leg of the route."""
        inbound = urlsplit(self.proxy)
        obstacle = find_connection_obstacle(inbound.hostname or "127.0.0.1", inbound.port or 80, 3)
        if obstacle:
            return f"No request gets through the proxy: Xray itself is not listening at {self.proxy} ({obstacle}). Look at its log, xray.log."
        if not self.server:
            return (
                f"Xray listens at {self.proxy}, but {url} does not come through it: {why}. Look at its log, xray.log, and check the servers and "
                "keys in xray_proxy_config."
            )
        where = f"the Xray server {self.server}:{self.port}"
        obstacle = find_connection_obstacle(self.server, self.port, min(self.timeout, 10))
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
        return f"{where[0].upper() + where[1:]} takes connections, but {url} does not come through it: {why}. {self.advise(self.query_standing(url))}"

    def query_standing(self, url: str) -> str:
        """What this client is to the server, "" when that cannot be determined.

        - "unknown client": the server does not recognize its keys
        - "rejected user": the server knows its keys but does not serve its user id
        - "accepted": the server serves it, only not the site of ``url``

        Found out by a request for the site that the server hides behind, which it certainly reaches itself.
        """
        if not self.server_name or self.server_name == urlsplit(url).hostname:
            return ""
        log = LogTail(self.log)
        try:
            self.query_status(f"https://{self.server_name}/")
            return "accepted"
        except REQUEST_ERRORS as exc:
            why = describe_connection_error(exc, self.timeout)
        if "certificate is not trusted" in why:
            return "accepted"
        time.sleep(0.3)  # the log comes through supervisord
        if UNKNOWN_CLIENT_LOG.search(log.read_new()) or "reset" in why:
            return "unknown client"
        # the handshake of REALITY was good, and then the server hung up
        return "rejected user" if "TLS failed" in why or "closed early" in why else ""

    def advise(self, standing: str) -> str:
        """What to check when the server is there and lets nothing through: what is known to be wrong comes first."""
        if standing == "accepted":
            return (
                "The server knows this client and leads it to other sites, so it is the server that does not reach this one: "
                "check there that the name is resolved (its DNS), its routes and its firewall."
            )
        if standing == "rejected user":
            return (
                "The server knows its keys, but hangs up on this user: check xray_proxy_uuid and xray_proxy_flow against the "
                "clients in the server's config."
            )
        known = "The server does not recognize this client. " if standing else ""
        keys = "xray_proxy_public_key, xray_proxy_short_id and xray_proxy_server_name against the server's config"
        if abs(self.clock_skew) > MAX_CLOCK_SKEW:
            return (
                "{}The clock of this host is {} seconds {} the controller's, and a server may allow little difference "
                "(maxTimeDiff): set it (or the controller's) right, then try again. If that does not help, check {}.".format(
                    known, int(abs(self.clock_skew)), "ahead of" if self.clock_skew > 0 else "behind", keys
                )
            )
        if self.version and _version_parts(self.version) < _version_parts(MIN_CLIENT_VERSION):
            return (
                f"{known}Xray {self.version} is older than {MIN_CLIENT_VERSION}, and servers from 26.7.11 on do not "
                "accept such clients: raise xray_proxy_version, "
                "or set minClientVer on the server."
            )
        if standing == "unknown client":
            return "{}Check {}, and that the server accepts Xray {} (minClientVer).".format(
                known,
                keys,
                self.version or "of this version",
            )
        return (
            f"Check xray_proxy_uuid, {keys}, that the clocks agree (a server may allow little difference), that the server accepts this "
            "version of Xray (minClientVer), and that the server itself reaches the site and resolves its name."
        )

    def check_urls(self, urls: list[str], retries: int, delay: float) -> dict[str, float]:
        """Seconds for each url; a failure is tried again ``retries`` times, ``delay`` seconds apart."""
        if not urls or retries < 0:
            raise ProxyError(
                "Nothing would be verified: give at least one URL (xray_proxy_verify_urls), and retries of 0 or more."
            )
        result = {}
        for url in urls:
            for attempt in range(retries + 1):
                started = time.monotonic()
                failure = self.find_failure(url)
                if not failure:
                    result[url] = round(time.monotonic() - started, 3)
                    break
                if attempt == retries:
                    raise ProxyError(self.explain_failure(url, failure))
                time.sleep(delay)
        return result


def _diagnosis(params: Mapping[str, Any]) -> ProxyDiagnosis:
    """With the option ``proxy`` of program_check_info."""
    diagnosis = ProxyDiagnosis(
        params["url"],
        params["server"],
        params["port"],
        params["ca_path"],
        params["timeout"],
        params["server_name"],
        params["log_file"],
    )
    diagnosis.version = params["version"]
    if params["controller_time"]:
        diagnosis.clock_skew = time.time() - params["controller_time"]
    return diagnosis


def check_proxy(params: Mapping[str, Any]) -> dict[str, float]:
    """By URL the seconds until it answered through the proxy with the option ``proxy`` of program_check_info. Raises ProxyError."""
    return _diagnosis(params).check_urls(params["request_urls"], params["retries"], params["delay"])


def proxy_works(params: Mapping[str, Any]) -> bool:
    """Whether every URL of the option ``proxy`` answers at the first try, without the search for a reason."""
    return bool(params["request_urls"]) and not any(map(_diagnosis(params).find_failure, params["request_urls"]))
