# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a connection failed, in words."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Iterator


def _exception_chain(exc: BaseException | None) -> Iterator[BaseException]:
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


def describe_connection_error(exc: BaseException, timeout: float) -> str:
    """Why a request failed, in words. Never the exception's own text: that holds the URL with its signature."""
    chain = list(_exception_chain(exc))
    names = {type(one).__name__ for one in chain}
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({one.verify_message})"
    for one in chain:
        if isinstance(one, ssl.SSLError):
            return "TLS failed ({})".format(one.reason or "the connection ended in the handshake")
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
