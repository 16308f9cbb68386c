# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that send programs along the chosen routes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List
from urllib.parse import urlsplit

from .routes import PUBLIC

# what belongs to a service besides the host of its base
HOSTS = {
    "github": ["github.com", "githubusercontent.com", "githubassets.com"],
    "huggingface": ["huggingface.co", "hf.co"],
    "civitai": ["civitai.com"],
    "pypi": ["pypi.org", "pythonhosted.org", "pytorch.org"],
    "conda": ["anaconda.org"],
}


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
                host = urlsplit(route.get("base") or "").hostname
                around += [*([host] if host else []), *HOSTS.get(service, [])]
        hosts = ",".join(dict.fromkeys(around))
        for name, value in (("http_proxy", proxies[0][1]), ("https_proxy", proxies[0][1]), ("no_proxy", hosts)):
            result[name] = result[name.upper()] = value
    base = (taken.get("huggingface") or {}).get("base")
    if base and base.rstrip("/") != PUBLIC["huggingface"]:
        result["HF_ENDPOINT"] = base
    return result
