# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that send programs along the chosen routes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List

from .routes import PUBLIC, hosts_of


def environment(routes: Dict[str, Dict[str, Any]], services: Iterable[str], no_proxy: Iterable[str]) -> Dict[str, str]:
    """Variables for a program that talks to ``services``: one proxy at most, and what must not go through it.

    ``routes`` as network_routes returns them; a service without one goes directly. Where the services have several proxies
    Xray's wins, which leads everywhere. Never all_proxy: it breaks the WebUI, pip and requests.
    """
    taken = {service: routes.get(service) or {} for service in services}
    proxies = sorted(
        ((route.get("way") != "xray", route["proxy"]) for route in taken.values() if route.get("proxy")),
    )
    result: Dict[str, str] = {}
    if proxies:
        around: List[str] = list(no_proxy)
        for service, route in taken.items():
            if not route.get("proxy"):
                around += route.get("hosts") or hosts_of(service, route.get("base") or "")
        hosts = ",".join(dict.fromkeys(around))
        for name, value in (("http_proxy", proxies[0][1]), ("https_proxy", proxies[0][1]), ("no_proxy", hosts)):
            result[name] = result[name.upper()] = value
    base = (taken.get("huggingface") or {}).get("base")
    if base and base.rstrip("/") != PUBLIC["huggingface"]:
        result["HF_ENDPOINT"] = base
    return result
