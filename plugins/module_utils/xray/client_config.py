# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole Xray client config that the user supplies: is it one, and has it the inbound that everything else uses?

Errors name inbounds by address and port only: the rest of such a config is secret.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ClientConfigError
from ..filesystem import parse_json

LOOPBACK = "127.0.0.1"
# Xray's mixed inbound answers HTTP and SOCKS
HTTP_PROTOCOLS = ("http", "mixed")


def parse_config_text(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}: {exc.msg}"
    except ValueError:
        where = "a number or a nesting too large"
    raise ClientConfigError(
        f"xray_proxy_config is text, but not JSON ({where}). Give a mapping, or JSON without comments."
    )


def get_mappings(config: dict[str, Any], part: str) -> list[dict[str, Any]]:
    entries = config.get(part)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ClientConfigError(f"xray_proxy_config must have {part}, a list of mappings that is not empty.")
    return entries


def validate_client_config(config: str | dict[str, Any], http_port: int) -> dict[str, Any]:
    """``config`` as a mapping, sure to have outbounds and an HTTP inbound on 127.0.0.1:``http_port`` that takes anybody.

    Raises ClientConfigError.
    """
    if isinstance(config, str):
        config = parse_config_text(config)
    if not isinstance(config, dict):
        raise ClientConfigError("xray_proxy_config must be a mapping with inbounds and outbounds, or the same as JSON.")
    get_mappings(config, "outbounds")
    example = f'{{"listen": "{LOOPBACK}", "port": {http_port}, "protocol": "http"}}'
    for inbound in get_mappings(config, "inbounds"):
        if str(inbound.get("port")) != str(http_port) or inbound.get("protocol") not in HTTP_PROTOCOLS:
            continue
        if inbound.get("listen") != LOOPBACK:
            raise ClientConfigError(
                f"The HTTP inbound on port {http_port} in xray_proxy_config does not listen on {LOOPBACK} alone, so others could use it. "
                f'Set "listen": "{LOOPBACK}" there.'
            )
        settings = inbound.get("settings") or {}
        if isinstance(settings, dict) and (settings.get("accounts") or settings.get("users")):
            raise ClientConfigError(
                f"The HTTP inbound on port {http_port} in xray_proxy_config asks for a password, but what uses it has none. Take its "
                f"accounts out; it listens on {LOOPBACK} only."
            )
        return config
    raise ClientConfigError(
        f"xray_proxy_config has no HTTP inbound on {LOOPBACK}:{http_port}, which logins, git and the rest of the run use. Add {example} to its "
        "inbounds, or set sdops_proxy_http_port to the port of the one it has."
    )
