# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole Xray client config that the user brings: is it one, and has it the inbound that everything else uses?

Errors name inbounds by address and port only: the rest of such a config is secret.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ConfigError
from ..filesystem import parse_json

LISTEN = "127.0.0.1"
# Xray's mixed inbound answers HTTP and SOCKS
PROTOCOLS = ("http", "mixed")


def from_json(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as exc:
        where = "line %d, column %d: %s" % (exc.lineno, exc.colno, exc.msg)
    except ValueError:
        where = "a number or a nesting too large"
    raise ConfigError(f"xray_proxy_config is text, but no JSON ({where}). Give a mapping, or JSON without comments.")


def mappings(config: dict[str, Any], part: str) -> list[dict[str, Any]]:
    entries = config.get(part)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"xray_proxy_config must have {part}, a list of mappings that is not empty.")
    return entries


def client_config(config: str | dict[str, Any], http_port: int) -> dict[str, Any]:
    """``config`` as a mapping, sure to have outbounds and an HTTP inbound on 127.0.0.1:``http_port`` that takes anybody.

    Raises ConfigError.
    """
    if isinstance(config, str):
        config = from_json(config)
    if not isinstance(config, dict):
        raise ConfigError("xray_proxy_config must be a mapping with inbounds and outbounds, or the same as JSON.")
    mappings(config, "outbounds")
    wanted = '{"listen": "%s", "port": %d, "protocol": "http"}' % (LISTEN, http_port)
    for inbound in mappings(config, "inbounds"):
        if str(inbound.get("port")) != str(http_port) or inbound.get("protocol") not in PROTOCOLS:
            continue
        if inbound.get("listen") != LISTEN:
            raise ConfigError(
                "The HTTP inbound on port %d in xray_proxy_config does not listen on %s alone, so others could use it. "
                'Set "listen": "%s" there.' % (http_port, LISTEN, LISTEN)
            )
        settings = inbound.get("settings") or {}
        if isinstance(settings, dict) and (settings.get("accounts") or settings.get("users")):
            raise ConfigError(
                "The HTTP inbound on port %d in xray_proxy_config asks for a password, but what uses it has none. Take its "
                "accounts out; it listens on %s only." % (http_port, LISTEN)
            )
        return config
    raise ConfigError(
        "xray_proxy_config has no HTTP inbound on %s:%d, which logins, git and the rest of the run use. Add %s to its "
        "inbounds, or set sdops_proxy_http_port to the port of the one it has." % (LISTEN, http_port, wanted)
    )
