# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that send programs along the chosen routes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List
from urllib.parse import urlsplit

from .routes import CERTIFICATES, PUBLIC, hosts_of


def environment(
    routes: Dict[str, Dict[str, Any]], services: Iterable[str], no_proxy: Iterable[str], indexes: Iterable[str] = ()
) -> Dict[str, str]:
    """Variables for a program that talks to ``services``: one proxy at most, and what must not go through it.

    ``routes`` as network_routes returns them; a service without one goes directly. ``indexes``: URLs of package indexes besides
    the main one, which they accompany. Where the services have several proxies Xray's wins, which leads everywhere. Never
    all_proxy: it breaks the WebUI, pip and requests.
    """
    taken = {service: routes.get(service) or {} for service in services}
    proxied = sorted((route for route in taken.values() if route.get("proxy")), key=lambda r: r.get("way") != "xray")
    result: Dict[str, str] = {}
    if proxied:
        proxy = proxied[0]["proxy"]
        around: List[str] = [*no_proxy, *(proxied[0].get("around") or [])]
        for service, route in taken.items():
            if not route.get("proxy"):
                around += route.get("hosts") or hosts_of(service, route.get("base") or "")
                around += [urlsplit(url).hostname or "" for url in indexes] if service == "pypi" else []
        hosts = ",".join(host for host in dict.fromkeys(around) if host)
        for name, value in (("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", hosts)):
            result[name] = result[name.upper()] = value
        if proxied[0].get("ca"):
            result.update((name, proxied[0]["ca"]) for name in CERTIFICATES)
    base = (taken.get("huggingface") or {}).get("base")
    if base and base.rstrip("/") != PUBLIC["huggingface"]:
        result["HF_ENDPOINT"] = base
    return result
