# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a connection failed, in words."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Iterator

# names of exceptions: of requests and urllib3, of urllib.request
MALFORMED_URL = {
    *("InvalidURL", "LocationParseError", "InvalidSchema", "MissingSchema", "InvalidProxyURL"),
    *("ValueError", "UnicodeEncodeError"),
}


def _exception_chain(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it wraps: requests and urllib3 keep the cause in several places."""
    seen = set()
    stack = [exc]
    while stack:
        error = stack.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        stack += [error.__context__, error.__cause__, getattr(error, "reason", None)]
        stack += [a for a in error.args if isinstance(a, BaseException)]


def describe_connection_error(exc: BaseException, timeout: float) -> str:
    """Why a request failed, in words. Never the exception's own text: that holds the URL with its signature."""
    chain = list(_exception_chain(exc))
    names = {type(error).__name__ for error in chain}
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
    for error in chain:
        if isinstance(error, ssl.SSLError):
            return "TLS failed ({})".format(error.reason or "the connection ended in the handshake")
        if isinstance(error, socket.gaierror):
            return "its name cannot be resolved"
    for error in chain:
        rejection = re.search(r"Tunnel connection failed: (\d+)", str(error)) if isinstance(error, OSError) else None
        if rejection:
            return f"the proxy answered {rejection.group(1)}"
    for error in chain:
        if type(error).__name__ in ("SOCKS5Error", "SOCKS5AuthError", "SOCKS4Error"):
            return "the SOCKS proxy says: {}".format(getattr(error, "msg", "no"))
    socks = {"ProxyConnectionError", "GeneralProxyError"} & names
    if "ConnectTimeout" in names or "ConnectTimeoutError" in names:
        return f"no connection within {timeout:g} seconds"
    if names & {"ReadTimeout", "ReadTimeoutError", "timeout", "TimeoutError"}:
        return f"not a byte for {timeout:g} seconds"
    for error in chain:
        if isinstance(error, OSError) and error.strerror and error.errno:
            return ("the proxy: " if "ProxyError" in names or socks else "") + error.strerror.lower()
    if "ProxyError" in names or socks:
        return "the proxy refuses the connection"
    if names & MALFORMED_URL:
        return "the URL or the proxy's URL is malformed"
    return "the connection was closed early"
