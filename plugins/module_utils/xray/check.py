# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does traffic get through the proxy, and if not, whose fault is it?"""

from __future__ import annotations

import re
import socket
import time
from typing import Dict, List, Optional
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


def _numbers(version: str) -> List[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


class ProxyError(SdopsError):
    """No request gets through the proxy."""


def connects(host: str, port: int, timeout: float) -> Optional[str]:
    """None when a TCP connection to host:port opens, else what is in the way, in words."""
    try:
        socket.create_connection((host, port), timeout).close()
    except socket.gaierror as exc:
        return "the name %s cannot be resolved (%s)" % (host, exc.strerror or exc)
    except socket.timeout:
        return "%s:%d does not answer within %g s (firewall, or the server is off)" % (host, port, timeout)
    except OSError as exc:
        return "%s:%d refuses the connection (%s)" % (host, port, exc.strerror or exc)
    return None


class Checker:
    """Requests through ``proxy`` (http://127.0.0.1:10809), whose far end is ``server``:``port``; None if that is not known.

    ``timeout`` in seconds.
    """

    def __init__(
        self, proxy: str, server: Optional[str], port: int, ca_path: Optional[str] = None, timeout: float = 15
    ) -> None:
        self.proxy = proxy
        self.server = server
        self.port = port
        self.verify = ca_path or True
        self.timeout = timeout
        self.skew = 0.0  # seconds that this host's clock is ahead of the controller's
        self.version = ""

    def request(self, url: str) -> float:
        """Seconds until ``url`` answered through the proxy; any answer of the site will do. Raises ProxyError."""
        started = time.monotonic()
        session = requests.Session()
        session.trust_env = False
        try:
            answer = session.get(
                url,
                proxies={"http": self.proxy, "https": self.proxy},
                verify=self.verify,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            )
            answer.close()
        except requests.RequestException as exc:
            raise ProxyError(self.explain(url, cause(exc, self.timeout))) from None
        if answer.status_code in (502, 503, 504) and url.startswith("http:"):
            raise ProxyError(self.explain(url, "the proxy answered %d" % answer.status_code))
        return round(time.monotonic() - started, 3)

    def explain(self, url: str, why: str) -> str:
        """A sentence that names the server and what to check, found out by trying each leg of the way."""
        inbound = urlsplit(self.proxy)
        obstacle = connects(inbound.hostname or "127.0.0.1", inbound.port or 80, 3)
        if obstacle:
            return (
                "No request gets through the proxy: Xray itself is not listening at %s (%s). Look at its log, xray.log."
                % (self.proxy, obstacle)
            )
        if not self.server:
            return (
                "Xray listens at %s, but %s does not come through it: %s. Look at its log, xray.log, and check the servers and "
                "keys in xray_proxy_config." % (self.proxy, url, why)
            )
        where = "the Xray server %s:%d" % (self.server, self.port)
        obstacle = connects(self.server, self.port, min(self.timeout, 10))
        if obstacle:
            return (
                "No request gets through the proxy, because %s cannot be reached: %s. Check xray_proxy_server and "
                "xray_proxy_port, that the server runs, and that its firewall lets this host in." % (where, obstacle)
            )
        if "certificate is not trusted" in why:
            return (
                "%s was reached through %s, but its certificate is not trusted here. In a network with its own CA set "
                "sdops_ca_bundle." % (url, where)
            )
        return "%s takes connections, but %s does not come through it: %s. %s" % (
            where[0].upper() + where[1:],
            url,
            why,
            self.advice(),
        )

    def advice(self) -> str:
        """What to check when the server is there and lets nothing through: what is known to be wrong comes first."""
        if abs(self.skew) > ALLOWED_SKEW:
            return (
                "The clock of this host is %d seconds %s the controller's, and REALITY allows little difference: set it (or the "
                "controller's) right, then try again." % (abs(self.skew), "ahead of" if self.skew > 0 else "behind")
            )
        if self.version and _numbers(self.version) < _numbers(OLDEST_CLIENT):
            return (
                "Xray %s is older than %s, and servers from 26.7.11 on take such clients for strangers: raise xray_proxy_version, or "
                "set minClientVer on the server." % (self.version, OLDEST_CLIENT)
            )
        return (
            "Check xray_proxy_uuid, xray_proxy_public_key, xray_proxy_short_id and xray_proxy_server_name against the server's "
            "config, that the clocks agree (REALITY allows little difference), that the server accepts this version of Xray "
            "(minClientVer), and that the server itself reaches the site and resolves its name."
        )

    def check(self, urls: List[str], retries: int, delay: float) -> Dict[str, float]:
        """Seconds for each url; a failure is tried again ``retries`` times, ``delay`` seconds apart."""
        if not HAS_REQUESTS:
            raise ProxyError("The Python library requests is missing on the target. Run the role base first.")
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
